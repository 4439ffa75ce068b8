"""What an attack is, and the registry that holds them all."""

import importlib.util
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from auditor.core.findings import Control, Curve, Explanation, Finding, SideFigure
from auditor.core.records import Record
from auditor.core.registry import Registry
from auditor.models.causal_lm.model import CausalLM
from auditor.models.grid import Grid
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.manifest import Location
from auditor.models.model import AuditedModel

if TYPE_CHECKING:
    from auditor.statistics import PlantKind

Profile = Literal["quick", "standard", "exhaustive"]
PROFILES: tuple[Profile, ...] = ("quick", "standard", "exhaustive")


class Parameters(BaseModel):
    """Base of every attack's parameters: the settings of one variant."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Located(Enum):
    """What a parameter's text names; a plan's relative paths start at the plan's own folder."""

    FILE = "file"
    MODEL = "model"


FilePath = Annotated[str, Located.FILE]
"""Type of a parameter that names a file."""
ModelPath = Annotated[str, Located.MODEL]
"""Type of a parameter that names a model: a directory, or a name on the hub."""

P = TypeVar("P", bound=Parameters)
S = TypeVar("S", bound=AuditedModel, default=CausalLM)
"""The kind of model that an attack is for."""
E = TypeVar("E", default=TextEvaluator)
"""Who asks models of that kind."""


@dataclass(frozen=True)
class Level:
    """A variant that a profile runs without being asked."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    profile: Profile = "standard"
    """The smallest profile that runs it; larger ones do too."""
    mandatory: bool = False
    """Whether a PASS needs it, unless the policy says otherwise."""


@dataclass(frozen=True)
class Requirements:
    """What an attack needs of the machine and of the model."""

    packages: tuple[str, ...] = ()
    """Import packages that every variant needs."""
    gpu: bool = False
    full_precision: bool = False
    """The checkpoint must not be quantized already."""
    images: bool = False
    """The plan must give pictures of the facts."""


class Attack(ABC, Generic[P, S, E]):
    """A procedure that tries to bring forgotten knowledge back.

    Every attack runs on every arm with the same parameters, seeds and order of data.

    The docstring of a subclass is its documentation (`auditor attacks document`): one line on
    what it does, free text, and paragraphs that begin with ``Threat model:``, ``Access:``,
    ``Cost:``, ``A leak:`` and ``Source:``.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    """What kind of access or power the attacker has."""
    parameters_type: ClassVar[type[Parameters]] = Parameters
    levels: ClassVar[Sequence[Level]] = ()
    """Variants by profile."""
    requires: ClassVar[Requirements] = Requirements()
    seeded: ClassVar[bool] = False
    """Whether its result depends on a seed; otherwise it runs once."""
    kinds: ClassVar[tuple[str, ...]] = ("causal-lm",)
    """Kinds of model (`ModelSpec.kind`) that it can attack."""
    searches: ClassVar[bool] = False
    """Whether it has a search stage whose findings are pooled over the arms."""
    metric: ClassVar[str | None] = None
    """Name of its own measure of K, where it does not use the audit's metrics."""
    decides: ClassVar[bool] = True
    """Whether it counts towards the verdict. What does not is reported beside it: its measure is
    of another kind than knowledge that comes out."""

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @classmethod
    def part(cls, mandatory: bool) -> Literal["mandatory", "advisory", "reported"]:
        """The part of a level in the verdict, in a word."""
        if not cls.decides:
            return "reported"
        return "mandatory" if mandatory else "advisory"

    @property
    @abstractmethod
    def variant(self) -> str:
        """Short name of the level or configuration, unique within the attack."""

    @property
    def must_find(self) -> "PlantKind":
        """Which planted suppression it must find for its positive control.

        ``partial`` is for attacks that measure what is there: they must neither blur nor destroy
        it. ``hidden`` is for attacks that claim to bring back what cannot be seen.
        """
        return "partial"

    @property
    def grid(self) -> Grid | None:
        """The grid that it rounds weights to, one by one.

        A hidden suppression is then planted within the grid's cells, so that the rounding undoes
        it. None where it does not round, or where a weight's cell depends on more than weights.
        """
        return None

    @property
    def packages(self) -> tuple[str, ...]:
        """Import packages that this variant needs; their versions are part of its identity."""
        return self.requires.packages

    def forward_tokens(self, evaluation: int) -> int:
        """Estimated tokens through the model, if one evaluation takes ``evaluation``.

        A backward pass counts as two forward passes. The search stage is included.
        """
        return evaluation

    def search_parameters(self) -> dict[str, Any]:
        """The parameters that decide the search; variants that agree in them share it."""
        return self.parameters.model_dump(mode="json")

    def texts(self) -> Sequence[str]:
        """Texts that the attack shows the model besides the facts; checked for forget facts."""
        return ()

    def inputs(self) -> Mapping[str, str]:
        """Digests of what decides the result besides the parameters (files they name)."""
        return {}

    def unavailable(self, location: Location) -> str | None:
        """Why the attack cannot run here on this model, or None."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"the package {package} is not installed"
        if self.requires.gpu and not torch.cuda.is_available():
            return "it needs a GPU and there is none"
        if self.requires.full_precision and (method := quantized_with(location.model)):
            return f"the checkpoint is quantized already ({method})"
        return None

    def search(self, subject: S, evaluator: E, seed: int) -> Record | None:
        """Look for prompts, suffixes or adapters on one arm (only if ``searches``)."""
        return None

    @abstractmethod
    def measure(
        self,
        subject: S,
        evaluator: E,
        pool: Sequence[Finding],
        seed: int,
        scratch: Path,
    ) -> Record:
        """Measure K of every fact on one arm.

        Args:
            subject: the arm; exactly as it was when this returns.
            evaluator: asks the audit's questions.
            pool: what the search stage found on all arms, one finding an arm and seed.
            seed: of everything random in here.
            scratch: folder for temporary files, removed afterwards.

        Raises:
            MeasurementError: something could not be measured; the engine records a failure.
            UnavailableError: the attack turns out not to apply.
        """

    def explain(self, unlearned: Record, original: Record) -> Explanation | None:
        """Why knowledge comes back, from the records of U and O."""
        return None

    def controls(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[Control]:
        """Checks of the attack on its own evidence.

        Args:
            notes: arm to what its measurement noted (first seed).
        """
        return ()

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Numbers beside K, worked out from what the measurements of all arms noted.

        Args:
            notes: arm to what its measurement noted (first seed).
        """
        return ()

    def curves(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[Curve]:
        """Curves for the report, worked out from what the measurements of all arms noted.

        Args:
            notes: arm to what its measurement noted (first seed).
        """
        return ()


AnyAttack: TypeAlias = Attack[Any, Any, Any]
"""An attack on models of any kind."""

ATTACKS: Registry[type[AnyAttack]] = Registry("attack", group="auditor.attacks")

A = TypeVar("A", bound=type[AnyAttack])


def attack(name: str) -> Callable[[A], A]:
    """Class decorator that registers an attack as ``family/name``.

    Raises:
        AuditorError: the name is taken by another class.
    """

    def add(cls: A) -> A:
        cls.family, _, _ = name.partition("/")
        cls.name = name
        ATTACKS.register(name)(cls)
        return cls

    return add


def quantized_with(directory: Path) -> str | None:
    """The method by which a checkpoint is quantized (``gptq``, ``awq``, ``bitsandbytes``).

    A pipeline with a quantized component is refused before anybody asks.
    """
    file = directory / "config.json"
    if not file.exists():
        return None
    quantization = json.loads(file.read_text(encoding="utf-8")).get("quantization_config")
    return str(quantization.get("quant_method", "unknown method")) if quantization else None
