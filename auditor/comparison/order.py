"""Which verdict is better: the order that leaderboards and pipelines go by."""

VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL", "NOT AUDITABLE")
"""Best first."""


def place(verdict: str) -> int:
    """Place of a verdict; higher is worse."""
    return VERDICTS.index(verdict)
