"""The registry of reports: a certificate, in a form that someone or something else reads."""

from collections.abc import Callable

from auditor.certificate.schema import Certificate
from auditor.registry import Registry

Report = Callable[[Certificate], str]
"""Renders a certificate as the text of one file. Equal certificates give equal text."""

REPORTS: Registry[Report] = Registry("report", group="auditor.reports")
"""Reports by name. The name is the suffix of the file: ``html`` is written to ``*.html``."""
