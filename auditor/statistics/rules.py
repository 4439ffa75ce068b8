"""Rules of decision of today, and of former releases."""

from dataclasses import dataclass

from auditor.statistics.attack_weights import Weighting


@dataclass(frozen=True)
class Rules:
    """Rules from evidence to verdict that differ between releases.

    Attributes:
        weighting: how the attacks share alpha in a FAIL.
        leaks_counted: whether leaks are counted in a census.
        baselines_tested: whether the retrained models are tested, too.
        facts_for_fail: whether an INCONCLUSIVE says what a FAIL needs, and says what a PASS needs
            only where nothing but facts is missing.
    """

    weighting: Weighting = "family"
    leaks_counted: bool = True
    baselines_tested: bool = True
    facts_for_fail: bool = True


TODAY = Rules()
FORMER = Rules("measured", leaks_counted=False, baselines_tested=False, facts_for_fail=False)
"""The rules of releases before 0.2, under which a certificate of schema 3 is verified."""
