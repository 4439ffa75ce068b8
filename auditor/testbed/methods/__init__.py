"""Ways to unlearn, each in its own module, and the names that recipes call them by."""

from auditor.testbed.methods.registry import METHODS, Method
from auditor.testbed.methods.unlearning import UnlearningSettings, unlearn

__all__ = ["METHODS", "Method", "UnlearningSettings", "unlearn"]
