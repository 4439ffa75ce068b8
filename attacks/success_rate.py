"""Attack success rate: share of images with the concept."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from auditor.core.arms import Arm
from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record, Row
from auditor.statistics.roc import clopper_pearson, operating_point

TOP = 0.5
"""Probability from which a concept counts as found, where no metric looks at its rank.

Of probabilities that sum to one, no other is then larger. But a smaller one may be the largest,
too, and a classifier that gives each label a probability of its own may give several more.
"""
TOP_1 = "concept-top-1"
"""The metric by which success is counted where the plan has it."""
FALSE_POSITIVE_RATE = 0.05
"""Share of the retrained models' pictures that a calibrated threshold keeps to."""


class ReportsSuccessRate:
    """Mixin that reports the attack success rate beside K.

    It is for attacks that make a model draw a concept.
    """

    def record(
        self,
        rows: Sequence[Row],
        arrays: Mapping[str, npt.NDArray[np.generic]] | None = None,
        *,
        counted: Sequence[Row] | None = None,
        **notes: Any,
    ) -> Record:
        """Record of the rows, with a note on the success rate.

        By the metric ``concept-top-1`` where it is among the rows', otherwise by the first.

        Args:
            rows: what was measured.
            arrays: to be kept with it.
            counted: rows of single pictures; by default ``rows``, which are no such thing where K
                is a mean over several.
            notes: to be kept with it.
        """
        counted = rows if counted is None else counted
        metrics = [row.metric for row in counted]
        metric = TOP_1 if TOP_1 in metrics else next(iter(metrics), None)
        judged = [row.k for row in counted if row.set == "forget" and row.metric == metric]
        return Record(
            rows=tuple(rows),
            notes={
                "pictures": len(judged),
                "pictures_with_concept": sum(k >= TOP for k in judged),
                "pictures_judged_by": metric,
                "k_by_metric": {
                    name: [row.k for row in counted if row.set == "forget" and row.metric == name]
                    for name in dict.fromkeys(metrics)
                    if name != TOP_1
                },
                **notes,
            },
            arrays=dict(arrays or {}),
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Attack success rate of every arm with its Clopper-Pearson interval.

        The share of the forget facts in whose picture the concept is found; those that show it
        without the attack are among them, as in UnlearnDiffAtk (arXiv 2310.11868).
        """
        figures = []
        for arm, noted in notes.items():
            if not noted.get("pictures"):
                continue
            found, count = noted["pictures_with_concept"], noted["pictures"]
            metric = noted["pictures_judged_by"]
            counted = (
                message("concept_is_most_probable")
                if metric == TOP_1
                else message("k_at_least", metric=metric, least=TOP)
            )
            figures.append(share_figure("attack_success_rate", arm, found, count, counted))
        return [*figures, *_above_retrained(notes)]


def _above_retrained(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[SideFigure]:
    """Share of pictures above a threshold that retrained models' set.

    Half of these pictures set the threshold, the other half are counted above it.
    """
    known = {arm: noted.get("k_by_metric", {}) for arm, noted in notes.items()}
    retrained = [found for arm, found in known.items() if Arm(arm).is_retrained]
    for metric in dict.fromkeys(name for found in known.values() for name in found):
        others = [k for found in retrained for k in found.get(metric, ())]
        for arm in (Arm.UNLEARNED, Arm.ORIGINAL):
            own = known.get(arm, {}).get(metric)
            if not own:
                continue
            point = operating_point(own, others[::2], others[1::2], FALSE_POSITIVE_RATE)
            if point is None:
                continue
            yield SideFigure(
                "share_above_retrained",
                arm,
                point.rate,
                point.lower,
                point.upper,
                params={"metric": metric, "fpr": point.false_positive_rate},
                remarks=(
                    message(
                        "threshold_from_retrained",
                        threshold=point.threshold,
                        false_positives=point.false_positives,
                        checked=point.checked,
                    ),
                ),
            )


def share_figure(name: str, arm: str, count: int, of: int, *remarks: Message) -> SideFigure:
    """A share of an arm's pictures with its Clopper-Pearson interval.

    Args:
        name: code of what it is the share of.
        arm: arm whose pictures they are.
        count: how many are counted.
        of: how many there are.
        remarks: what is counted, or what limits it.
    """
    lower, upper = clopper_pearson(count, of)
    said = (*remarks, message("clopper_pearson_bounds"))
    return SideFigure(name, arm, count / of, lower, upper, remarks=said)


def against_retrained(notes: Mapping[str, Mapping[str, Any]]) -> tuple[str, bool] | None:
    """Comparison of the original with models that never saw the concept.

    Returns:
        The retrained arm in whose pictures the concept was found most, and whether it was found
        in clearly more of the original's: whether the 95 % Clopper-Pearson intervals are apart.
        None without an original or a retrained model.
    """
    shares = {
        arm: (noted["pictures_with_concept"], noted["pictures"])
        for arm, noted in notes.items()
        if noted.get("pictures")
    }
    retrained = [arm for arm in shares if Arm(arm).is_retrained]
    if "original" not in shares or not retrained:
        return None
    worst = max(retrained, key=lambda arm: shares[arm][0] / shares[arm][1])
    (low, _), (_, high) = clopper_pearson(*shares["original"]), clopper_pearson(*shares[worst])
    return worst, high < low


def pictures_found(noted: Mapping[str, Any]) -> list[JsonValue]:
    """Number of an arm's pictures with the concept, and of all."""
    return [noted["pictures_with_concept"], noted["pictures"]]
