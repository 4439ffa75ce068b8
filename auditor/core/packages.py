"""Versions of installed distributions, read from their metadata without importing them."""

from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version

NOT_INSTALLED = "not installed"


def installed_version(distribution: str) -> str:
    """Return the version of a distribution, or that it is not installed."""
    try:
        return _version(distribution)
    except PackageNotFoundError:
        return NOT_INSTALLED


@cache
def _version(distribution: str) -> str:
    """Return the version of a distribution that is there."""
    return version(distribution)


@cache
def distribution_of(package: str) -> str:
    """Return the distribution that brings an import package (``sklearn``: scikit-learn)."""
    if installed_version(package) != NOT_INSTALLED:
        return package
    return packages_distributions().get(package, [package])[0]  # reads all of them: slow
