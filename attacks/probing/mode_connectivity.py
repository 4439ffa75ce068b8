"""Loss along the line from each arm's weights to the original's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from attacks.relearning.family import spread
from attacks.tampering.family import WeightChange
from attacks.tampering.interpolation import interpolate
from auditor.attack import (
    Attack,
    AttackContext,
    Footprint,
    Parameters,
    Preset,
    Requirements,
    attack,
)
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import SET_NAMES
from auditor.core.findings import Curve, SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row
from auditor.models.language.model import LanguageModel

MIDDLE = 0.5
"""Share of the way at which K is measured."""

Line = Sequence[tuple[float, float]]
"""Share of the way to the original, and mean loss there in nats per token."""


class ModeConnectivityParameters(Parameters):
    """Settings of the line."""

    points: int = Field(default=5, ge=3, le=101)
    """Places on the line at which the loss is measured, evenly spaced, both ends among them."""
    facts: int = Field(default=64, ge=1)
    """Facts of each set, at most, whose loss is measured; of more, evenly spread ones."""


@attack("probing/mode-connectivity")
class ModeConnectivity(Attack[ModeConnectivityParameters, LanguageModel]):
    """Linear mode connectivity of each arm and the original."""

    summary = "Measure the distance to the original's weights, and the loss on the line to them."
    details = """
    The weights are set to points on the line from the arm to the original, W + t (W_O - W), and
    the loss of true answers is measured at each, on forget and on retain facts. The *barrier* is
    the most by which the loss on the line exceeds the straight line between the losses at its two
    ends. With it stands the distance |W - W_O| / |W_O| over all parameters.

    A model that lies close to the original without a barrier in between is still in the original's
    basin: little was moved, and models in which little was moved were the ones that further
    training brought back. Retrained models that began with other random weights lie behind a high
    barrier whatever they know, so the figures explain and decide nothing. K is that of the model
    half way to the original, which holds half of what the original has: no attacker's gain.
    """
    threat_model = "None: whoever has the original's weights has its knowledge."
    access = "Weights of both models."
    cost = "A teacher-forced pass over both sets for each point, and one evaluation."
    leak = (
        "None by itself. A small distance and no barrier foretell that fine-tuning brings back "
        "what was removed."
    )
    source = (
        "Distance and linear mode connectivity as predictors of resistance: arXiv 2505.22310, "
        "known to the authors of this tool from its abstract alone; the barrier is that of arXiv "
        "1912.05671 and 2110.06296."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = ModeConnectivityParameters
    presets = (Preset("5 points"),)
    requires = Requirements(full_precision=True, donor=True)
    decides = False

    @property
    def variant(self) -> str:
        """Number of points, with an unusual number of facts."""
        p = self.parameters
        usual = ModeConnectivityParameters().facts
        return f"{p.points} points" + (f" {p.facts} facts" if p.facts != usual else "")

    @property
    def footprint(self) -> Footprint:
        """The weights are changed in place, at each point."""
        return Footprint(lent=True, weights_read=self.parameters.points)

    def forward_tokens(self, evaluation: int) -> int:
        """The points, and the evaluation half way."""
        return (1 + self.parameters.points // 2) * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Walk to the original, and ask half way.

        Each point is reached from the one before, so that weights are lent once; they are restored
        bit for bit.

        Raises:
            UnavailableError: There is no original, or it has other shapes.
        """
        donor: Any = context.donor
        if not isinstance(donor, type(model)):
            raise UnavailableError(
                "the line leads to the original, and there is none beside this model; give it "
                "(`original=`)"
            )
        pairs = {
            name: [
                (fact.prompt, fact.answer) for fact in spread(facts, self.parameters.facts) if facts
            ]
            for name in SET_NAMES[:2]
            if (facts := context.facts.named(name))
        }
        lines: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
        rows: tuple[Row, ...] = ()
        points = np.linspace(0.0, 1.0, self.parameters.points).tolist()
        reached = 0.0
        with model.preserve_weights() as network:
            for share in sorted({*points, MIDDLE}):
                context.progress(f"at {share:.0%} of the way")
                interpolate(network, donor.network, (share - reached) / (1.0 - reached))
                reached = share
                if share in points:
                    for name, asked in pairs.items():
                        lines[name].append((share, _mean_loss(model, asked)))
                if share == MIDDLE:
                    rows = context.evaluator.evaluate(model)
        return Record(
            rows=rows,
            notes={
                "distance": distance(model.network, donor.network),
                "lines": lines,
                "barrier": {name: barrier(line) for name, line in lines.items()},
            },
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Distance of each arm to the original, and the barrier between them."""
        found: list[SideFigure] = []
        for arm, noted in notes.items():
            if "barrier" not in noted:
                continue
            found.append(
                SideFigure(
                    "distance_to_original",
                    arm,
                    noted["distance"],
                    remarks=(message("close_without_barrier_comes_back"),),
                )
            )
            found += [
                SideFigure("loss_barrier", arm, height, params={"set": name})
                for name, height in noted["barrier"].items()
            ]
        return tuple(found)

    def curves(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[Curve]:
        """Loss on the line, of every arm and each set."""
        return tuple(
            Curve(
                name=name,
                of=arm,
                x="share_of_way_to_original",
                y="mean_loss",
                points=tuple((share, loss) for share, loss in noted["lines"][of_set]),
            )
            for arm, noted in notes.items()
            for name, of_set in (
                ("loss_on_line_forget", "forget"),
                ("loss_on_line_retain", "retain"),
            )
            if of_set in noted.get("lines", {})
        )


def barrier(line: Line) -> float:
    """Return the barrier of a line, in nats per token.

    It is at least 0: max over t of L(t) - ((1 - t) L(0) + t L(1)) (arXiv 1912.05671, 2110.06296).

    Args:
        line: from share 0 to share 1.
    """
    first, last = line[0][1], line[-1][1]
    return max(loss - ((1.0 - share) * first + share * last) for share, loss in line)


@torch.no_grad()
def distance(network: nn.Module, original: nn.Module) -> float:
    """Return the relative distance of two networks' weights.

    It is the Frobenius norm of W - W_O over that of W_O, over all parameters.

    Args:
        network: W.
        original: W_O, of the same names and shapes.
    """
    change, theirs = WeightChange(), dict(original.named_parameters())
    for name, parameter in network.named_parameters():
        change.add(theirs[name].data, parameter.data.to(theirs[name].device))
    return float(change.effect["after"])


def _mean_loss(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> float:
    """Mean loss of answers, in nats per token.

    Raises:
        MeasurementError: It is not finite.
    """
    loss = -float(np.mean([score.mean_log_probability for score in model.score(pairs)]))
    if not np.isfinite(loss):
        raise MeasurementError("the loss on the line to the original is not finite")
    return loss
