"""Base class of attacks, and the registry of all attacks."""

import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from auditor.core.aliases import attack_name
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.files import whole_folder
from auditor.core.hashing import digest
from auditor.core.messages import Message, message
from auditor.core.paths import FilePath as FilePath
from auditor.core.paths import ModelPath as ModelPath
from auditor.core.registry import Registry
from auditor.core.roles import ControlKind, Role
from auditor.core.source_attributes import NotLiteralError, class_attributes, named_class
from auditor.models.kind import default_kind
from auditor.models.manifest import are_logs, asked_alike

if TYPE_CHECKING:
    from auditor.core.facts import FactSets
    from auditor.core.findings import Curve, Explanation, Finding, SelfCheck, SideFigure
    from auditor.core.records import Record
    from auditor.models.language.evaluator import TextEvaluator
    from auditor.models.language.model import LanguageModel
    from auditor.models.manifest import Location
    from auditor.models.model import AuditedModel

Profile = Literal["quick", "standard", "exhaustive"]
PROFILES: tuple[Profile, ...] = ("quick", "standard", "exhaustive")


class Parameters(BaseModel):
    """Base of every attack's parameters: the settings of one variant."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


SECTIONS: Mapping[str, str] = {
    "threat_model": "Threat model",
    "access": "Access",
    "cost": "Cost",
    "leak": "A leak",
    "source": "Source",
}
"""Attributes that describe an attack, with the words that head them where they are shown."""

P = TypeVar("P", bound=Parameters)
M = TypeVar("M", bound="AuditedModel", default="LanguageModel")
"""Class of the models that an attack is for."""


class HoldsFacts(Protocol):
    """An evaluator, as far as an attack's context needs to know it."""

    @property
    def sets(self) -> "FactSets":
        """The facts of the audit."""


E = TypeVar("E", bound=HoldsFacts, default="TextEvaluator")
"""Class of the evaluator of these models."""


@dataclass(frozen=True)
class Preset:
    """A variant that a profile runs without being asked."""

    name: str = "default"
    """Name of the variant (`Attack.variant`)."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are not the defaults."""
    profile: Profile = "standard"
    """Smallest profile that runs it; larger ones do too."""
    mandatory: bool = False
    """Whether a PASS needs it, unless the policy says otherwise."""
    without_entities: str | None = None
    """Name of the preset that takes its place, in profiles and policies alike, where every forget
    fact is an entity of its own, so that no facts of one entity can be told apart."""
    with_experts: str | None = None
    """Attack and preset (``family/name preset``) that take its place, in profiles and policies
    alike, where a model is a mixture whose experts the attack does not round: of the same number of
    bits, on the same grid where there is one, and with the nearest size of groups."""


@dataclass(frozen=True)
class Requirements:
    """Needs of an attack from the machine and from the model."""

    packages: tuple[str, ...] = ()
    """Import packages that every variant needs."""
    gpu: bool = False
    """Whether it needs a GPU."""
    full_precision: bool = False
    """Whether the checkpoint must not be quantized already."""
    images: bool = False
    """Whether the plan must give pictures of the facts."""
    donor: bool = False
    """Whether it needs the original beside the arm, to take tensors from it."""
    asked_otherwise: bool = False
    """Whether it is for audits alone in which the files that say how a model is asked (tokenizer,
    templates, generation settings) differ from the original's."""
    experts: bool = False
    """Whether it is for audits alone in which a model is a mixture of experts."""
    traces: bool = False
    """Whether it is for audits alone in which a model has a place for a trace of thought before
    its answers."""


@dataclass(frozen=True)
class Footprint:
    """Memory and work of an attack beside asking the model.

    The planner multiplies it by the sizes of the network, before any model is opened.
    """

    copy: float = 0.0
    """Bytes that a copy, opened in the model's place, has of each weight in its linear layers; 0
    for no copy. Other weights are copied as they are."""
    making: float = 0.0
    """Bytes of each weight in the linear layers that are held only while that copy is made."""
    kept: float = 0.0
    """Bytes of each weight in the linear layers that are held beside the model."""
    lent: bool = False
    """Whether the model's weights are changed in place: main memory holds a copy of those that its
    files do not have in the same type."""
    aside: bool = False
    """Whether main memory holds the model's weights while copies of them are trained."""
    trained: float = 0.0
    """Bytes of each weight that training holds beside it, such as the optimizer's state."""
    accumulated: float = 0.0
    """Bytes of each weight that it holds besides where a batch is read in parts: its gradient."""
    rank: int = 0
    """Rank of low-rank adapters that are trained beside all matrices; 0 for none."""
    backward: int = 0
    """Tokens whose states are held for one backward pass."""
    embeddings: float = 0.0
    """Bytes of each weight of the embeddings besides: in copies that a search makes of them, or of
    the optimizer's state."""
    weights_read: float = 0.0
    """Times that all weights are drawn, rounded or unpacked."""
    columns: float = 0.0
    """Operations, one after the other, for each input of a matrix whose columns are fitted in
    turn."""
    written: float = 0.0
    """Bytes of each weight in the linear layers that are written to disk in a copy of the model.
    Other weights are written as they are."""
    stored: bool = False
    """Whether that copy stays in the store, for other jobs."""
    process: bool = False
    """Whether another process works on the model's files, with weights and libraries of its own."""


def role(decides: bool, mandatory: bool) -> Role:
    """The role of a variant in the verdict, if nothing waives it.

    Args:
        decides: Whether its attack counts towards the verdict at all.
        mandatory: Whether a PASS needs it.
    """
    if not decides:
        return Role.REPORTED
    return Role.MANDATORY if mandatory else Role.ADVISORY


def _unreported(step: str) -> None:
    """Report progress to nobody."""


class Recipe(NamedTuple):
    """Recipe of a copy that is derived from a model alone.

    Neither facts nor seed nor metrics decide it, so that one copy serves every job on the model.
    """

    module: str
    """Name of the module whose code makes it."""
    settings: Mapping[str, Any]
    """Everything else that decides it, besides the model, as plain data."""
    packages: tuple[str, ...] = ()
    """Import packages that make it."""


Keep: TypeAlias = Callable[[Recipe, Callable[[Path], None]], Path]
"""Function that returns the folder of a recipe, filled by the other function where it is not
there."""


def keep_within(scratch: Path) -> Keep:
    """Return how copies are kept where there is no store.

    They lie in a folder, while it lasts.

    Args:
        scratch: The folder.
    """

    def keep(recipe: Recipe, make: Callable[[Path], None]) -> Path:
        folder = scratch / digest({"module": recipe.module, "settings": dict(recipe.settings)})
        if not folder.exists():
            with whole_folder(folder) as unfinished:
                make(unfinished)
        return folder

    return keep


@dataclass(frozen=True)
class AttackContext(Generic[E]):
    """Inputs of an attack besides the model."""

    evaluator: E
    """Asks the audit's questions and applies its metrics."""
    seed: int
    """Seed of everything random in the attack."""
    scratch: Path
    """Folder for temporary files, removed afterwards."""
    pool: "Sequence[Finding]" = ()
    """Findings of the search stage, one for each arm; empty while searching."""
    progress: Callable[[str], None] = _unreported
    """Reports how far the attack has come, for example ``step 20 of 60``."""
    donor: "AuditedModel | None" = None
    """The original, opened beside the arm, where the attack requires it; it is only read."""
    kept: Keep | None = None
    """Where copies that are derived from the model are kept; by default in `scratch`."""

    def keep(self, recipe: Recipe, make: Callable[[Path], None]) -> Path:
        """Return a folder with a copy of the model by a recipe.

        It is made once for all jobs of a store, and again if it is not whole.

        Args:
            recipe: All that decides it besides the model.
            make: Fills an empty folder.
        """
        return (self.kept or keep_within(self.scratch))(recipe, make)

    @property
    def facts(self) -> "FactSets":
        """The forget, retain and holdout facts of the audit."""
        return self.evaluator.sets


class Attack(ABC, Generic[P, M, E]):
    """A procedure that tries to bring forgotten knowledge back.

    Every attack runs on every arm with the same parameters, seeds and order of data. Its class
    attributes are its documentation (`auditor attacks show`) and what a plan needs to know of it.
    They should be literals, which are read without importing the attack's module.
    """

    name: ClassVar[str]
    """Registered name, as ``family/name``."""
    family: ClassVar[str]
    """Kind of access or power that the attacker has, which is the first part of the name."""
    summary: ClassVar[str] = ""
    """What the attack does, in one sentence."""
    details: ClassVar[str] = ""
    """Paragraphs for its page in the documentation, as Markdown."""
    threat_model: ClassVar[str] = ""
    """Who would attack in this way."""
    access: ClassVar[str] = ""
    """What the attackers need of the model."""
    cost: ClassVar[str] = ""
    """What the attack costs them."""
    leak: ClassVar[str] = ""
    """How hidden knowledge shows under the attack."""
    source: ClassVar[str] = ""
    """Publication that the attack is from."""
    parameters_type: ClassVar[type[Parameters]] = Parameters
    """Class of the attack's settings."""
    presets: ClassVar[Sequence[Preset]] = ()
    """Variants that a profile runs without being asked."""
    requires: ClassVar[Requirements] = Requirements()
    """What it needs of the machine and of the model."""
    seeded: ClassVar[bool] = False
    """Whether its result depends on a seed; otherwise it runs once."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of model (`ModelSpec.kind`) that it can attack; empty for the default kind alone."""
    searches: ClassVar[bool] = False
    """Whether it has a search stage whose findings are pooled over the arms."""
    opens_copies: ClassVar[bool] = False
    """Whether it lets go of the model and opens a copy in its place. Such jobs come last, so that
    the model itself is loaded once."""
    metric: ClassVar[str | None] = None
    """Name of its own measure of K, where it does not use the audit's metrics."""
    effect: ClassVar[str | None] = None
    """What it must move in order to have acted, one of `statistics.effect.EFFECT_MEASURES`; every
    measurement then notes ``effect_note(…)`` under ``effect``. None where it trains and searches
    nothing."""
    decides: ClassVar[bool] = True
    """Whether it counts towards the verdict. Otherwise it is reported beside it, because its
    measure is of another kind than knowledge that comes out."""

    def __init__(self, parameters: P) -> None:
        """Create the attack with validated settings."""
        self.parameters = parameters

    @classmethod
    def role(cls, mandatory: bool) -> Role:
        """The role of a variant in the verdict, if nothing waives it."""
        return role(cls.decides, mandatory)

    @property
    def variant(self) -> str:
        """Name of these settings, unique within the attack.

        By default the name of the preset with the same settings, otherwise ``default`` or the
        settings that differ from the defaults. A class that overrides this gives its presets the
        names that come out of it.
        """
        for preset in self.presets:
            if self.parameters == self.parameters_type(**preset.parameters):
                return preset.name
        changed = self.parameters.model_dump(mode="json", exclude_defaults=True)
        return " ".join(f"{name}={value}" for name, value in changed.items()) or "default"

    @property
    def id(self) -> AttackId:
        """The attack and its level."""
        return AttackId(self.name, self.variant)

    @property
    def required_control(self) -> ControlKind:
        """Kind of positive control that the attack must find.

        ``visible`` is for attacks that measure what is there: they must neither blur nor destroy
        it. ``obfuscated`` is for attacks that claim to bring back what cannot be seen, and
        ``head`` for those that claim to do so where output head and last norm alone hide it.
        """
        return "visible"

    @property
    def packages(self) -> tuple[str, ...]:
        """Import packages that this variant needs.

        Their versions are part of its identity.
        """
        return self.requires.packages

    def forward_tokens(self, evaluation: int) -> int:
        """Estimate the tokens through the model, the search stage included.

        Args:
            evaluation: Tokens of one evaluation of the facts.

        Returns:
            Tokens; a backward pass counts as two forward passes.
        """
        return evaluation

    @property
    def footprint(self) -> Footprint:
        """Memory and work beside asking the model; by default none."""
        return Footprint()

    def search_parameters(self) -> dict[str, Any]:
        """Return the parameters that decide the search.

        Variants that agree in them share the search.
        """
        return self.parameters.model_dump(mode="json")

    def texts(self) -> Sequence[str]:
        """Return the texts shown to the model besides the facts.

        They are checked for facts to forget.
        """
        return ()

    def inputs(self) -> Mapping[str, str]:
        """Digests of what decides the result besides the parameters (files they name)."""
        return {}

    def unavailable(self, location: "Location") -> Message | None:
        """Why the attack cannot run here on this model, or None."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return message("package_missing", package=package)
        if self.requires.gpu:
            import torch  # takes seconds

            if not torch.cuda.is_available():
                return message("gpu_missing")
        if self.requires.full_precision:
            from auditor.models.checkpoint_files import quantization_method  # for this check alone

            if method := quantization_method(location.model):
                return message("quantized_already", method=method)
        return None

    def search(self, model: M, context: AttackContext[E]) -> "Record | None":
        """Look for prompts, suffixes or adapters on one arm (only if ``searches``).

        Args:
            model: The arm. It must be exactly as it was when this returns.
            context: Evaluator, seed and folder; the pool is empty.
        """
        return None

    @abstractmethod
    def measure(self, model: M, context: AttackContext[E]) -> "Record":
        """Measure K of every fact on one arm.

        Args:
            model: The arm. It must be exactly as it was when this returns.
            context: Evaluator, seed, folder and what the search stage found.

        Raises:
            MeasurementError: Something could not be measured; the engine records a failure.
            UnavailableError: The attack turns out not to apply.
        """

    def explain(self, unlearned: "Record", original: "Record") -> "Explanation | None":
        """Explain by a figure of weights or layers why knowledge comes back."""
        return None

    def self_checks(self, notes: Mapping[str, Mapping[str, Any]]) -> "Sequence[SelfCheck]":
        """Checks of the attack on its own evidence.

        Args:
            notes: Arm to what its measurement noted (first seed).
        """
        return ()

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> "Sequence[SideFigure]":
        """Numbers beside K, computed from what the measurements of all arms noted.

        Args:
            notes: Arm to what its measurement noted (first seed).
        """
        return ()

    def curves(self, notes: Mapping[str, Mapping[str, Any]]) -> "Sequence[Curve]":
        """Return the curves for the report.

        They are computed from what the measurements of all arms noted.

        Args:
            notes: Arm to what its measurement noted (first seed).
        """
        return ()


AnyAttack: TypeAlias = Attack[Any, Any, Any]
"""An attack on models of any kind."""


@dataclass(frozen=True)
class AttackMetadata:
    """Description of an attack by its own class.

    It is read without importing the attack's module where possible.
    """

    name: str
    summary: str
    details: str
    threat_model: str
    access: str
    cost: str
    leak: str
    source: str
    kinds: tuple[str, ...]
    presets: Sequence[Preset]
    requires: Requirements
    seeded: bool
    searches: bool
    metric: str | None
    effect: str | None
    decides: bool

    @property
    def family(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    def inapplicable(
        self, files: Mapping[str, Mapping[str, str]], *, experts: bool, traces: bool
    ) -> Message | None:
        """Return why the attack asks nothing new of these models, or None.

        It counts towards no verdict then, and no PASS needs it.

        Args:
            files: Arm to the digests of its model's files by name.
            experts: Whether a model is a mixture of experts.
            traces: Whether a trace of thought has its place before a model's answers.
        """
        if any(map(are_logs, files.values())):  # nobody knows the models, nor how they were asked
            return None
        if self.requires.experts and not experts:
            return message("no_mixture_of_experts")
        if self.requires.traces and not traces:
            return message("no_reasoning_model")
        if not self.requires.asked_otherwise or Arm.ORIGINAL not in files:
            return None
        if all(asked_alike(own, files[Arm.ORIGINAL]) for own in files.values()):
            return message("asked_as_the_original")
        return None

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The details, a paragraph each."""
        parts = inspect.cleandoc(self.details).split("\n\n")
        return tuple(" ".join(part.split()) for part in parts if part)

    def role(self, mandatory: bool) -> Role:
        """The role of a variant in the verdict, if nothing waives it."""
        return role(self.decides, mandatory)


def stand_in(described: AttackMetadata, preset: Preset, settings: type[Parameters]) -> AnyAttack:
    """Return a stand-in for an attack that is not run.

    The attack's module is not imported.

    Args:
        described: The attack.
        preset: Its level.
        settings: Class of its settings.
    """
    known = {
        name: getattr(described, name) for name in ("name", "family", "metric", "decides", "kinds")
    }
    known |= {"parameters_type": settings, "level": preset.name}
    attack: AnyAttack = type("StandIn", (_StandIn,), known)(settings(**preset.parameters))
    return attack


class _StandIn(Attack[Any, Any, Any]):
    """An attack in name: what it is called, and with which settings."""

    level: ClassVar[str]

    @property
    def variant(self) -> str:
        """The name of the preset."""
        return self.level

    def measure(self, model: Any, context: AttackContext[Any]) -> "Record":
        """Measure nothing: it is never run."""
        raise NotImplementedError


_READ = tuple(entry.name for entry in fields(AttackMetadata) if entry.name != "name")
_ROOT = f"{Attack.__module__}:{Attack.__qualname__}"
_CONSTRUCTORS = {"Preset": Preset, "Requirements": Requirements}


class AttackRegistry(Registry[type[AnyAttack]]):
    """Attacks by name.

    What they say of themselves is known without importing them.
    """

    def get(self, name: str) -> type[AnyAttack]:
        """The class of an attack.

        Raises:
            AuditorError: There is none (close names are suggested), or its plug-in does not load.
        """
        cls = super().get(name)
        if "name" not in vars(cls):  # it has an entry point and no decorator
            attack(name)(cls)
        return cls

    def metadata(self, name: str) -> AttackMetadata:
        """Return an attack's description by its own class.

        Raises:
            AuditorError: There is no such attack, or its plug-in does not load.
        """
        points = self.points(name)
        name = self.current(name)
        if name not in self._items and len(points) == 1:
            defaults = {field: getattr(Attack, field) for field in _READ}
            try:
                stated = class_attributes(points[0].value, _READ, _ROOT, _CONSTRUCTORS)
                return _described(name, {**defaults, **stated})
            except NotLiteralError:
                pass
        cls = self.get(name)
        return _described(name, {field: getattr(cls, field) for field in _READ})

    def parameters_type(self, name: str) -> type[Parameters]:
        """Return the settings of an attack without importing its module.

        They are to be read and checked.

        Where that is not possible the module is imported.

        Raises:
            AuditorError: There is no such attack, or its plug-in does not load.
        """
        points = self.points(name)
        if self.current(name) not in self._items and len(points) == 1:
            try:
                found = named_class(points[0].value, "parameters_type", _ROOT)
            except NotLiteralError:
                return self.get(name).parameters_type
            if found is None:
                return Parameters
            if issubclass(found, Parameters):
                return found
        return self.get(name).parameters_type


def _described(name: str, stated: Mapping[str, Any]) -> AttackMetadata:
    """Return an attack's description from its class's attributes.

    It has the default kind of model where the class names none.
    """
    kinds = stated["kinds"] or (default_kind().name,)
    return AttackMetadata(name=name, **{**stated, "kinds": kinds})


ATTACKS = AttackRegistry("attack", group="auditor.attacks", current=attack_name)
"""All installed attacks."""

A = TypeVar("A", bound=type[AnyAttack])


def attack(name: str) -> Callable[[A], A]:
    """Class decorator that registers an attack as ``family/name``.

    Raises:
        AuditorError: The name is taken by another class.
    """

    def add(cls: A) -> A:
        cls.family, _, _ = name.partition("/")
        cls.name = name
        ATTACKS.register(name)(cls)
        return cls

    return add
