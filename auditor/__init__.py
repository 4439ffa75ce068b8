"""Audit models that are said to have forgotten something.

Each name below is imported when it is first used, so that importing the package is quick and
needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditor.api.auditing import AuditResult, Measurement, Planned, audit, measure, plan
    from auditor.api.certificates import (
        Verification,
        evidence,
        gate,
        load_certificate,
        verify,
    )
    from auditor.api.measuring import load_facts, load_model, run_attack, wrap_model

__version__ = "0.2.0"

_HOMES = {
    "auditor.api.auditing": ("AuditResult", "Measurement", "Planned", "audit", "measure", "plan"),
    "auditor.api.certificates": (
        "Verification",
        "evidence",
        "gate",
        "load_certificate",
        "verify",
    ),
    "auditor.api.measuring": ("load_facts", "load_model", "run_attack", "wrap_model"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AuditResult",
    "Measurement",
    "Planned",
    "Verification",
    "__version__",
    "audit",
    "evidence",
    "gate",
    "load_certificate",
    "load_facts",
    "load_model",
    "measure",
    "plan",
    "run_attack",
    "verify",
    "wrap_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from auditor.core.extras import missing_extra
    from auditor.core.quiet import quiet_loggers

    quiet_loggers()
    try:
        value = getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
