"""Baselines of an audit: what stands for a model that forgot."""

from enum import StrEnum


class Baseline(StrEnum):
    """Baseline against which residual knowledge is measured, strongest first."""

    RETRAINED = "retrained"
    """Models trained without the forget set, by the recipe of the original."""
    REFERENCE = "reference"
    """Models that never saw the forget set and were trained otherwise."""
    NEVER_SEEN_FACTS = "never-seen-facts"
    """The same model on facts like those to forget that no model saw, under the same attack."""
    OWN_NULL = "own-null"
    """The same model on the forget set with its answers permuted, under the same attack."""

    @property
    def strength(self) -> int:
        """Rank of what a verdict against it is worth; more is better."""
        return -tuple(Baseline).index(self)

    @property
    def of_models(self) -> bool:
        """Whether it is other models, and not other facts."""
        return self in (Baseline.RETRAINED, Baseline.REFERENCE)


def strongest_baseline(*, retrained: bool, reference: bool, holdout: bool) -> Baseline | None:
    """Return the strongest baseline that models and facts allow.

    Args:
        retrained: whether there is a model trained without the forget set.
        reference: whether there is one that never saw it and was trained otherwise.
        holdout: whether there are facts that no model saw.

    Returns:
        None where there is nothing to compare with.
    """
    if retrained:
        return Baseline.RETRAINED
    if reference and holdout:
        return Baseline.REFERENCE
    if holdout:
        return Baseline.NEVER_SEEN_FACTS
    return Baseline.OWN_NULL if reference else None


def is_retrained(baseline: object) -> bool:
    """Return whether a field names the usual baseline."""
    return baseline == Baseline.RETRAINED
