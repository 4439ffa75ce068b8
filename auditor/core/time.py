"""Moments as text: UTC, ISO 8601, to the second."""

from datetime import UTC, datetime


def utc_text(moment: datetime | None = None) -> str:
    """Return a moment as ``2025-01-31T23:59:59Z``; by default the present one."""
    moment = datetime.now(UTC) if moment is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
