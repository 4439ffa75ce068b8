"""Registry of reports, each a form of a certificate.

Someone reads it, or a machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

from auditor.certificate.schema import Certificate
from auditor.core.registry import Registry


@dataclass(frozen=True)
class Signatures:
    """Knowledge of a certificate's signatures when a report is made."""

    keys: tuple[str, ...]
    """Ids of the keys that signed."""
    checked: bool
    """Whether they were checked against keys that whoever made the report trusts."""


@dataclass(frozen=True)
class Report:
    """A way to write a certificate down."""

    render: Callable[[Certificate, Signatures | None], str]
    """Returns the text of one file; equal arguments give equal text. The signatures are None where
    the certificate was not signed."""
    suffix: str
    """Suffix of the file, with its dot (``.html``, ``.junit.xml``)."""
    summary: str
    """What the report is for, in one line."""


REPORTS: Registry[Report] = Registry("report", group="auditor.reports")
"""Reports by name."""
