"""Audits a model that is said to have forgotten something, and writes a certificate."""

from importlib.metadata import version

__version__ = version("unlearning-auditor")
