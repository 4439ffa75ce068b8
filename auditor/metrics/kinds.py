"""Which metrics read models of which kind."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from auditor.core.registry import Registry
from auditor.metrics.concepts import CONCEPT_METRICS
from auditor.metrics.language import METRICS
from auditor.metrics.metric import Metric

KINDS: Mapping[str, Registry[Any]] = MappingProxyType(
    {"causal-lm": METRICS, "text-to-image": CONCEPT_METRICS}
)
"""Kind of model (`ModelSpec.kind`) to its metrics."""

USUAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "causal-lm": (
            "answer-probability",
            "rouge-l-recall",
            "exact-memorisation",
            "extraction-strength",
        ),
        "text-to-image": ("concept", "concept-top-1"),
    }
)
"""Kind of model to the metrics that a plan has unless it says otherwise, the primary one first."""


def find_metric(kind: str, name: str) -> type[Metric[Any]]:
    """The metric of that name for models of a kind.

    Raises:
        AuditorError: there is none; close names are suggested.
    """
    metric: type[Metric[Any]] = KINDS[kind].get(name)
    return metric
