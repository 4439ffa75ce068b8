"""The registry of the viewer's pages: how what it found is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from auditor.core.registry import Registry
from auditor.viewer.overview import Overview
from auditor.viewer.progress import AuditProgress


@dataclass(frozen=True)
class Pages:
    """The pages as functions from data to HTML; equal arguments give equal text.

    Addresses in them are relative, so that no page holds the token.
    """

    overview: Callable[[Overview], str]
    audits: Callable[[Sequence[AuditProgress], datetime, bool], str]
    """All audits of one model on one set of facts, at one moment; whether the page loads itself
    again while one is under way."""
    notice: Callable[[str], str]
    """A sentence, in place of a page that cannot be shown."""
    script_source: str
    """Source expression (Content-Security-Policy) of the only script that a page of a certificate
    may run. The viewer's own pages run none."""


PAGES: Registry[Pages] = Registry("set of viewer pages", group="auditor.reports")
"""Sets of pages by name; ``html`` is the one that is served."""
