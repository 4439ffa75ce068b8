"""Agreement of reported metrics with those that decide."""

from collections.abc import Sequence
from typing import Any

from auditor.core.messages import Message, message
from auditor.statistics.arms import Scope
from auditor.statistics.betting import log_e_value, log_threshold, mean_lower
from auditor.statistics.margins import Margins
from auditor.statistics.readings import Reading


def contradiction(
    attack: str, reported: Sequence[Reading], margins: Margins, scope: Scope, measured_attacks: int
) -> Message | None:
    """Say which reported metrics show a residual above delta.

    One is asked only where its gap tells the original from the retrained models. The chance that
    any of them speaks against a model whose residual is at most delta by all of them stays at most
    alpha: it is shared over the metrics and the attacks (Bonferroni).

    Args:
        attack: label of the attack.
        reported: what metrics that do not decide read under it, on the facts that they can read.
        margins: the policy's margins.
        scope: what the units are.
        measured_attacks: attacks over which alpha is shared.

    Returns:
        None where none contradicts.
    """
    shared = log_threshold(margins.alpha, max(1, measured_attacks) * max(1, len(reported)))
    found: list[dict[str, Any]] = []
    for reading in reported:
        if reading.arms is None:
            continue
        contrast = reading.arms.contrast(scope)
        if mean_lower(contrast.g, margins.alpha) < margins.minimum_gap:
            continue
        if log_e_value(-contrast.against(margins.delta)) >= shared:
            rho = float(contrast.d.mean()) / float(contrast.g.mean())
            found.append({"metric": reading.metric, "rho": rho})
    if not found:
        return None
    return message("reported_metric_contradicts", attack=attack, found=found, delta=margins.delta)
