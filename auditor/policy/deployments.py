"""Deployments: formats of served models, and levels that measure them."""

from collections.abc import Iterable, Mapping

from auditor.core.errors import AuditorError
from auditor.core.validation import did_you_mean
from auditor.policy.policy import Policy

DEPLOYMENTS: Mapping[str, tuple[str, ...]] = {
    "server-bf16": ("quantization/half-types bfloat16",),
    "server-fp8": (
        "quantization/half-types bfloat16",
        "quantization/torchao fp8",
        "quantization/torchao fp8-dynamic",
    ),
    "server-int8": (
        "quantization/bnb int8",
        "quantization/torchao int8",
        "quantization/torchao int8-dynamic",
    ),
    "server-fp4": ("quantization/torchao nvfp4", "quantization/torchao mxfp4"),
    "server-int4": ("quantization/gptq 4-bit g128", "quantization/awq 4-bit g128"),
    "desktop-gguf": (
        "quantization/gguf q4_k_m",
        "quantization/gguf q5_k_m",
        "quantization/gguf q8_0",
    ),
    "phone-gguf": (
        "quantization/gguf q4_k_m",
        "quantization/gguf q3_k_m",
        "quantization/gguf iq4_nl",
    ),
}
"""Deployment to the levels that it makes mandatory."""


def check_deployments(names: Iterable[str]) -> None:
    """Refuse names of no deployment.

    Raises:
        AuditorError: One is none; close names are suggested.
    """
    for name in names:
        if name not in DEPLOYMENTS:
            hint = did_you_mean(name, DEPLOYMENTS) or f"give some of {', '.join(DEPLOYMENTS)}."
            raise AuditorError(f"there is no deployment {name}; {hint}")


def deployed_levels(names: Iterable[str]) -> tuple[str, ...]:
    """Return the levels that deployments make mandatory, each once."""
    return tuple(dict.fromkeys(level for name in names for level in DEPLOYMENTS[name]))


def deployed(policy: Policy, names: tuple[str, ...]) -> Policy:
    """Return a policy that demands the levels of deployments too.

    Its list of mandatory attacks holds them, so that whoever decides again needs no plan. It has a
    name of its own where it demands more than before.

    Args:
        policy: A policy that lists its mandatory attacks.
        names: Deployments.
    """
    held = policy.mandatory or ()
    added = tuple(level for level in deployed_levels(names) if level not in held)
    if not added:
        return policy
    name = f"{policy.name} for {', '.join(names)}"
    return policy.model_copy(update={"name": name, "mandatory": (*held, *added)})
