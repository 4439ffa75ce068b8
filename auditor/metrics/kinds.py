"""Which metrics read what models answer with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from auditor.core.registry import Registry
from auditor.metrics.concepts import CONCEPT_METRICS
from auditor.metrics.language import METRICS
from auditor.metrics.metric import Metric

READERS: Mapping[str, Registry[Any]] = MappingProxyType({"text": METRICS, "image": CONCEPT_METRICS})
"""What models answer with (`ModelKind.answers`) to the metrics that read it."""


def find_metric(answers: str, name: str) -> type[Metric[Any]]:
    """The metric of that name for such answers.

    Raises:
        AuditorError: there is none; close names are suggested.
    """
    metric: type[Metric[Any]] = READERS[answers].get(name)
    return metric
