"""Weights of the attacks in a FAIL: each family counts once.

A weighted mean of e-values is an e-value if the weights are fixed before the data are seen and sum
to at most 1 (arXiv 1912.06116). Each weight here is one over a whole number, the *parts* that alpha
is cut into for the attack. Near-copies of one attack (four roundings) so no longer dilute the
evidence of another.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from scipy.special import logsumexp

from auditor.core.attack_id import AttackId

Weighting = Literal["family", "measured"]
"""family: equal over the planned families, and equal within each. measured: equal over the
attacks that were measured, the rule of releases before 0.2."""


def family_parts(attacks: Sequence[AttackId]) -> dict[AttackId, int]:
    """Returns families times variants of its own, by attack.

    Args:
        attacks: every attack of the plan that decides, measured or not.
    """
    variants = Counter(attack.family for attack in attacks)
    return {attack: len(variants) * variants[attack.family] for attack in attacks}


def parts(
    attacks: Sequence[AttackId], measured: Sequence[AttackId], weighting: Weighting
) -> dict[AttackId, int]:
    """Returns the number of parts of alpha, by attack.

    Args:
        attacks: every attack of the plan that decides.
        measured: those of them that left evidence.
        weighting: the rule.
    """
    if weighting == "family":
        return family_parts(attacks)
    return dict.fromkeys(attacks, max(1, len(measured)))


def weighted_log_e_value(
    log_e_values: Mapping[AttackId, float], shares: Mapping[AttackId, int]
) -> float | None:
    """Returns the log of the weighted mean of e-values.

    Attacks without an e-value enter as 0.

    Args:
        log_e_values: attack to the log of its e-value, where it counts.
        shares: attack to its parts.

    Returns:
        None where no attack counts.
    """
    if not log_e_values:
        return None
    most = max(shares[attack] for attack in log_e_values)
    weights = [most / shares[attack] for attack in log_e_values]
    return float(logsumexp(list(log_e_values.values()), b=weights)) - math.log(most)
