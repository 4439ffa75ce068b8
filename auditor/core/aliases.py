"""Former names, as earlier releases wrote them.

They stand in certificates, policies, plans and evidence.

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

PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "generation/quality": {"subsets": "kid_subsets", "subset_size": "kid_subset_size"},
    "membership/denoising-loss": {"reached": "t_sec"},
    "membership/likelihood": {"offline": "offline_a"},
    "probing/linear-probe": {"positions": "max_positions"},
    "prompting/adversarial-prefix": {"success": "success_threshold", "tokens": "prefix_length"},
    "prompting/concept-inversion": {
        "at_once": "micro_batch_size",
        "batch": "batch_size",
        "steps": "num_steps",
        "vectors": "num_vectors",
    },
    "prompting/few-shot": {"between": "separator"},
    "prompting/gcg": {
        "allowed": "allow_non_ascii",
        "candidates": "search_width",
        "items": "batch_size",
        "length": "suffix_length",
        "steps": "num_steps",
        "swaps": "n_replace",
        "top_k": "topk",
    },
    "prompting/ring-a-bell": {
        "crossover": "crossover_rate",
        "length": "prompt_length",
        "mutation": "mutation_rate",
        "population": "population_size",
    },
    "prompting/soft": {
        "batch": "batch_size",
        "steps": "num_steps",
        "vectors": "num_virtual_tokens",
    },
    "relearning/benign": {"on": "data"},
    "relearning/same-facts": {"every": "eval_steps", "limit": "max_steps"},
    "relearning/unet": {"material": "data"},
    "steering/refusal-direction": {
        "answer_tokens": "max_new_tokens",
        "refusing": "min_refusal_rate",
    },
    "tampering/noise": {"level": "relative_std"},
    "tampering/pruning": {"share": "sparsity"},
}
"""Parameters of attacks before 0.2, by the attack's name of today."""

PARAMETER_VALUES: Mapping[str, Mapping[str, Any]] = {
    "allow_non_ascii": {"ascii": False, "printable": True},
    "scope": {"per-subject": "per-entity"},
    "split": {"subject": "entity"},
}
"""Values of attacks' parameters before 0.2, by the parameter's name of today."""

_SPLITTING = frozenset({"relearning/held-out-facts", "prompting/gcg", "prompting/soft"})
"""Attacks whose levels were named by how the facts are split."""
_WORDS = {"subject": "entity", "per-subject": "per-entity"}

PLAN_KEYS: Mapping[str, str] = {"probes": "metrics"}
"""Keys of plans before 0.2."""

FIELDS: Mapping[str, str] = {"subject": "entity"}
"""Fields of a fact before 0.2, in data files and in a plan's ``fields``."""

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


def attack_parameters(attack: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attack's parameters with today's names and values.

    Args:
        attack: name of the attack, former or of today.
        parameters: name to value, or to a list of values in a plan that sweeps over them.
    """
    names = PARAMETERS.get(attack_name(attack), {})
    return {
        names.get(name, name): _value(names.get(name, name), value)
        for name, value in parameters.items()
        if names.get(name, name) == name or names[name] not in parameters
    }


def _value(parameter: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_value(parameter, part) for part in value]
    values = PARAMETER_VALUES.get(parameter, {})
    return values.get(value, value) if isinstance(value, str) else value


def renamed(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a table with today's names of its keys.

    Where a key stands under both names, the value of today's name is kept.
    """
    return {names.get(name, name): value for name, value in table.items() if name in names} | {
        name: value for name, value in table.items() if name not in names
    }
