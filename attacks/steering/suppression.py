"""Steering against the direction by which answers were suppressed."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn

from attacks.probing.patching import log_probabilities
from attacks.relearning.family import FineTuning
from attacks.steering.directions import Means, before_answers, means, suppression
from attacks.steering.refusal_direction import ablated, unit
from auditor.attack import (
    Attack,
    AttackContext,
    Footprint,
    Parameters,
    Preset,
    Requirements,
    attack,
)
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Finding, SideFigure
from auditor.core.records import Record, Row
from auditor.data.folds import Fold, folds
from auditor.models.causal_lm.hidden_states import changed, decoder_layers, evenly_spaced
from auditor.models.causal_lm.model import CausalLM
from auditor.statistics.effect import effect_note

Source = Literal["original", "contrast", "auxiliary"]
"""Where a direction is from. `original`: means of the original less the arm's, on forget prompts.
`contrast`: the arm's means on retain prompts less those on forget prompts. `auxiliary`: the arm's
means on retain prompts less those of a copy in which these facts were suppressed."""

_TOKENS = 32
"""Tokens that a training example is taken to have where cost is estimated."""
_TRAINED_BATCH = 16
"""Examples in each step of the auxiliary suppression."""
_LEAST = 1e-30
"""Length of a state of zeros, so that its change is 0."""


class SuppressionParameters(Parameters):
    """Settings of steering."""

    sources: tuple[Source, ...] = Field(default=("original", "contrast", "auxiliary"), min_length=1)
    """Where directions are from: `original`, `contrast`, `auxiliary`."""
    layers: int = Field(default=3, ge=1)
    """Layers at which a direction is read and used, evenly spaced; the last one is among them."""
    strengths: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Multiples of the difference of means that are added."""
    facts: int = Field(default=64, ge=1)
    """Facts of each half, at most, by which the steering is chosen for the other half."""
    steps: int = Field(default=8, ge=1)
    """Optimiser steps of the auxiliary suppression."""
    rank: int = Field(default=16, ge=1)
    """Rank of LoRA in the auxiliary suppression."""


class Steering(NamedTuple):
    """A way to steer.

    Attributes:
        source: Where the direction is from.
        operation: `add` adds the difference of means; `ablate` takes the direction out of all that
            is written to the stream; `centre` sets the component along it to its mean on retain
            prompts.
        layer: Layer whose direction it is; None for all that are read, each with its own.
        strength: Multiple that is added.
    """

    source: str
    operation: Literal["add", "ablate", "centre"]
    layer: int | None
    strength: float = 1.0

    @property
    def words(self) -> str:
        """Name in notes."""
        place = "all layers" if self.layer is None else f"layer {self.layer}"
        by = f" x {self.strength:g}" if self.operation == "add" else ""
        return f"{self.source}: {self.operation}{by}, {place}"


class Directions(NamedTuple):
    """Directions of one arm.

    Attributes:
        layers: Layers 1 to L that were read.
        vectors: Differences of means by source, [layers, width].
        retain: Means on retain prompts, [layers, width].
    """

    layers: Sequence[int]
    vectors: Mapping[str, Means]
    retain: Means

    def random(self, seed: int) -> "Directions":
        """Random directions in the place of these, of equal norms."""
        drawn = {}
        for place, (source, vectors) in enumerate(self.vectors.items()):
            noise = np.random.default_rng([seed, place]).normal(size=vectors.shape)
            noise /= np.linalg.norm(noise, axis=1, keepdims=True)
            drawn[source] = noise * np.linalg.norm(vectors, axis=1, keepdims=True)
        return self._replace(vectors=drawn)

    @contextmanager
    def applied(self, network: nn.Module, steering: Steering | None) -> Iterator[None]:
        """Steer a network while the context lasts.

        None leaves it as it is.
        """
        if steering is None:
            yield
            return
        places = [
            place
            for place, layer in enumerate(self.layers)
            if steering.layer is None or layer == steering.layer
        ]
        modules = decoder_layers(network)
        with ExitStack() as hooks:
            for place in places:
                vector = self.vectors[steering.source][place]
                module = modules[self.layers[place] - 1]
                if steering.operation == "ablate":
                    hooks.enter_context(ablated(network, unit(vector)))
                elif steering.operation == "centre":
                    direction = unit(vector)
                    level = float(self.retain[place] @ direction)
                    change = partial(_centred, torch.from_numpy(direction), level)
                    hooks.enter_context(changed(module, change))
                else:
                    added = torch.from_numpy((steering.strength * vector).astype(np.float32))
                    hooks.enter_context(changed(module, partial(_added, added)))
            yield


class Chosen(NamedTuple):
    """Steering chosen for each half, and on all facts that were scored.

    Attributes:
        halves: One for each half, chosen on the other; None for no steering.
        overall: Chosen on both.
    """

    halves: tuple[Steering | None, ...]
    overall: Steering | None


@attack("steering/suppression")
class SuppressionSteering(Attack[SuppressionParameters, CausalLM]):
    """Steering against the direction of a suppression."""

    summary = "Add back, or take out, the direction in the activations that suppresses answers."
    details = """
    Unlearning that suppresses moves the residual stream on forget prompts in about one direction.
    Three estimates of it are read at the last token before the answer, each a difference of two
    means: the original's less the arm's on forget prompts; the arm's on retain prompts less that on
    forget prompts; and the arm's less that of a copy in which LoRA suppresses half of the *retain*
    facts by NPO, on these facts' prompts, which needs neither the original nor a forget fact.

    Each is used in three ways while questions are asked, at all tokens: added to the stream as a
    layer leaves it, in several strengths, at one layer or at all that were read; taken out of
    everything that is written to the stream; or its component set, at all layers that were read, to
    its mean on retain prompts (affine ablation). The weights stay as they are.

    Direction, way, layer and strength are chosen by teacher-forced answers of one half of the
    facts, no steering among the choices, and measured on the other half. Every arm is
    treated so, with directions of its own and the same choices; only the original has no difference
    to itself. Retained facts are asked under what is chosen on both halves.

    The control is a random direction in the place of each direction, of equal norm at every
    layer, searched with the same choices on the same facts; its K stands beside the attack's. What
    is found beyond it is the direction's work and not that of searching or of disturbing the
    stream.
    """
    threat_model = (
        "Anyone with the weights. One estimate of the direction needs the original as well, one "
        "needs no more than facts that were kept."
    )
    access = "Hidden states and weights; forget prompts, and answers to half of the facts."
    cost = (
        "One pass over both sets' prompts, a short training of LoRA on retain facts, about a "
        "hundred teacher-forced passes over the forget facts (half of them for the control), and "
        "three evaluations."
    )
    leak = (
        "The knowledge is in the weights, and a shift of the activations keeps it from coming out."
    )
    source = (
        "Suppression steering: arXiv 2606.03291, known to the authors of this tool from its "
        "abstract alone; choices, strengths and cross-fitting are this tool's. Ablation of one "
        "direction: arXiv 2406.11717, on unlearned models 2409.18025; affine ablation: 2411.09003."
    )

    parameters_type = SuppressionParameters
    presets = (
        Preset("3 layers"),
        Preset(
            "8 layers",
            {"layers": 8, "strengths": (0.25, 0.5, 1.0, 2.0, 4.0)},
            "exhaustive",
        ),
    )
    requires = Requirements(packages=("accelerate", "peft"))
    seeded = True
    searches = True
    effect = "state_change"

    @property
    def packages(self) -> tuple[str, ...]:
        """PEFT, where retain facts are suppressed."""
        return self.requires.packages if "auxiliary" in self.parameters.sources else ()

    @property
    def footprint(self) -> Footprint:
        """LoRA and its states, where retain facts are suppressed."""
        if "auxiliary" not in self.parameters.sources:
            return Footprint()
        return Footprint(rank=self.parameters.rank, backward=_TRAINED_BATCH * _TOKENS)

    def forward_tokens(self, evaluation: int) -> int:
        """Estimate the tokens of training, of the choice and of three evaluations.

        A teacher-forced pass over the forget facts is taken for a quarter of an evaluation.
        """
        p = self.parameters
        ways = (p.layers + 1) * len(p.strengths) + p.layers + 1
        passes = 1 + 2 * len(p.sources) * ways
        trained = 3 * p.steps * _TRAINED_BATCH * _TOKENS if "auxiliary" in p.sources else 0
        return trained + passes * evaluation // 4 + 3 * evaluation

    def search_parameters(self) -> dict[str, Any]:
        """Return the parameters that decide the directions."""
        found = super().search_parameters()
        return {key: value for key, value in found.items() if key not in ("strengths", "facts")}

    def search(self, model: CausalLM, context: AttackContext) -> Record:
        """Read the arm's means, and suppress retain facts in it.

        Raises:
            UnavailableError: There are no retain facts, or LoRA cannot be put on the model.
        """
        p, retain = self.parameters, context.facts.retain
        if not retain:
            raise UnavailableError(
                "the direction is found against retain facts, and the plan has none"
            )
        count = len(decoder_layers(model.network))
        layers = evenly_spaced(count, p.layers)
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "forget": means(model, context.facts.forget, layers),
            "retain": means(model, retain, layers),
        }
        notes: dict[str, Any] = {"layers": layers, "decoder_layers": count}
        if "auxiliary" in p.sources:
            context.progress("suppressing retain facts")
            settings = FineTuning(rank=p.rank, batch_size=_TRAINED_BATCH)
            found = suppression(model, retain, layers, settings, p.steps, context.seed)
            arrays["auxiliary"] = found.means
            notes["suppressed"] = {"before": found.before, "after": found.after}
        return Record(notes=notes, arrays=arrays)

    def measure(self, model: CausalLM, context: AttackContext) -> Record:
        """Choose a steering on each half, and ask the other under it.

        Raises:
            UnavailableError: There is no direction, or there are too few facts to split.
            MeasurementError: The pool lacks what was found on this arm.
        """
        evaluator, forget = context.evaluator, context.facts.forget
        own = next((finding for finding in context.pool if finding.own), None)
        if own is None:
            raise MeasurementError("the pool lacks what was found on the measured arm")
        found = self._directions(own, context.pool)
        try:
            halves = folds(forget, "half")
        except ValueError as error:
            raise UnavailableError(str(error)) from error
        steered = self._chosen(model, found, halves, context, "steering")
        control = found.random(context.seed)
        at_random = self._chosen(model, control, halves, context, "control")
        rows: list[Row] = []
        for half, steering in zip(halves, steered.halves, strict=True):
            with found.applied(model.network, steering):
                rows += evaluator.evaluate(model, ("forget",), only=_ids(half.asked))
        with found.applied(model.network, steered.overall):
            rows += evaluator.evaluate(model, ("retain",))
        primary = next(iter(evaluator.metrics))
        alone = evaluator.with_metrics([primary])
        plain = alone.evaluate(model, ("forget",))
        randomly: list[Row] = []
        for half, steering in zip(halves, at_random.halves, strict=True):
            with control.applied(model.network, steering):
                randomly += alone.evaluate(model, ("forget",), only=_ids(half.asked))
        notes = {
            "metric": primary,
            "layers": list(found.layers),
            "left_out": [s for s in self.parameters.sources if s not in found.vectors],
            "ways": len(self._ways(found)),
            "chosen": [_words(steering) for steering in steered.halves],
            "chosen_at_random": [_words(steering) for steering in at_random.halves],
            "mean_k": {
                "none": _mean(row.k for row in plain),
                "found": _mean(r.k for r in rows if (r.set, r.metric) == ("forget", primary)),
                "random": _mean(row.k for row in randomly),
            },
            "suppressed": own.record.notes.get("suppressed"),
            "effect": effect_note(self.effect, 0.0, self._moved(model, found, forget)),
        }
        return Record(rows=tuple(rows), notes=notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Mean K of each arm plainly, steered, and steered at random."""
        return tuple(
            SideFigure("steered_k", arm, value, params={"direction": direction})
            for arm, noted in notes.items()
            for direction, value in noted.get("mean_k", {}).items()
        )

    def _directions(self, own: Finding, pool: Sequence[Finding]) -> Directions:
        """Return the arm's directions.

        Those of length 0 in any layer are left out; the original may have none.
        """
        arrays = own.record.arrays
        forget, retain = (_wide(arrays[name]) for name in ("forget", "retain"))
        found: dict[str, Means] = {}
        for source in self.parameters.sources:
            if source == "contrast":
                found[source] = retain - forget
            elif source == "auxiliary":
                found[source] = _wide(arrays[source])
            elif (theirs := _of_original(own, pool)) is not None:
                found[source] = theirs - forget
        kept = {
            source: vectors
            for source, vectors in found.items()
            if np.linalg.norm(vectors, axis=1).min() > 0
        }
        if not kept and own.arm != Arm.ORIGINAL:
            raise UnavailableError(
                f"there is no direction to steer along ({', '.join(self.parameters.sources)}): the "
                "means do not differ, or there is no original of the same shape"
            )
        return Directions(own.record.notes["layers"], kept, retain)

    def _ways(self, found: Directions) -> list[Steering]:
        """Ways to steer, the same for directions found and random."""
        places = (*found.layers, None)
        ways = []
        for source in found.vectors:
            for strength in self.parameters.strengths:
                ways += [Steering(source, "add", layer, strength) for layer in places]
            ways += [Steering(source, "ablate", layer) for layer in found.layers]
            ways.append(Steering(source, "centre", None))
        return ways

    def _chosen(
        self,
        model: CausalLM,
        found: Directions,
        halves: Sequence[Fold],
        context: AttackContext,
        stage: str,
    ) -> Chosen:
        """Choose by mean probability per answer token; of equal ones, the first."""
        given = [half.given[: self.parameters.facts] for half in halves]
        items = model.encode([(fact.prompt, fact.answer) for part in given for fact in part])
        ends = np.cumsum([len(part) for part in given])
        ways: list[Steering | None] = [None, *self._ways(found)]
        scores = []
        for number, steering in enumerate(ways):
            context.progress(f"{stage} {number + 1} of {len(ways)}")
            with found.applied(model.network, steering):
                known = np.exp(log_probabilities(model, items))
            scores.append([part.mean() for part in np.split(known, ends[:-1])])
        table = np.array(scores)
        return Chosen(
            tuple(ways[place] for place in table.argmax(0)), ways[int(table.mean(1).argmax())]
        )

    def _moved(self, model: CausalLM, found: Directions, facts: Sequence[Fact]) -> float:
        """Relative change of the last layer's states under a steering.

        The arm's own contrast, or the first direction where that is not used, is added once at all
        layers that were read.
        """
        if not found.vectors:
            return 0.0
        source = "contrast" if "contrast" in found.vectors else next(iter(found.vectors))
        facts, last = facts[: self.parameters.facts], found.layers[-1]
        plain = before_answers(model, facts, [last])[last]
        with found.applied(model.network, Steering(source, "add", None)):
            moved = before_answers(model, facts, [last])[last]
        lengths = np.maximum(np.linalg.norm(plain, axis=1), _LEAST)
        return float((np.linalg.norm(moved - plain, axis=1) / lengths).mean(dtype=np.float64))


def _of_original(own: Finding, pool: Sequence[Finding]) -> Means | None:
    """The original's means on forget prompts, where they fit the arm's."""
    source = next((f.record for f in pool if f.arm == Arm.ORIGINAL and not f.own), None)
    if source is None or source.arrays["forget"].shape != own.record.arrays["forget"].shape:
        return None
    if source.notes["decoder_layers"] != own.record.notes["decoder_layers"]:
        return None
    return _wide(source.arrays["forget"])


def _wide(states: npt.NDArray[np.generic]) -> Means:
    return np.asarray(states, dtype=np.float64)


def _added(added: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
    """Add a vector [width] to a stream [..., width]."""
    return (stream.float() + added.to(stream.device)).to(stream.dtype)


def _centred(direction: torch.Tensor, level: float, stream: torch.Tensor) -> torch.Tensor:
    """Set the component along a unit direction [width] to a level."""
    r, wide = direction.to(stream.device), stream.float()
    return (wide - (wide @ r - level).unsqueeze(-1) * r).to(stream.dtype)


def _words(steering: Steering | None) -> str:
    return "none" if steering is None else steering.words


def _ids(facts: Sequence[Fact]) -> Collection[str]:
    return {fact.id for fact in facts}


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return float(sum(kept) / len(kept))
