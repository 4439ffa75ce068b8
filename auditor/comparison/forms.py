"""Registries of the output forms of comparisons and leaderboards.

The packages that fill them are found through the entry points of the reports.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from auditor.comparison.ranking import Leaderboard
from auditor.comparison.schema import Comparison
from auditor.core.registry import Registry

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Form(Generic[Shown]):
    """A way to write something down."""

    render: Callable[[Shown], str]
    """Returns the text of one file; equal arguments give equal text."""
    suffix: str
    """Suffix of the file, with its dot."""
    summary: str
    """What the form is for, in one line."""


COMPARISONS: Registry[Form[Comparison]] = Registry("form of a comparison", group="auditor.reports")
"""Forms of a comparison by name."""

LEADERBOARDS: Registry[Form[Leaderboard]] = Registry(
    "form of a leaderboard", group="auditor.reports"
)
"""Forms of a leaderboard by name."""
