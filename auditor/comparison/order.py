"""Order of verdicts in leaderboards and pipelines."""

from auditor.statistics import UtilityAssessment

VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL", "NOT AUDITABLE")
"""Verdicts, best first."""


def utility_state(utility: UtilityAssessment | None) -> str:
    """State of utility in a word; ``not measured`` without any."""
    return "not measured" if utility is None else utility.state


def place(verdict: str) -> int:
    """Place of a verdict; higher is worse."""
    return VERDICTS.index(verdict)
