"""Copies that attacks derive from a model, kept in the store."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.attack import Recipe
from auditor.core.hashing import digest
from auditor.core.interruption import check_interrupted
from auditor.core.packages import distribution_of, installed_version
from auditor.engine.environment import device_of
from auditor.engine.fingerprint import fingerprint
from auditor.engine.job import Job
from auditor.models.spec import ModelSpec
from auditor.store.base import EvidenceStore
from auditor.store.environment import CPU

_PATIENCE = 1.0
"""Seconds between two looks at a copy that another process makes."""


@dataclass(frozen=True)
class DerivedModels:
    """Copies of a job's model in a store.

    Attributes:
        job: The job.
        store: The store.
    """

    job: Job
    store: EvidenceStore

    def __call__(self, recipe: Recipe, make: Callable[[Path], None]) -> Path:
        """Return the folder of a recipe, made unless it is there whole.

        Where another process is making it, that one is waited for.

        Args:
            recipe: All that decides the copy besides the model.
            make: Fills an empty folder.

        Raises:
            KeyboardInterrupt: The user interrupted it.
            OSError: The folder cannot be written.
        """
        key = digest(self.identity(recipe))
        while True:
            with self.store.claim(key) as held:
                if held:
                    return self.store.derived(key, make)
            time.sleep(_PATIENCE)
            check_interrupted()

    def identity(self, recipe: Recipe) -> dict[str, Any]:
        """Return everything that decides a copy.

        Unlike a job's, it has packages and platform: another release of a quantizer, or another
        processor, may round otherwise, and nobody compares the copies afterwards.

        Args:
            recipe: All that decides the copy besides the model.
        """
        job = self.job
        packages = {distribution_of(name) for name in (*recipe.packages, *job.kind.packages)}
        return {
            "model": job.model,
            "kind": job.spec.kind,
            "dtype": job.spec.dtype,
            "options": job.kind.options(job.spec),
            "settings": dict(recipe.settings),
            "code": fingerprint([recipe.module, *job.kind.code]),
            "packages": {name: installed_version(name) for name in sorted(packages)},
            "platform": platform_of(job.spec),
        }


def platform_of(spec: ModelSpec) -> list[str]:
    """Return what of this machine decides a model's last bits.

    Args:
        spec: How the model is opened.
    """
    device = device_of(spec)
    if device != CPU:
        return [device]
    import torch  # evidence that no model answers for is gathered without it

    return [device, platform.machine(), torch.backends.cpu.get_cpu_capability()]
