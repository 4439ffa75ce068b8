"""Baseline that tells forget from holdout facts without any model.

It should not be possible.

Where it is, the two sets differ in themselves, and a membership score may tell them apart without
the model having seen either (arXiv 2406.17975, 2406.16201).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from attacks.membership.scored_texts import ScoredTexts
from auditor.core.facts import FactSets
from auditor.core.findings import SelfCheck
from auditor.statistics.roc import area_under_curve

FOLDS = 5
_WORD = r"(?u)\b\w+\b"


def blind_baseline(sets: FactSets, texts: ScoredTexts) -> dict[str, Any]:
    """AUC of a bag-of-words classifier, cross-validated with entities kept together.

    The scores of a cross-validation depend on each other, which the interval does not know: over
    simulated worlds whose sets are drawn alike its lower bound lies above 0.5 in about 4 % of
    cases, not in 2.5 %.

    Returns:
        ``value``, ``lower`` and ``upper`` (95 %; DeLong, with the facts of an entity as one
        cluster), or ``absent`` with the reason.
    """
    return dict(
        _told_apart(
            tuple(texts.whole(fact) for fact in sets.forget),
            tuple(fact.entity for fact in sets.forget),
            tuple(texts.whole(fact) for fact in sets.holdout),
            tuple(fact.entity for fact in sets.holdout),
        )
    )


def blind_check(found: Mapping[str, Any], by: str = "bag_of_words") -> SelfCheck:
    """Self-check that the blind baseline's AUC is not above chance.

    Args:
        found: as `blind_baseline` returns it.
        by: code of the classifier.
    """
    if "absent" in found:
        absent = {"by": by, "error": found["absent"]}
        return SelfCheck("sets_alike_without_model", False, absent, quoted=("error",))
    value, lower = found["value"], found["lower"]
    above = value > 0.5 and (lower is None or lower > 0.5)
    measured = {"by": by, "auc": value, "lower": lower, "upper": found["upper"]}
    return SelfCheck("sets_alike_without_model", not above, measured)


@lru_cache(maxsize=4)
def _told_apart(
    members: tuple[str, ...],
    member_subjects: tuple[str, ...],
    others: tuple[str, ...],
    other_subjects: tuple[str, ...],
) -> tuple[tuple[str, Any], ...]:
    """Return the AUC of the classifier, cached for all arms.

    It is the same for every arm.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # takes a second to import
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    folds = min(FOLDS, len(set(member_subjects)), len(set(other_subjects)))
    if folds < 2:
        return (("absent", "it needs two entities or more in the forget and in the holdout set"),)
    classifier = make_pipeline(
        CountVectorizer(ngram_range=(1, 2), token_pattern=_WORD),
        LogisticRegression(max_iter=1000, class_weight="balanced"),
    )
    scores = cross_val_predict(
        classifier,
        [*members, *others],
        [1] * len(members) + [0] * len(others),
        groups=[*member_subjects, *other_subjects],
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0),
        method="decision_function",
    )
    area = area_under_curve(
        scores[: len(members)], scores[len(members) :], member_subjects, other_subjects
    )
    return (("value", area.value), ("lower", area.lower), ("upper", area.upper))
