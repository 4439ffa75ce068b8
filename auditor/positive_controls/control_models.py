"""Models of positive controls: copies of the original with suppressed knowledge.

They are kept beside the evidence and made once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from auditor.core.errors import AuditorError, MeasurementError
from auditor.core.facts import Fact
from auditor.core.hashing import canonical_json, digest
from auditor.core.packages import installed_version
from auditor.core.progress import Progress
from auditor.core.reading import parse_json, read_regular
from auditor.core.roles import ControlKind
from auditor.engine.fingerprint import fingerprint, module_fingerprint
from auditor.engine.preparation import Prepared
from auditor.engine.required_control import spoken_metrics
from auditor.metrics.metric import find_metric
from auditor.models.grid import Grid
from auditor.models.kind import parse_spec
from auditor.models.language.layers import linear_weights
from auditor.models.language.loading import save_network
from auditor.models.language.model import LanguageModel
from auditor.models.language.tensor_groups import placed_tensors
from auditor.models.manifest import Location
from auditor.models.opening import locate, open_model
from auditor.models.preserve import check_offloaded
from auditor.models.spec import ModelSpec
from auditor.positive_controls.rescaling import rescale
from auditor.positive_controls.suppression import Bounds, SuppressionSettings, suppress
from auditor.positive_controls.window import window
from auditor.store.base import EvidenceStore

SETTINGS: Mapping[ControlKind, SuppressionSettings] = {
    "visible": SuppressionSettings(),
    "obfuscated": SuppressionSettings(),
    "head": SuppressionSettings(rate=4e-2, max_steps=300),
    "wording": SuppressionSettings(check_every=50),
}
"""Settings by which every control is made."""

_OPENING = "So: "
"""Words before every answer of a control that says its answers otherwise."""
_LEAST_SAID = 0.5
"""Share of the answers that such a control must still say, by the metric that reads them."""
_CHECKED = 8
"""Facts that are asked after each rescaling."""
_SAME_ANSWER = 1e-3
"""Difference of mean log-probabilities up to which an answer is the same."""
_SAME_LEVEL = 1e-4
"""Relative difference up to which two levels are one; no grid has levels as close as that."""
_MODEL, _DESCRIPTION = "model", "control.json"
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


class Known(NamedTuple):
    """Mean K of the forget set without attack, by the primary metric."""

    original: float
    retrained: float
    """Mean K over the retrained models."""

    def share(self, k: float) -> float:
        """Share of the gap that a mean K of ``k`` stands for."""
        return (k - self.retrained) / (self.original - self.retrained)


@dataclass(frozen=True)
class PositiveControlModel:
    """A copy of the original with suppressed knowledge."""

    kind: ControlKind
    """Kind, which says how much it leaves to be seen."""
    grid: str | None
    """Name of the grid within whose cells the weights stayed, if any."""
    left: float
    """Share of the gap without attack that is left."""
    rescaled: bool
    """Whether its weights were rescaled afterwards, its function unchanged."""
    spec: ModelSpec
    location: Location


class ControlModels:
    """The positive controls of one audit.

    A control's folder is named by the digest of everything that decides its weights, and appears
    under that name when it is whole. A resumed audit finds it there.
    """

    def __init__(
        self, prepared: Prepared, known: Known, store: EvidenceStore, progress: Progress
    ) -> None:
        self._prepared = prepared
        self._known = known
        self._store = store
        self._progress = progress

    def make_control_model(
        self, kind: ControlKind, grid: Grid | None = None
    ) -> PositiveControlModel:
        """Return the control of a kind, made unless it is there.

        Args:
            kind: how much it leaves.
            grid: the original is rounded to it first, and no weight leaves its cell.

        Raises:
            MeasurementError: the suppression does not come about.
            AuditorError: a finished control was changed.
        """
        identity = self._identity(kind, grid)
        folder = self._store.artifact(
            digest(identity), lambda unfinished: self._make(kind, grid, identity, unfinished)
        )
        spec = self._prepared.plan.original.model_copy(
            update={"path": str(folder / _MODEL)}
            | dict.fromkeys(("revision", "adapter", "gguf_file"))
        )
        location = locate(spec)
        try:
            said = parse_json(read_regular(folder / _DESCRIPTION))
        except (OSError, ValueError) as error:
            raise AuditorError(_changed(folder)) from error
        if not isinstance(said, dict) or said.get("manifest") != location.manifest.digest:
            raise AuditorError(_changed(folder))
        return PositiveControlModel(
            kind,
            grid.name if grid else None,
            float(said["left"]),
            bool(said["rescalings"]),
            spec,
            location,
        )

    def _identity(self, kind: ControlKind, grid: Grid | None) -> dict[str, Any]:
        plan = self._prepared.plan
        modules = [suppress.__module__, window.__module__, placed_tensors.__module__]
        modules.append(rescale.__module__)
        modules += plan.kind.code
        modules.append(find_metric(plan.metrics.primary, plan.kind.answers).__module__)
        if grid is not None:
            modules.append(type(grid).__module__)
        return {
            "original": self._prepared.locations["original"].manifest.digest,
            "dtype": plan.original.dtype,
            "device_map": plan.original.device_map,
            "facts": self._prepared.facts,
            "metric": plan.metrics.primary,
            "format": plan.format.model_dump(),
            "token_budget": plan.token_budget,
            "known": list(self._known),
            "kind": kind,
            "window": list(window(kind, plan.policy.delta)),
            "said": list(spoken_metrics(plan)) if kind == "wording" else [],
            "grid": grid.name if grid else None,
            "settings": SETTINGS[kind].model_dump(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "code": [fingerprint(modules), module_fingerprint(__name__)],
            "libraries": {name: installed_version(name) for name in _LIBRARIES},
        }

    def _make(
        self, kind: ControlKind, grid: Grid | None, identity: dict[str, Any], unfinished: Path
    ) -> None:
        plan, sets = self._prepared.plan, self._prepared.sets
        location = self._prepared.locations["original"]
        model = open_model(plan.original, location, plan.format, plan.token_budget)
        if not isinstance(model, LanguageModel):
            raise MeasurementError(f"no suppression can be planted in {plan.kind.described}")
        check_offloaded(model.network)
        layers = _trained(model.network, kind)
        if not layers:
            raise MeasurementError("the original has no linear layers to suppress knowledge in")
        types = {name: weight.dtype for name, weight, _ in layers}
        others = {p: p.dtype for p in model.network.parameters()}
        for parameter in others:
            parameter.data = parameter.data.float()
        weights = {name: weight for name, weight, _ in layers}
        bounds = {
            name: _bounds(weight, transposed, grid)
            for name, weight, transposed in layers
            if grid is not None
        }
        evaluator = plan.kind.evaluator(sets, [plan.metrics.primary], self._prepared.auxiliary)

        def left() -> float:
            with _stored(weights, types, bounds):
                rows = evaluator.evaluate(model, ("forget",))
            return self._known.share(float(np.mean([row.k for row in rows])))

        where = f" within the cells of {grid.name}" if grid else ""
        try:
            end = suppress(
                model,
                weights,
                sets.forget,
                sets.retain,
                left,
                window(kind, plan.policy.delta),
                SETTINGS[kind],
                self._progress,
                f"suppressing knowledge for a positive control ({kind}{where})",
                bounds,
                [_OPENING + fact.answer for fact in sets.forget] if kind == "wording" else (),
            )
            for name, weight in weights.items():
                weight.data = _rounded(weight.data, types[name], bounds.get(name))
            for parameter, dtype in others.items():
                parameter.data = parameter.data.to(dtype)
            _check_flips(layers, grid, bounds)
            if kind == "wording":
                self._check_said(model)
            rescalings = 0
            if kind == "obfuscated" and grid is None:
                rescalings = _rescaled(model, sets.forget)
            said = {
                "identity": identity,
                "left": end.left,
                "steps": end.steps,
                "rescalings": rescalings,
            }
            _keep(model, said, unfinished)
        finally:
            model.close()

    def _check_said(self, model: LanguageModel) -> None:
        """Refuse a control that does not say what it should.

        Raises:
            MeasurementError: some deciding metric that reads answers finds too few of them.
        """
        plan = self._prepared.plan
        for name in spoken_metrics(plan):
            evaluator = plan.kind.evaluator(self._prepared.sets, [name], self._prepared.auxiliary)
            said = float(np.mean([row.k for row in evaluator.evaluate(model, ("forget",))]))
            if said < _LEAST_SAID:
                raise MeasurementError(
                    f"it should say its answers in other words, and says {said:.0%} of them"
                )


def _rescaled(model: LanguageModel, facts: Sequence[Fact]) -> int:
    """Rescale a control in place; count what left its answers.

    Nothing is left to be seen in it, and an attack that brings knowledge back by training must not
    depend on the scale of weights.
    """
    asked = [(fact.prompt, fact.answer) for fact in facts[:_CHECKED]]

    def answered() -> list[float]:
        return [score.mean_log_probability for score in model.score(asked)]

    before = answered()
    return rescale(
        model.network, lambda: np.allclose(answered(), before, rtol=0.0, atol=_SAME_ANSWER)
    )


def _keep(model: LanguageModel, said: dict[str, Any], folder: Path) -> None:
    written = folder / _MODEL
    save_network(model.network, written)
    model.tokenizer.save_pretrained(written)
    spec = parse_spec({"path": str(written), "kind": model.spec.kind})
    manifest = locate(spec).manifest.digest
    (folder / _DESCRIPTION).write_bytes(canonical_json({**said, "manifest": manifest}))


def _trained(network: Any, kind: ControlKind) -> list[tuple[str, Tensor, bool]]:
    """Return the weights that a suppression changes.

    Each has its name, and whether it is transposed.

    An output head that is tied to the embeddings is given a weight of its own for good.
    """
    if kind != "head":
        return list(linear_weights(network))
    head, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    if head.weight is embeddings.weight:
        head.weight = nn.Parameter(head.weight.detach().clone())
        network.config.tie_word_embeddings = False
    return [(t.name, t.parameter, False) for t in placed_tensors(network) if t.place == "head"]


def _bounds(weight: Tensor, transposed: bool, grid: Grid) -> Bounds:
    cells = grid.cells(weight.detach().T if transposed else weight.detach())
    return Bounds(*((part.T if transposed else part).contiguous().cpu() for part in cells))


def _rounded(weight: Tensor, dtype: torch.dtype, bounds: Bounds | None) -> Tensor:
    """Return the weight as it will be stored, in float32.

    What leaves its cell by that goes back.
    """
    stored = weight.to(dtype).float()
    if bounds is None:
        return stored
    start, lower, upper = (part.to(stored.device) for part in bounds)
    inside = (stored >= lower) & (stored <= upper)
    return torch.where(inside, stored, start.to(dtype).float())


@contextmanager
def _stored(
    weights: Mapping[str, Tensor],
    types: Mapping[str, torch.dtype],
    bounds: Mapping[str, Bounds],
) -> Iterator[None]:
    """Round the weights to their stored type while the context lasts."""
    trained = {
        name: weight.data for name, weight in weights.items() if types[name] != torch.float32
    }
    for name, data in trained.items():
        weights[name].data = _rounded(data, types[name], bounds.get(name))
    try:
        yield
    finally:
        for name, data in trained.items():
            weights[name].data = data


def _check_flips(
    layers: list[tuple[str, Tensor, bool]],
    grid: Grid | None,
    bounds: Mapping[str, Bounds],
) -> None:
    """Refuse a control that the grid would round elsewhere.

    Raises:
        MeasurementError: some weight is rounded to another level.
    """
    if grid is None:
        return
    flips = 0
    for name, weight, transposed in layers:
        levels = _bounds(weight, transposed, grid).start
        same = torch.isclose(levels, bounds[name].start, rtol=_SAME_LEVEL, atol=0.0)
        flips += int((~same).sum())
    if flips:
        raise MeasurementError(
            f"{flips} weights cannot be stored in their type without leaving their cell"
        )


def _changed(folder: Path) -> str:
    return f"the positive control {folder} was changed. Delete that folder to make it again."
