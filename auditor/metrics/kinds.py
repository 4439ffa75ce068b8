"""Which metrics read models of which kind."""

from collections.abc import Mapping
from types import MappingProxyType

from auditor.metrics import metric
from auditor.metrics.metric import AnyMetric, Reads

ANSWERS: Mapping[str, Reads] = MappingProxyType({"causal-lm": "text", "text-to-image": "image"})
"""Kind of model (`ModelSpec.kind`) to what such models answer in."""

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


def find_metric(kind: str, name: str) -> type[AnyMetric]:
    """Find a metric for models of a kind.

    Raises:
        AuditorError: There is none of that name, or it reads answers of another kind.
    """
    return metric.find_metric(name, ANSWERS[kind])
