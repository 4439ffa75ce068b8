"""The rows of the attack matrix, as the page shows them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditor.certificate.schema import Certificate, MatrixRow, ReadingPart
from auditor.core.arms import Arm
from auditor.core.roles import Role
from auditor.core.text_safety import label, visible
from reports.arms import baseline, baseline_mean
from reports.messages import gate_name
from reports.number_format import count, interval, number, share
from reports.plain_names import plain_name
from reports.results import Outcome, Result, result

FRONT = 6
"""Most attacks in the picture on the first page."""
FLIPS = "code_flip_share"
"""Code of the measure by which attacks of the quantization family explain themselves."""


@dataclass(frozen=True)
class AttackView:
    """One attack at one level, in words.

    Attributes:
        row: the certificate's row.
        result: its outcome.
        blocking: names of the gates that were not met, in words.
        reference: it is the model without attack, with which the others are compared.
        reading: what the metric shows that has most evidence of residual knowledge.
        metric: that metric, where it is not the primary one of the certificate.
        unlearned: mean K of the unlearned model on the forget set, by that metric.
        original: the same of the original model.
        baseline: the same, over all baselines.
        baselines: number of baselines in that mean.
        rho: residual knowledge.
        bounds: its bounds.
        leaked: facts that leaked, of those that could.
        leak_upper: upper bound of their share.
        flips: code-flip share.
        seconds: time over all arms; None where it is not known.
    """

    row: MatrixRow
    result: Result
    blocking: tuple[str, ...]
    reference: bool
    reading: ReadingPart
    metric: str | None
    unlearned: float | None
    original: float | None
    baseline: float | None
    baselines: int
    rho: str
    bounds: str | None
    leaked: str
    leak_upper: str | None
    flips: str | None
    seconds: float | None

    def name(self, width: int) -> str:
        """Returns the label for a figure.

        A label that is too long with its family is shown without it.
        """
        shown = label(self.row.label, width)
        if shown == visible(self.row.label):
            return shown
        return label(self.row.label.partition("/")[2] or self.row.label, width)


def attack_views(certificate: Certificate) -> tuple[AttackView, ...]:
    """Returns the rows, the model without attack first.

    The others follow in the certificate's order.
    """
    views = [_view(row, certificate) for row in certificate.matrix]
    return tuple(sorted(views, key=lambda view: not view.reference))


def tally(views: Sequence[AttackView]) -> dict[str, dict[Outcome, int]]:
    """Returns how many attacks had which outcome, by their role."""
    order: tuple[Outcome, ...] = ("leak", "within", "undecided", "failed", "unavailable")
    counts: dict[str, dict[Outcome, int]] = {}
    for role in (Role.MANDATORY, Role.WAIVED, Role.ADVISORY, Role.REPORTED):
        found = Counter(view.result.outcome for view in views if view.row.role == role)
        counts[role.value] = {outcome: found[outcome] for outcome in order if found[outcome]}
    return counts


def weight(view: AttackView) -> int:
    """Returns the attack's rank in the order of importance.

    0 is an attack that found a leak, 1 another mandatory attack, 2 any other.
    """
    return 0 if view.row.named else 1 if view.row.role is Role.MANDATORY else 2


def foremost(views: Iterable[AttackView]) -> list[AttackView]:
    """Returns the rows in the order in which they matter.

    First those that found a leak, then the other mandatory ones, then the rest; within each, the
    highest residual knowledge first, and those without one last.
    """

    def rank(view: AttackView) -> tuple[int, float]:
        figures = view.reading.figures
        rho = figures.rho if figures is not None else None
        return weight(view), math.inf if rho is None or math.isnan(rho) else -rho

    return sorted(views, key=rank)


def front_views(views: Sequence[AttackView]) -> list[AttackView]:
    """Returns the attacks of the first page.

    They are the model without attack, and the foremost of those that were measured, one of each
    plain name.
    """
    shown = [view for view in views if view.reference and view.unlearned is not None][:1]
    names = {str(plain_name(view.row.label)) for view in shown}
    for view in foremost(views):
        name = str(plain_name(view.row.label))
        silent = view.row.role is Role.REPORTED or view.unlearned is None
        if len(shown) < FRONT and not silent and name not in names:
            names.add(name)
            shown.append(view)
    return shown


def _view(row: MatrixRow, certificate: Certificate) -> AttackView:
    measured = row.status == "measured"
    reading = row.strongest
    by_arm = row.forget.get(reading.metric, {}) if measured else {}
    figures = reading.figures if measured else None
    leak = figures.leak if figures else None
    explained = row.explanation is not None and row.explanation.measure == FLIPS
    return AttackView(
        row=row,
        result=result(row),
        blocking=tuple(dict.fromkeys(gate_name(g.name) for g in row.gates if not g.met)),
        reference=row.attack.startswith("none/"),
        reading=reading,
        metric=None if reading.metric == certificate.scope.primary_metric else reading.metric,
        unlearned=by_arm.get(Arm.UNLEARNED),
        original=by_arm.get(Arm.ORIGINAL),
        baseline=baseline_mean(by_arm),
        baselines=len(baseline(by_arm)),
        rho=number(figures.rho if figures else None),
        bounds=interval(figures.rho_lower, figures.rho_upper) if figures else None,
        leaked=f"{count(leak.leaked)} of {count(leak.eligible)}" if leak else number(None),
        leak_upper=f"at most {share(leak.upper)}" if leak else None,
        flips=share(row.explanation.overall) if explained and row.explanation else None,
        seconds=certificate.timing.attack_seconds.get(row.label),
    )
