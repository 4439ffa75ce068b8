"""Models of an audit, and the mean of the baseline.

An arm has a place in the order of a page and a meaning for its reader.
"""

import re
from collections.abc import Iterable, Mapping
from statistics import fmean

from auditor.core.arms import Arm
from reports.messages import ARMS


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts ``layers.2`` before ``layers.10``."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(p), p) if p.isdecimal() and len(p) < 19 else (1, 0, p) for p in parts]


def in_order(arms: Iterable[str]) -> list[str]:
    """Return arms in their order: unlearned, original, retrained models."""
    return sorted(arms, key=lambda arm: Arm(arm).place)


def meaning(arm: str) -> str:
    """Return what an arm is in the audit."""
    asked = Arm(arm)
    if asked.is_reference:
        return ARMS["reference"]
    return ARMS["retrained"] if asked.is_retrained else ARMS[asked.world or asked]


def baseline(by_arm: Mapping[str, float]) -> list[float]:
    """Return the values of all baselines.

    Without other models it is the unlearned model on facts that stand for what is not known.
    """
    null = Arm.UNLEARNED.within("null")
    if null in by_arm:
        return [by_arm[null]]
    return [by_arm[arm] for arm in in_order(by_arm) if Arm(arm).is_retrained]


def baseline_mean(by_arm: Mapping[str, float]) -> float | None:
    """Return the mean over the baselines; None where there is none."""
    values = baseline(by_arm)
    return fmean(values) if values else None


def above_baseline(by_arm: Mapping[str, float]) -> float | None:
    """Return how far the unlearned model is above the baselines' mean.

    Returns:
        A difference of K; None where either is missing.
    """
    mean = baseline_mean(by_arm)
    return None if mean is None or Arm.UNLEARNED not in by_arm else by_arm[Arm.UNLEARNED] - mean
