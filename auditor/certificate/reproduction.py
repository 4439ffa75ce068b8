"""Reproduction of an audit: command, plan, versions, hardware."""

import platform
from collections.abc import Mapping

from auditor.certificate.schema import FormatPart, PromptPart, PromptsPart, ReproductionPart
from auditor.core.arms import Arm
from auditor.core.messages import message
from auditor.core.packages import installed_version
from auditor.engine.audit import AuditOutcome
from auditor.engine.environment import ENGINE
from auditor.engine.shared_plan import shared_plan
from auditor.models.asked import AskedFacts
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
        plan=shared_plan(outcome.prepared.plan),
        seeds=outcome.prepared.plan.attack_seeds,
        versions=_versions(outcome),
        hardware=hardware,
        determinism=message("gpu_kernels_may_differ" if gpu else "deterministic"),
        formats=tuple(
            FormatPart(format=tried.format.model_dump(mode="json"), k=tried.k, job=tried.job)
            for tried in outcome.prepared.formats
        ),
        prompts=_prompts(outcome.prepared.asked, outcome.prepared.read),
    )


def _versions(outcome: AuditOutcome) -> dict[str, str]:
    """Return the versions of the packages, another engine's among them."""
    engine = outcome.prepared.engine
    others = {} if engine is None else engine.versions
    return {name: installed_version(name) for name in _REPORTED_PACKAGES} | {
        f"{ENGINE}{name}": version for name, version in others.items()
    }


def _prompts(asked: Mapping[str, AskedFacts], read: str | None) -> PromptsPart | None:
    """Return what the models were asked, shown as the original reads it."""
    if Arm.ORIGINAL not in asked:
        return None
    return PromptsPart(
        digests={str(arm): own.digest for arm, own in asked.items()},
        date=next((own.date for own in asked.values() if own.date is not None), None),
        shown=tuple(
            PromptPart(set=name, fact=prompt.fact, text=prompt.text, tokens=prompt.tokens)
            for name, prompt in asked[Arm.ORIGINAL].shown.items()
        ),
        read=read,
    )
