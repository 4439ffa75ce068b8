"""Names that changed: what certificates, policies, plans and evidence of earlier releases say.

Whatever reads something that an earlier release wrote looks up names here, and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

from auditor.core.attack_id import AttackId

ATTACKS: Mapping[str, str] = {
    "image/concept-inversion": "prompting/concept-inversion",
    "image/membership": "membership/denoising-loss",
    "image/null-inversion": "generation/null-inversion",
    "image/prompt-search": "prompting/adversarial-prefix",
    "image/quality": "generation/quality",
    "image/quantization": "quantization/unet",
    "image/relearning": "relearning/unet",
    "image/ring-a-bell": "prompting/ring-a-bell",
    "image/synonyms": "prompting/synonyms",
    "latent/activation-patching": "probing/activation-patching",
    "latent/linear-readout": "probing/linear-probe",
    "tampering/refusal-direction": "steering/refusal-direction",
}
"""Registered names of attacks before 0.2."""

PARAMETER_VALUES: Mapping[str, Mapping[str, str]] = {
    "split": {"subject": "entity"},
    "scope": {"per-subject": "per-entity"},
}
"""Values of attacks' parameters before 0.2, by the parameter's name."""

_SPLITTING = frozenset({"relearning/held-out-facts", "prompting/gcg", "prompting/soft"})
"""Attacks whose levels are named by how the facts are split."""
_WORDS = {"subject": "entity", "per-subject": "per-entity"}

PLAN_KEYS: Mapping[str, str] = {"probes": "metrics"}
"""Keys of plans before 0.2."""

FIELDS: Mapping[str, str] = {"subject": "entity"}
"""Fields of a fact before 0.2: keys of data files and of a plan's ``fields``."""

COLUMNS: Mapping[str, str] = {"subject": "entity", "probe": "metric"}
"""Columns of evidence before 0.2."""

NOTES: Mapping[str, str] = {"probe": "metric"}
"""Keys of attacks' notes before 0.2."""

JOB_KEYS: Mapping[str, str] = {
    "subject": "model",
    "probes": "metrics",
    "instruments": "auxiliary",
}
"""Keys of a job's identity before 0.2."""

CONTROLS: Mapping[str, str] = {"partial": "visible", "hidden": "obfuscated"}
"""Kinds of positive control before 0.2."""


def attack_name(name: str) -> str:
    """Return today's name of an attack."""
    return ATTACKS.get(name, name)


def attack_id(name: str, variant: str) -> AttackId:
    """Return today's identity of an attack at one level."""
    current = attack_name(name)
    if current in _SPLITTING:
        variant = " ".join(_WORDS.get(word, word) for word in variant.split(" "))
    return AttackId(current, variant)


def attack_label(label: str) -> str:
    """Return today's form of a label, or of an attack's bare name."""
    former = AttackId.parse(label)
    return attack_id(former.name, former.variant).label


def attack_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attack's parameters with today's values, single ones and lists of them."""

    def current(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [current(name, item) for item in value]
        former = PARAMETER_VALUES.get(name, {})
        return former.get(value, value) if isinstance(value, str) else value

    return {name: current(name, value) for name, value in parameters.items()}


def renamed(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a table with today's names of its keys; one that both forms have keeps today's."""
    return {names.get(name, name): value for name, value in table.items() if name in names} | {
        name: value for name, value in table.items() if name not in names
    }
