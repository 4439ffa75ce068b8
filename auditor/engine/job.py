"""A job: one attack at one level on one model. Its key is everything that decides its result."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from auditor.attack import ATTACKS, AnyAttack
from auditor.core.hashing import digest
from auditor.core.packages import distribution_of, installed_version
from auditor.engine.expansion import instantiate
from auditor.engine.fingerprint import fingerprint
from auditor.metrics.metric import find_metric
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.kind import AnySpec, ModelKind, kind_named
from auditor.models.manifest import Location
from auditor.models.spec import PromptFormat

Stage = Literal["search", "measure"]

_MEASURING_LIBRARIES = ("rouge-score",)


class Pooled(BaseModel):
    """A finished search whose finding is measured, and whose it is."""

    model_config = ConfigDict(frozen=True)

    arm: str
    key: str
    own: bool
    """Whether it was found on the arm that the job measures."""


class Job(BaseModel):
    """Plain data, so that any process on any machine can run it against a shared store."""

    model_config = ConfigDict(frozen=True)

    stage: Stage
    attack: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    """Digests of files that the parameters name."""
    seed: int
    spec: AnySpec
    location: Location
    facts: str
    """Digest of the fact sets in the store."""
    metrics: tuple[str, ...]
    format: PromptFormat
    token_budget: int
    pool: tuple[Pooled, ...] = ()
    """The searches whose findings are measured, one an arm."""
    auxiliary: AuxiliaryInputs = AuxiliaryInputs()

    @cached_property
    def key(self) -> str:
        """Digest of the identity; the name of the job's folder in the store."""
        return digest(self.identity)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result. Where files lie and who else runs is not in it."""
        return {
            "stage": self.stage,
            "attack": self.attack,
            "parameters": self.parameters,
            "inputs": self.inputs,
            "seed": self.seed,
            "subject": self.location.manifest.digest,
            "kind": self.spec.kind,
            "dtype": self.spec.dtype,
            "device_map": self.spec.device_map,
            "options": self.kind.options(self.spec),
            "facts": self.facts,
            "metrics": list(self.metrics),
            "format": self.format.model_dump(),
            "token_budget": self.token_budget,
            "pool": [entry.model_dump() for entry in self.pool],
            "instruments": dict(self.auxiliary.digests),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "code": measuring_code(self.attack, self.metrics, self.kind),
            "libraries": library_versions(self.instantiate(), self.kind),
        }

    @property
    def kind(self) -> ModelKind:
        """The kind of the model."""
        return kind_named(self.spec.kind)

    def instantiate(self) -> AnyAttack:
        """The attack with its parameters."""
        return instantiate(self.attack, self.parameters)


def measuring_code(attack: str, metrics: Sequence[str], kind: ModelKind) -> str:
    """Digest the code that decides what a job finds.

    Args:
        attack: Name of the attack.
        metrics: Names of the metrics.
        kind: Kind of the model.
    """
    modules = [ATTACKS.get(attack).__module__]
    modules += [find_metric(name, kind.answers).__module__ for name in metrics]
    return fingerprint([*modules, *kind.code])


def library_versions(attack: AnyAttack, kind: ModelKind) -> dict[str, str]:
    """Versions of the libraries that a measurement of models of a kind depends on."""
    needed = map(distribution_of, attack.packages)
    names = sorted({*_MEASURING_LIBRARIES, *kind.packages, *needed})
    return {name: installed_version(name) for name in names}
