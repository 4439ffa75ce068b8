"""The registry of reports: a certificate, in a form that someone or something else reads."""

from collections.abc import Callable
from dataclasses import dataclass

from auditor.certificate.schema import Certificate
from auditor.core.registry import Registry


@dataclass(frozen=True)
class Signatures:
    """What is known of a certificate's signatures at the moment a report is made of it."""

    keys: tuple[str, ...]
    """Ids of the keys that signed."""
    checked: bool
    """Whether they were checked against keys that whoever made the report trusts."""


@dataclass(frozen=True)
class Report:
    """A way to write a certificate down."""

    render: Callable[[Certificate, Signatures | None], str]
    """The text of one file; equal arguments give equal text. The signatures are None where the
    certificate was not signed."""
    suffix: str
    """Of the file, with its dot (``.html``, ``.junit.xml``)."""
    summary: str
    """What it is for, in one line."""


REPORTS: Registry[Report] = Registry("report", group="auditor.reports")
"""Reports by name."""
