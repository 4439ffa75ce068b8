"""Ways to unlearn, each in its own module, and the names that recipes call them by."""

from auditor.unlearning.registry import METHODS, Method
from auditor.unlearning.training import UnlearningSettings, unlearn

__all__ = ["METHODS", "Method", "UnlearningSettings", "unlearn"]
