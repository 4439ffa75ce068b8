"""Environment that a worker records beside its evidence."""

import platform

from auditor.core.packages import distribution_of, installed_version
from auditor.engine.job import Job
from auditor.metrics.metric import METRICS
from auditor.models.served import EngineUse
from auditor.models.spec import ModelSpec
from auditor.store.environment import CPU, Environment

ENGINE = "generation: "
"""Beginning of the names of packages in the environment of an engine that writes texts."""
NOT_USED = "not used"
"""Stands for the version of a package of an engine in whose place the network wrote."""


def environment_of(job: Job, used: EngineUse | None = None) -> Environment:
    """Return the environment in which this process runs a job.

    The packages are those that the job's attack, metrics and kind of model name, and the engine
    that a job is to ask: arms for which it wrote are not like arms for which the network did.

    Args:
        job: The job.
        used: Texts that the job's engine wrote, and the network in its place.
    """
    packages = {
        *job.instantiate().packages,
        *(package for name in job.metrics for package in METRICS.get(name).packages),
        *job.kind.packages,
    }
    distributions = sorted(map(distribution_of, packages))
    asked: dict[str, str] = {}
    if job.engine is not None and used is not None:
        versions = job.engine.versions
        if used.engine + used.network > 0:
            asked = {f"{ENGINE}{n}": v if used.engine else NOT_USED for n, v in versions.items()}
        if used.adapted + used.unadapted > 0:
            asked[f"{ENGINE}adapters"] = versions["vllm"] if used.adapted else NOT_USED
    return Environment(
        device=device_of(job.spec),
        python=platform.python_version(),
        packages={name: installed_version(name) for name in distributions} | asked,
        device_map=job.spec.device_map,
        token_budget=job.token_budget,
    )


def device_of(spec: ModelSpec) -> str:
    """Return the accelerator of a model here, or ``cpu``."""
    if spec.device_map == CPU:
        return CPU
    import torch  # evidence that no model answers for is gathered without it

    if not torch.cuda.is_available():
        return CPU
    kind, _, number = (spec.device_map or "").partition(":")
    return torch.cuda.get_device_name(int(number) if kind == "cuda" and number else 0)
