"""Reproduction of an audit: command, plan, versions, hardware."""

import platform

from auditor.certificate.schema import FormatPart, ReproductionPart
from auditor.core.messages import message
from auditor.core.packages import installed_version
from auditor.engine.audit import AuditOutcome
from auditor.store.environment import CPU

_REPORTED_PACKAGES = (
    "unlearning-auditor",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "diffusers",
    "peft",
    "bitsandbytes",
    "gptqmodel",
    "optimum",
    "torchao",
    "numpy",
    "scipy",
    "rouge-score",
)


def reproduction(outcome: AuditOutcome, command: str) -> ReproductionPart:
    """Return what is needed to repeat the audit with ``command``."""
    gpu = any(device != CPU for device in outcome.devices)
    hardware = {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "device": ", ".join(outcome.devices),
    }
    return ReproductionPart(
        command=command,
        plan=outcome.prepared.plan.model_dump(mode="json"),
        seeds=outcome.prepared.plan.attack_seeds,
        versions={name: installed_version(name) for name in _REPORTED_PACKAGES},
        hardware=hardware,
        determinism=message("gpu_kernels_may_differ" if gpu else "deterministic"),
        formats=tuple(
            FormatPart(format=tried.format.model_dump(mode="json"), k=tried.k, job=tried.job)
            for tried in outcome.prepared.formats
        ),
    )
