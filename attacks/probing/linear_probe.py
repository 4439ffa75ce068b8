"""Reading answers out of hidden states with a linear map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from attacks.probing.probe import Asked, Taught, Vectors, output_embeddings
from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Explanation, SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row
from auditor.data.folds import folds
from auditor.models.causal_lm.hidden_states import decoder_layers, evenly_spaced
from auditor.models.causal_lm.model import CausalLM

PARTS = 4
"""One retain fact in so many is kept from the fit, to see whether it learned anything."""


class LinearProbeParameters(Parameters):
    """Settings of the probe."""

    depth: float = Field(default=0.5, gt=0, le=1)
    """Layer whose probe gives K, as a share of the decoder layers (rounded, at least one)."""
    layers: int = Field(default=8, ge=1)
    """Further layers that are probed, evenly spaced, for the figures by layer."""
    max_positions: int = Field(default=16384, ge=64)
    """Answer tokens that the map is fitted on, at most; more are thinned evenly."""


@attack("probing/linear-probe")
class LinearProbe(Attack[LinearProbeParameters, CausalLM]):
    """Linear probe of hidden states, fitted on retain facts."""

    summary = (
        "Read the answer out of a middle layer with a linear map that was trained on retain facts."
    )
    details = """
    At every position that predicts a token of an answer, ridge regression maps the residual
    stream of a layer to the model's own output embedding of that token. It is fitted on
    teacher-forced answers to retain facts (all phrasings), which every arm knows, and never
    sees a forget fact. An answer to a forget fact is then scored by the mean cosine between
    what the map gives along the teacher-forced answer and the embeddings of the answer's
    tokens.

    K = share of wrong answers that the true one beats (ties count half): the fact's
    distractors, or the answers of the next facts of the set where it has none. A model that
    never saw the fact beats half of them. Since the answers are teacher-forced, a model that
    only finds the wording of an answer familiar gets more than half too; what is read from the
    prompt alone, for the first token, is reported beside K. The layers above the middle one
    decide what is said, so they are reported beside K, not in it.

    This is another scale than the audit's metrics, and an attacker who trains on hidden states
    gets more than a user; so the attack is never mandatory.

    A quarter of the retain facts is kept from a first fit. If the true answers do not beat more
    than half of the wrong ones there (lower bound at 95 %), the map learned nothing on that arm
    and there is no measurement.
    """
    threat_model = "An auditor or attacker with the weights and facts that the model still knows."
    access = "Hidden states, output embeddings."
    cost = (
        "One pass over the retain facts in all phrasings, one over the forget facts with their "
        "wrong answers, a ridge regression a layer."
    )
    leak = (
        "The true answer is told from the wrong ones in the middle of the network, whatever the "
        "last layers make of it."
    )
    source = (
        "Affine readouts of the residual stream (tuned lens, arXiv 2303.08112); latent knowledge "
        "after unlearning: arXiv 2402.16835 and 2309.17410."
    )

    parameters_type = LinearProbeParameters
    presets = (Preset("depth 0.5", {"depth": 0.5}),)
    requires = Requirements(packages=("sklearn",))
    metric = "linear-readout"
    decides = False

    @property
    def variant(self) -> str:
        """Depth of the probed layer."""
        return f"depth {self.parameters.depth:g}"

    def forward_tokens(self, evaluation: int) -> int:
        """Estimate the tokens of retain phrasings and wrong answers."""
        return 4 * evaluation

    def measure(self, model: CausalLM, context: AttackContext) -> Record:
        """Fit on retain facts, rank the answers to forget facts."""
        fitted, kept = _split(context.facts.retain)
        count = len(decoder_layers(model.network))
        chosen = max(1, round(self.parameters.depth * count))
        layers = sorted({chosen, *evenly_spaced(count, self.parameters.layers)})
        embeddings = output_embeddings(model)
        taught = Taught(model, (*fitted, *kept), layers, embeddings)
        checked = Asked(model, kept, layers)
        asked = Asked(model, context.facts.forget, layers)
        control, found = {}, {}
        for layer in layers:
            first = taught.probe(layer, self.parameters.max_positions, len(fitted))
            control[layer] = checked.ranks(first, layer, embeddings)
            probe = taught.probe(layer, self.parameters.max_positions, len(fitted) + len(kept))
            found[layer] = asked.ranks(probe, layer, embeddings)
            if layer == chosen:
                first_token = float(asked.ranks(probe, layer, embeddings, tokens=1).mean())
        _check_unlearned_probe(control[chosen], chosen)
        rows = tuple(
            Row("forget", fact.id, fact.entity, str(self.metric), float(k), None)
            for fact, k in zip(context.facts.forget, found[chosen], strict=True)
        )
        return Record(
            rows=rows,
            notes={
                "layer": chosen,
                "forget_by_layer": {str(n): float(k.mean()) for n, k in found.items()},
                "kept_retain_by_layer": {str(n): float(k.mean()) for n, k in control.items()},
                "forget_first_token": first_token,
                "positions": taught.positions,
            },
        )

    def explain(self, unlearned: Record, original: Record) -> Explanation | None:
        """Share of wrong answers beaten in the unlearned model, by layer."""
        by_layer = unlearned.notes["forget_by_layer"]
        return Explanation(
            measure="wrong_answers_beaten",
            overall=by_layer[str(unlearned.notes["layer"])],
            layers={f"layer {layer}": k for layer, k in by_layer.items()},
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Probe results of every arm and layer, and on retain facts."""
        first = tuple(
            SideFigure(
                "first_token_probed",
                arm,
                noted["forget_first_token"],
                params={"layer": noted["layer"]},
                remarks=(message("half_is_chance"),),
            )
            for arm, noted in notes.items()
            if "layer" in noted
        )
        return first + tuple(
            SideFigure(
                name,
                arm,
                k,
                params={"layer": int(layer)},
                remarks=(message("half_is_chance"),),
            )
            for arm, noted in notes.items()
            for name, key in (
                ("forget_facts_probed", "forget_by_layer"),
                ("kept_retain_facts_probed", "kept_retain_by_layer"),
            )
            for layer, k in noted.get(key, {}).items()
        )


def _split(retain: Sequence[Fact]) -> tuple[Sequence[Fact], Sequence[Fact]]:
    """Split retain facts into three quarters to fit and one to check.

    Entities are kept together where there are enough.
    """
    for by in ("entity", "attribute"):
        try:
            part = folds(retain, by, PARTS)[0]
        except ValueError:
            continue
        return part.given, part.asked
    raise UnavailableError(
        "the probe is fitted on retain facts and checked on others of them; give at least four"
    )


def _check_unlearned_probe(control: Vectors, layer: int) -> None:
    mean, error = control.mean(), control.std(ddof=1) / np.sqrt(len(control))
    if not mean - 1.645 * error > 0.5:
        raise UnavailableError(
            f"the probe of layer {layer} learned nothing from the retain facts: on those kept "
            f"from it the true answer beats {mean:.0%} of the wrong ones, and half is chance; give "
            "more retain facts, or another `depth`"
        )
