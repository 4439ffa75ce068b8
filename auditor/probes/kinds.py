"""Which probes read models of which kind."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from auditor.probes.concept import CONCEPT_PROBES
from auditor.probes.knowledge import PROBES
from auditor.probes.probe import Probe
from auditor.registry import Registry

KINDS: Mapping[str, Registry[Any]] = MappingProxyType(
    {"causal-lm": PROBES, "text-to-image": CONCEPT_PROBES}
)
"""Kind of model (`SubjectSpec.kind`) to its probes."""

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
"""Kind of model to the probes that a plan has unless it says otherwise, the primary one first."""


def find_probe(kind: str, name: str) -> type[Probe[Any]]:
    """The probe of that name for models of a kind.

    Raises:
        AuditorError: there is none; close names are suggested.
    """
    probe: type[Probe[Any]] = KINDS[kind].get(name)
    return probe
