"""Jobs, each one attack at one level on one model.

A job's key is the digest of what is asked.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from auditor.attack import ATTACKS, AnyAttack
from auditor.core.hashing import digest
from auditor.engine.expansion import instantiate
from auditor.engine.fingerprint import fingerprint
from auditor.metrics.metric import METRICS
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.kind import AnySpec, ModelKind, kind_named
from auditor.models.served import SERVED
from auditor.models.spec import ModelSpec, PromptFormat
from auditor.models.text_engine import AskedEngine, engine_code

Stage = Literal["search", "measure"]


class Pooled(BaseModel):
    """A finished search whose finding is measured, and whose it is."""

    model_config = ConfigDict(frozen=True)

    arm: str
    key: str
    own: bool
    """Whether it was found on the arm that the job measures."""


class Donor(BaseModel):
    """Model from which an attack takes tensors."""

    model_config = ConfigDict(frozen=True)

    spec: AnySpec
    model: str
    """Digest of its files."""

    @property
    def identity(self) -> dict[str, Any]:
        """Part of the donor that decides a result."""
        options = kind_named(self.spec.kind).options(self.spec)
        return {"model": self.model, "dtype": self.spec.dtype, "options": options}


class Job(BaseModel):
    """Job as plain data.

    Any process on any machine can run it against a shared store.
    """

    model_config = ConfigDict(frozen=True)

    stage: Stage
    attack: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    """Digests of files that the parameters name."""
    seed: int
    spec: AnySpec
    """Spec of the model, by which its files are looked for; a worker takes them only if they are
    the model's."""
    model: str
    """Digest of the model's files."""
    facts: str
    """Digest of the fact sets in the store."""
    metrics: tuple[str, ...]
    format: PromptFormat
    prompts: str | None = None
    """Digest of the token ids of all facts; None for models that are asked in none."""
    token_budget: int
    code: str
    """Digest of the code that decides what the job finds (`measuring_code`)."""
    pool: tuple[Pooled, ...] = ()
    """Searches whose findings are measured, one for each arm."""
    auxiliary: AuxiliaryInputs = AuxiliaryInputs()
    """Files that the evaluator needs beside the model."""
    donor: Donor | None = None
    """The original, where the attack takes tensors from it."""
    engine: AskedEngine | None = None
    """What writes texts in place of the network in memory, while that is what its files hold."""

    @cached_property
    def key(self) -> str:
        """Digest of the identity; the name under which the evidence is kept."""
        return digest(self.identity)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Identity of the job: everything on which its result should depend.

        What it should not depend on is left out, so that evidence serves every audit that asks the
        same: where files lie, who else is audited, and *how* a worker works. The device map and
        the token budget say on which devices and in how large batches the same sums are done. The
        type of the weights (``dtype``) says which model is audited, as a user would deploy it, so
        it is part of what is asked; so is another engine that writes texts, with its versions, as
        its last digits are its own. Device, Python and packages are the worker's; it records them
        beside the evidence (`auditor.store.environment`).
        """
        found = {
            "stage": self.stage,
            "attack": self.attack,
            "parameters": self.parameters,
            "inputs": self.inputs,
            "seed": self.seed,
            "model": self.model,
            "kind": self.spec.kind,
            "dtype": self.spec.dtype,
            "options": self.kind.options(self.spec),
            "facts": self.facts,
            "metrics": list(self.metrics),
            "format": self.format.model_dump(mode="json"),
            "pool": [entry.model_dump() for entry in self.pool],
            "auxiliary": dict(self.auxiliary.digests),
            "code": self.code,
        }
        if self.prompts is not None:
            found["prompts"] = self.prompts
        if self.engine is not None:
            found["engine"] = self.engine.identity
        return found if self.donor is None else {**found, "donor": self.donor.identity}

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the jobs that must have ended before this one begins."""
        return tuple(found.key for found in self.pool)

    @property
    def kind(self) -> ModelKind:
        """The kind of the model."""
        return kind_named(self.spec.kind)

    def instantiate(self) -> AnyAttack:
        """Make the attack with its parameters."""
        return instantiate(self.attack, self.parameters)


def measuring_code(
    attack: str, metrics: Sequence[str], kind: ModelKind, spec: ModelSpec | None = None
) -> str:
    """Digest the code that decides what a job finds.

    Args:
        attack: Name of the attack.
        metrics: Names of the metrics.
        kind: Kind of the model.
        spec: Spec of the model, which may name plug-ins.
    """
    modules = [ATTACKS.get(attack).__module__]
    modules += [METRICS.get(name).__module__ for name in metrics]
    further = () if spec is None else kind.modules(spec)
    return fingerprint([*modules, *kind.code, *further])


def writing_code(kind: ModelKind, engine: str) -> str:
    """Digest the code that asks an engine and checks what it answers.

    Args:
        kind: Kind of the models that it writes for.
        engine: Its name.
    """
    return fingerprint([SERVED.get(kind.name).__module__, *engine_code(engine)])
