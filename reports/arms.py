"""The models of an audit: their order, their names for a reader, and the baseline's mean."""

import re
from collections.abc import Iterable, Mapping
from statistics import fmean

UNLEARNED = "unlearned"
ORIGINAL = "original"

MEANINGS = {
    UNLEARNED: "the model under audit, said to have forgotten",
    ORIGINAL: "the model before unlearning",
}


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``layers.2`` before ``layers.10``."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(p), p) if p.isdecimal() and len(p) < 19 else (1, 0, p) for p in parts]


def position(arm: str) -> tuple[int, list[tuple[int, int, str]]]:
    """Sort key: unlearned, baselines, original, which is the order of the comparison."""
    return {UNLEARNED: 0, ORIGINAL: 2}.get(arm, 1), natural(arm)


def in_order(arms: Iterable[str]) -> list[str]:
    """Returns arms in the order of the comparison."""
    return sorted(arms, key=position)


def meaning(arm: str) -> str:
    """Returns what an arm is to the audit."""
    return MEANINGS.get(arm, "baseline: a model that never saw the forget set")


def baseline(by_arm: Mapping[str, float]) -> list[float]:
    """Returns the values of all baselines."""
    return [by_arm[arm] for arm in in_order(by_arm) if arm not in MEANINGS]


def baseline_mean(by_arm: Mapping[str, float]) -> float | None:
    """Returns the mean over the baselines; None where there is none."""
    values = baseline(by_arm)
    return fmean(values) if values else None


def above_baseline(by_arm: Mapping[str, float]) -> float | None:
    """Returns how far the unlearned model is above the baselines' mean; None where either lacks."""
    mean = baseline_mean(by_arm)
    return None if mean is None or UNLEARNED not in by_arm else by_arm[UNLEARNED] - mean
