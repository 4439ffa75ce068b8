"""Base of the membership attacks: placements, AUC, self-checks, side figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Generic, NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from attacks.membership.blind_baseline import blind_check
from attacks.membership.roc_curves import (
    mean_roc_curve,
    roc_corners,
    roc_curve,
    thinned_roc_curve,
)
from attacks.membership.scored_texts import TextKind
from auditor.attack import Attack, E, M, P, Parameters, Requirements
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError
from auditor.core.facts import Fact
from auditor.core.findings import Curve, SelfCheck, SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record, Row
from auditor.statistics.holdout_blocks import BLOCK, holdout_blocks
from auditor.statistics.roc import (
    area_of_components,
    nonmembers_needed,
    operating_point,
    placements,
)

Vector = npt.NDArray[np.float64]

FALSE_POSITIVE_RATES = (0.01, 0.001)
LEAST_BASELINE = 0.1
"""AUC of a retrained model, in PrivLeak's orientation, below which that ratio says nothing."""


class MembershipParameters(Parameters):
    """Settings of every membership attack."""

    text: TextKind = "answer"
    """What is scored: the answer given its prompt, or the whole passage by itself. An audited
    fact is the answer; in a passage the words that name the entity, which cannot be predicted,
    weigh as much, and are all that Min-K% looks at."""


class Scores(NamedTuple):
    """Membership scores of one model; higher is more of a member."""

    forget: Vector
    holdout: Vector


Q = TypeVar("Q", bound=MembershipParameters)


class PlacementAttack(Attack[P, M, E], Generic[P, M, E]):
    """Attack that ranks forget facts among unseen facts by a score.

    Where the attack decides, K of a fact is its place among the holdout facts of its own block
    (`auditor.statistics.holdout_blocks`), so that blocks are independent. The figures beside it
    are of all facts at once.
    """

    requires: ClassVar[Requirements] = Requirements(packages=("sklearn",))
    metric = "placement"
    blind: ClassVar[str]
    """Name of the classifier that tries to tell the two sets apart without a model."""

    def record(
        self,
        forget: Sequence[Fact],
        holdout: Sequence[Fact],
        scores: Sequence[Scores],
        notes: Mapping[str, Any],
    ) -> Record:
        """Placements of the forget facts within their blocks, averaged over several scorings.

        Args:
            forget: the facts that are placed.
            holdout: the facts that they are placed among.
            scores: scores of those facts; one scoring for each set of references.
            notes: what else to note.

        Raises:
            MeasurementError: a score is not finite.
        """
        for scoring in scores:
            if not all(np.isfinite(part).all() for part in scoring):
                raise MeasurementError(f"a {self.variant} score is not finite")
        placed = np.mean([placements(s.forget, s.holdout) for s in scores], axis=0)
        values = {str(self.metric): placed}
        if self.decides:
            own, other = holdout_blocks([f.entity for f in forget], [f.entity for f in holdout])
            values[str(self.metric)] = np.mean([_placed(s, own, other) for s in scores], axis=0)
            values[BLOCK] = np.array([int(block) for block in own]) / len(set(own))
        beaten = np.mean([1.0 - placements(s.holdout, s.forget) for s in scores], axis=0)
        points = [_points(s) for s in scores] if len(scores) == 1 else []
        curves = [roc_curve(s.forget, s.holdout) for s in scores]
        corners = roc_corners(curves[0] if len(curves) == 1 else mean_roc_curve(curves))
        return Record(
            rows=tuple(
                Row("forget", fact.id, fact.entity, metric, float(value), None)
                for metric, known in values.items()
                for fact, value in zip(forget, known, strict=True)
            ),
            notes={
                "forget": len(forget),
                "holdout": len(holdout),
                "scorings": len(scores),
                "auc": asdict(area_of_components(placed, beaten)),
                "operating_points": [point for found in points for point in found],
                "roc": thinned_roc_curve(corners).tolist(),
                "roc_corners": len(corners),
                **notes,
            },
            arrays={
                "scores/forget": np.stack([s.forget for s in scores]),
                "scores/holdout": np.stack([s.holdout for s in scores]),
            },
        )

    def self_checks(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SelfCheck]:
        """Check that the two sets are alike without a model."""
        found = [blind_check(noted["blind"], self.blind) for noted in notes.values()]
        return tuple({check.message: check for check in found}.values())

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """AUC, operating points and PrivLeak.

        AUC is of every arm, PrivLeak of U against each retrained arm.
        """
        return tuple(_figures(notes))

    def curves(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[Curve]:
        """ROC of every arm.

        Of several sets of references it is the mean at each false positive rate.
        """
        return tuple(
            Curve(
                name="roc",
                of=arm,
                x="false_positive_rate",
                y="true_positive_rate",
                points=tuple((x, y) for x, y in noted["roc"]),
                remarks=tuple(_rests_on(noted)),
            )
            for arm, noted in notes.items()
            if "roc" in noted
        )


class MembershipAttack(PlacementAttack[Q]):
    """The same of texts."""

    blind = "bag_of_words"

    def named_by_text(self, name: str) -> str:
        """Return the name of a variant, with its scored text.

        The answer is not named.
        """
        return name if self.parameters.text == "answer" else f"{name}, {self.parameters.text}"

    def record(
        self,
        forget: Sequence[Fact],
        holdout: Sequence[Fact],
        scores: Sequence[Scores],
        notes: Mapping[str, Any],
    ) -> Record:
        """Placements, with a note of which text they are of."""
        text = self.parameters.text
        return super().record(forget, holdout, scores, {"text": text, **notes})


def _placed(scores: Scores, blocks: Sequence[str], among: Sequence[str]) -> Vector:
    """Place each forget fact [n] among its block's holdout facts."""
    own, other = np.asarray(blocks), np.asarray(among)
    placed = np.empty(own.size)
    for block in set(blocks):
        members = own == block
        placed[members] = placements(scores.forget[members], scores.holdout[other == block])
    return placed


def privleak(unlearned: float, retrained: float) -> float | None:
    """Return PrivLeak, 100 (A_U - A_R) / A_R (MUSE, arXiv 2407.06460).

    A is 1 - AUC.

    MUSE scores -loss with the forget facts as class 0, so that its AUC is one minus the AUC of
    this package: near 0 for a model that memorised, and PrivLeak near -100. Above 0 the model is
    surer of unseen facts than of the forgotten ones.

    Args:
        unlearned: AUC of U, forget facts as class 1.
        retrained: AUC of R, likewise.

    Returns:
        None where A_R is below ``LEAST_BASELINE``: the ratio has no bound as A_R goes to 0.
    """
    baseline = 1.0 - retrained
    if baseline < LEAST_BASELINE:
        return None
    return 100.0 * ((1.0 - unlearned) - baseline) / baseline


def _points(scores: Scores) -> list[dict[str, Any]]:
    """Operating points that the holdout is large enough for.

    Every other holdout fact calibrates.
    """
    found = (
        operating_point(scores.forget, scores.holdout[::2], scores.holdout[1::2], rate)
        for rate in FALSE_POSITIVE_RATES
    )
    return [asdict(point) for point in found if point is not None]


def _rests_on(noted: Mapping[str, Any]) -> Iterator[Message]:
    """Remarks on the sample that a ROC curve rests on."""
    members, others = noted["forget"], noted["holdout"]
    yield message("roc_rests_on", members=members, holdout=others)
    if noted["scorings"] > 1:
        yield message("mean_of_curves", curves=noted["scorings"])
    if len(noted["roc"]) < noted["roc_corners"]:
        yield message("corners_drawn", drawn=len(noted["roc"]), corners=noted["roc_corners"])


def _figures(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[SideFigure]:
    for arm, noted in notes.items():
        remarks = [message("auc_of_forget_against_holdout")]
        if noted["auc"]["lower"] is None:
            remarks.append(message("no_interval_without_variance"))
        if arm == Arm.UNLEARNED:
            remarks += [*_missing_points(noted), *_missing_privleak(notes)]
        yield SideFigure(
            "auc",
            arm,
            noted["auc"]["value"],
            noted["auc"]["lower"],
            noted["auc"]["upper"],
            remarks=tuple(remarks),
        )
        for point in noted["operating_points"]:
            yield SideFigure(
                "tpr_at_fpr",
                arm,
                point["rate"],
                point["lower"],
                point["upper"],
                params={"fpr": point["false_positive_rate"]},
                remarks=(
                    message(
                        "threshold_from_holdout",
                        threshold=point["threshold"],
                        false_positives=point["false_positives"],
                        checked=point["checked"],
                    ),
                ),
            )
    for arm in _retrained(notes):
        value = privleak(notes["unlearned"]["auc"]["value"], notes[arm]["auc"]["value"])
        if value is not None:
            yield SideFigure(
                "privleak",
                Arm.UNLEARNED,
                value,
                against=arm,
                remarks=(message("privleak_in_percent"),),
            )


def _retrained(notes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [arm for arm in notes if Arm.UNLEARNED in notes and Arm(arm).is_retrained]


def _missing_points(noted: Mapping[str, Any]) -> Iterator[Message]:
    given = {point["false_positive_rate"] for point in noted["operating_points"]}
    for rate in FALSE_POSITIVE_RATES:
        if rate in given:
            continue
        needed = 2 * nonmembers_needed(rate)
        if noted["holdout"] >= needed:
            yield message("no_tpr_of_several_scores", fpr=rate)
        else:
            yield message(
                "no_tpr_with_few_holdout_facts", fpr=rate, needed=needed, holdout=noted["holdout"]
            )


def _missing_privleak(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[Message]:
    for arm in _retrained(notes):
        if privleak(notes["unlearned"]["auc"]["value"], notes[arm]["auc"]["value"]) is None:
            yield message(
                "no_privleak",
                arm=arm,
                baseline=1 - notes[arm]["auc"]["value"],
                least=LEAST_BASELINE,
            )
