"""Activation patching between the original and another arm."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from attacks.probing.patching import log_probabilities
from attacks.probing.unlearning_depth import unlearning_depth
from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Explanation, Finding, SideFigure
from auditor.core.hashing import digest
from auditor.core.messages import message
from auditor.core.records import Record, Row
from auditor.models.causal_lm.hidden_states import (
    States,
    decoder_layers,
    evenly_spaced,
    hidden_states,
)
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.prompting import Encoded
from auditor.models.language.evaluator import TextEvaluator

Numbers = npt.NDArray[np.float64]


class ActivationPatchingParameters(Parameters):
    """Settings of patching."""

    layers: int = Field(default=8, ge=2)
    """Layers that are patched, one at a time, evenly spaced; the last one is among them."""
    retain_facts: int = Field(default=64, ge=8)
    """Retain facts on which it is checked that an arm can read the original's states."""
    readable: float = Field(default=0.5, gt=0, le=1)
    """Share of an arm's own knowledge of these facts that must be left under the original's
    states."""


@attack("probing/activation-patching")
class ActivationPatching(Attack[ActivationPatchingParameters, CausalLM]):
    """Activation patching from the original into each arm."""

    summary = "Put the original's hidden states into each arm, layer by layer, and read the answer."
    details = """
    The answer to a fact is teacher-forced. At the positions that predict its tokens, the arm's
    residual stream as layer l leaves it is replaced by the original's, and the layers above,
    the arm's own, go on from there. K of a layer = exp(mean log-probability per answer token).

    K of a fact is the mean over the patched layers in the lower half of the network. There the
    original's states spell the answer only in part, and the rest must come from the arm's upper
    layers: a retrained model cannot add it, the original does, and an unlearned one does if its
    weights still hold it. Patched near the top, every arm speaks the original's answer,
    retrained models too, so upper layers are reported and do not count.

    It is a statement about weights only where both models mean the same by a direction of the
    stream. Models that were fine-tuned from one checkpoint do; models trained from different
    random weights do not, and would seem ignorant whatever they know. So it is checked on
    retain facts, which every arm knows: where an arm loses more than half of its knowledge of
    them under the original's states, in any layer that counts, the attack is unavailable.

    The other way round, every arm's states are put into the original. What is lost layer by
    layer gives the Unlearning Depth Score, from 0 (the unlearned model's states carry all that
    the original's do) to 1 (they lack what a retrained model's lack); it is reported beside K. K
    itself is on a scale of its own, and the attack is never mandatory.
    """
    threat_model = (
        "An auditor who has the original. Who has it does not need the unlearned model; this "
        "shows where knowledge sits, not how to steal it."
    )
    access = "Hidden states of all arms."
    cost = (
        "One pass over forget and retain facts for the states, one for each layer; for the "
        "original, one a layer and arm. States are kept in float32: tokens of all answers x "
        "layers x width x 4 bytes an arm, about 1.6 GB for 400 answers of 30 tokens, 8 layers "
        "and width 4096."
    )
    leak = "The unlearned model completes what the original's lower layers began."
    source = (
        "Unlearning Depth Score (arXiv 2605.24614); patching to see where fine-tuning hides "
        "knowledge: arXiv 2410.06606."
    )

    parameters_type = ActivationPatchingParameters
    presets = (Preset("8 layers"),)
    searches = True
    metric = "activation-patching"
    decides = False

    @property
    def variant(self) -> str:
        """Number of patched layers."""
        return f"{self.parameters.layers} layers"

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of a pass for the states and one for each layer.

        The original's passes are spread over the arms.
        """
        return (1 + 2 * self.parameters.layers) * evaluation

    def search_parameters(self) -> dict[str, Any]:
        """Parameters that decide which states are kept."""
        found = super().search_parameters()
        return {key: value for key, value in found.items() if key != "readable"}

    def search(self, model: CausalLM, context: AttackContext) -> Record:
        """Keep the arm's states at all positions that predict an answer's token.

        Raises:
            UnavailableError: there are no retain facts to check on.
        """
        retain = self._checked(context.evaluator)
        items = _encoded(model, (*context.facts.forget, *retain))
        count = len(decoder_layers(model.network))
        layers = evenly_spaced(count, self.parameters.layers)
        found = hidden_states(model, items, layers)
        return Record(
            notes={
                "tokens": digest([[item.ids, item.answer] for item in items]),
                "layers": layers,
                "decoder_layers": count,
            },
            arrays={str(n): np.concatenate([states[n] for states in found]) for n in layers},
        )

    def measure(self, model: CausalLM, context: AttackContext) -> Record:
        """Patch the original's states into this arm, or the reverse.

        On the original every arm's states are patched in.

        Raises:
            UnavailableError: the arms' tokens or shapes differ, or this one cannot read the
                original's states.
        """
        _check_unlike(context.pool)
        source = _of_original(context.pool)
        layers: list[int] = source.notes["layers"]
        counted = [n for n in layers if 2 * n <= source.notes["decoder_layers"]] or layers[:1]
        forget, retain = context.facts.forget, self._checked(context.evaluator)
        items = _encoded(model, (*forget, *retain))
        unpatched = log_probabilities(model, items)
        patched = {n: self._patched(model, items, n, source) for n in layers}
        own = float(np.exp(unpatched[len(forget) :]).mean())
        for layer in counted:
            self._check_unreadable(float(np.exp(patched[layer][len(forget) :]).mean()), own, layer)
        k = np.mean([np.exp(patched[n][: len(forget)]) for n in counted], axis=0)
        notes: dict[str, Any] = {
            "layers_counted": counted,
            "forget_by_layer": _means(patched, slice(0, len(forget))),
            "retain_by_layer": _means(patched, slice(len(forget), None)),
            "retain_unpatched": own,
        }
        if any(finding.own and finding.arm == "original" for finding in context.pool):
            notes |= self._depths(
                model, items[: len(forget)], unpatched[: len(forget)], context.pool
            )
        rows = tuple(
            Row("forget", fact.id, fact.entity, str(self.metric), float(min(1.0, value)), None)
            for fact, value in zip(forget, k, strict=True)
        )
        return Record(rows=rows, notes=notes)

    def explain(self, unlearned: Record, original: Record) -> Explanation | None:
        """K of the unlearned model under the original's states, layer by layer."""
        by_layer: dict[str, float] = unlearned.notes["forget_by_layer"]
        counted = [by_layer[str(layer)] for layer in unlearned.notes["layers_counted"]]
        return Explanation(
            measure="k_with_original_state",
            overall=float(np.mean(counted)),
            layers={f"layer {layer}": k for layer, k in by_layer.items()},
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """K by layer of every arm, and unlearning depth."""
        figures = [
            SideFigure(
                "k_with_original_state_at_layer",
                arm,
                k,
                params={"layer": int(layer)},
                remarks=()
                if int(layer) in noted["layers_counted"]
                else (message("layer_does_not_count"),),
            )
            for arm, noted in notes.items()
            for layer, k in noted.get("forget_by_layer", {}).items()
        ]
        for arm, by_layer in notes.get("original", {}).get("original_by_layer", {}).items():
            figures += [
                SideFigure("original_k_with_layer_of_arm", arm, k, params={"layer": int(n)})
                for n, k in by_layer.items()
            ]
        for arm, depth in notes.get("original", {}).get("unlearning_depth", {}).items():
            figures.append(
                SideFigure(
                    "unlearning_depth",
                    Arm.UNLEARNED,
                    depth["mean"],
                    against=arm,
                    remarks=(message("facts_that_retrained_lacks", facts=depth["facts"]),),
                )
            )
        return tuple(figures)

    def _checked(self, evaluator: TextEvaluator) -> Sequence[Fact]:
        retain = evaluator.sets.retain[: self.parameters.retain_facts]
        if not retain:
            raise UnavailableError(
                "it is checked on retain facts that an arm can read the original's states, and "
                "the plan has none"
            )
        return retain

    def _patched(
        self, model: CausalLM, items: Sequence[Encoded], layer: int, source: Record
    ) -> Numbers:
        states: States = source.arrays[str(layer)].astype(np.float32)
        ends = np.cumsum([len(item.answer) for item in items])[:-1]
        rows = states[: sum(len(item.answer) for item in items)]
        return log_probabilities(model, items, layer, np.split(rows, ends))

    def _check_unreadable(self, patched: float, own: float, layer: int) -> None:
        if patched >= self.parameters.readable * own:
            return
        raise UnavailableError(
            f"it cannot read the original's states: K of the retain facts falls from {own:.2f} to "
            f"{patched:.2f} with them at layer {layer}. Models that were not fine-tuned from one "
            "checkpoint do not share the meaning of their hidden states"
        )

    def _depths(
        self,
        model: CausalLM,
        items: Sequence[Encoded],
        unpatched: Numbers,
        pool: Sequence[Finding],
    ) -> dict[str, Any]:
        """Unlearning depth of every other arm (arXiv 2605.24614)."""
        layers: list[int] = pool[0].record.notes["layers"]
        lost: dict[str, Numbers] = {}
        by_layer: dict[str, dict[str, float]] = {}
        for finding in pool:
            if finding.own:
                continue
            given = {n: self._patched(model, items, n, finding.record) for n in layers}
            lost[finding.arm] = np.stack([unpatched - given[n] for n in layers], axis=1)
            by_layer[finding.arm] = _means(given, slice(None))
        depths = {}
        for arm, missing in lost.items():
            if arm.startswith("retrained") and "unlearned" in lost:
                depth = unlearning_depth(lost["unlearned"], missing)
                if depth.size:
                    depths[arm] = {"mean": float(depth.mean()), "facts": int(depth.size)}
        return {"original_by_layer": by_layer, "unlearning_depth": depths}


def _encoded(model: CausalLM, facts: Sequence[Fact]) -> list[Encoded]:
    return model.encode([(fact.prompt, fact.answer) for fact in facts])


def _means(by_layer: Mapping[int, Numbers], part: slice) -> dict[str, float]:
    return {str(layer): float(np.exp(values[part]).mean()) for layer, values in by_layer.items()}


def _of_original(pool: Sequence[Finding]) -> Record:
    """Return what the original's search kept.

    Raises:
        UnavailableError: It is not there.
    """
    for finding in pool:
        if finding.arm == "original":
            return finding.record
    raise UnavailableError("the hidden states of the original are needed, and it was not given")


def _check_unlike(pool: Sequence[Finding]) -> None:
    source = _of_original(pool)
    for finding in pool:
        for what in ("tokens", "layers", "decoder_layers"):
            if finding.record.notes[what] != source.notes[what]:
                raise UnavailableError(
                    f"{finding.arm} has other {what.replace('_', ' ')} than the original, so its "
                    "hidden states have no place in it"
                )
        for name, states in source.arrays.items():
            if finding.record.arrays[name].shape != states.shape:
                raise UnavailableError(f"{finding.arm} has hidden states of another width")
