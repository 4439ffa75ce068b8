"""Optional dependencies: which extra brings a package that is not installed."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires

from auditor.core.errors import AuditorError
from auditor.core.packages import NOT_INSTALLED, installed_version

DISTRIBUTION = "unlearning-auditor"

EXTRAS = ("audit", "gguf", "images", "inception", "sigstore", "ray", "object-storage", "inspect")
"""Extras for users, in the order in which one of them is suggested."""

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Distributions of import packages that have another name, by the name of the package."""


class MissingExtraError(AuditorError):
    """A command needs a package that only an extra brings."""


def missing_extra(error: ImportError) -> MissingExtraError | None:
    """Return the error that names the extra to install.

    Args:
        error: what the import raised. If the module that it names is no package of an extra (but
            a part of one, which is then installed), the result is None.
    """
    package = error.name or ""
    extra = extra_of(package)
    if extra is None:
        return None
    return MissingExtraError(
        f"this needs the package {package}, which is not installed: "
        f"pip install '{DISTRIBUTION}[{extra}]'."
    )


def extra_of(package: str) -> str | None:
    """Return the extra that brings an import package, or None."""
    wanted = _canonical(_DISTRIBUTIONS.get(package, package))
    return next((extra for extra in EXTRAS if wanted in distributions(extra)), None)


def distributions(extra: str) -> tuple[str, ...]:
    """Return the distributions that an extra brings.

    Those of extras that it includes are left out.
    """
    others = {name for other in included(extra) for name in _declared(other)}
    return tuple(name for name in _declared(extra) if name not in others)


def included(extra: str) -> tuple[str, ...]:
    """Return the extras all of whose distributions another brings as well."""
    own = {*_declared(extra)}
    return tuple(other for other in EXTRAS if _declared(other) and {*_declared(other)} < own)


@cache
def _declared(extra: str) -> tuple[str, ...]:
    """Return all distributions that an extra brings.

    Those of extras that it includes are among them, for who builds the package writes them out.
    They are read from its metadata, so that they stand in one place.
    """
    from packaging.requirements import Requirement  # the command line needs it for errors alone

    try:
        declared = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a folder of sources
        return ()
    found = []
    for requirement in map(Requirement, declared):
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            found.append(_canonical(requirement.name))
    return tuple(name for name in dict.fromkeys(found) if name != DISTRIBUTION)


def absent(extra: str) -> tuple[str, ...]:
    """The distributions of an extra that are not installed."""
    return tuple(name for name in distributions(extra) if installed_version(name) == NOT_INSTALLED)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
