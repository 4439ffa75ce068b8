"""Kinds of model, with one folder and entry point for each.

A kind is found by its name or by a model's files.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import (
    BaseModel,
    BeforeValidator,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.core.messages import Message
from auditor.core.paths import context, located_model, root_of
from auditor.core.registry import Registry
from auditor.core.validation import sentence
from auditor.models.asked import AskedFacts
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.file_differences import files_differ
from auditor.models.plan_sections import DataSection, MetricSection
from auditor.models.shape import Shape, stored_shape
from auditor.models.spec import ModelSpec, PromptFormat

if TYPE_CHECKING:  # torch takes seconds, and a kind is asked for much that needs none
    from auditor.models.evaluator import Evaluator
    from auditor.models.manifest import Location
    from auditor.models.model import AuditedModel

Answers = Literal["text", "image"]
"""Form of the answers of a kind's models; a metric reads one of them."""

Tick = Callable[[int], None]
"""Function that is told how many items each finished batch held."""


class Planned(Protocol):
    """Parts of a plan that a kind of model reads."""

    @property
    def arms(self) -> Mapping[str, ModelSpec]:
        """Arm to its model."""

    @property
    def data(self) -> DataSection:
        """Section on where the facts are."""

    @property
    def metrics(self) -> MetricSection:
        """Section on the metrics of knowledge."""

    @property
    def format(self) -> PromptFormat:
        """Format in which prompts become text."""


class PlanFlag(NamedTuple):
    """A command-line flag that stands for a key of the plan."""

    name: str
    """Name of the flag, for example ``--classifier``."""
    metavar: str
    help: str
    section: Literal["unlearned", "data", "metrics"]
    """Section of the plan to which the key belongs."""
    key: str


class Logs(NamedTuple):
    """Logs that stand in for the models of an audit."""

    layout: str
    """Layout of the logs, for example ``tofu``."""
    arms: Mapping[str, Path]
    """Arm to its log, a file or a folder."""
    options: Mapping[str, JsonValue]
    """Settings by which the logs are read."""


class Imported(NamedTuple):
    """Content of logs, as a plan needs it."""

    specs: Mapping[str, ModelSpec]
    """Arm to the spec that stands for it in a plan."""
    sets: FactSets
    metrics: MetricSection
    figures: Mapping[str, Mapping[str, float]]
    """Arm to its published figures by name; they decide nothing."""
    lacking: tuple[Message, ...]
    """Messages on what the logs lack."""
    hazardous: bool = False
    """Whether the facts hold texts that may do harm."""


class Workload(NamedTuple):
    """Cost of one evaluation of a model."""

    tokens: int
    """Number of tokens (rows, for an image model) that go through the network."""
    uses: int = 1
    """Number of times that a weight is used for each of them."""
    steps: int = 0
    """Number of passes that write a token for each row of a batch."""


class ModelKind(ABC):
    """Kind of model, with all that the audit must know of it.

    A subclass stands in a module that imports neither torch nor the libraries that open models:
    plans are read, and mistakes in them found, without these. It imports them where it opens one.
    """

    name: ClassVar[str]
    """Name of the kind in plans and attacks."""
    described: ClassVar[str]
    """Plural noun for models of the kind, for the command line."""
    answers: ClassVar[Answers]
    spec_type: ClassVar[type[ModelSpec]]
    data_section: ClassVar[type[DataSection]] = DataSection
    metric_section: ClassVar[type[MetricSection]] = MetricSection
    default_metrics: ClassVar[tuple[str, ...]]
    """Metrics of a plan that names none: the primary one, then those that are reported."""
    default_deciding: ClassVar[tuple[str, ...]] = ()
    """Metrics that decide beside the primary one in a plan that names none."""
    packages: ClassVar[tuple[str, ...]]
    """Import packages whose versions may change what is measured."""
    code: ClassVar[tuple[str, ...]]
    """Modules of the model class and of the evaluator; what they import decides a result, too."""
    plan_template: ClassVar[tuple[str, str]]
    """Package and file name of a commented plan to start from."""
    flags: ClassVar[tuple[PlanFlag, ...]] = ()
    """Flags of the command line for keys that only this kind has."""
    refusals: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Advice to a user who gives this kind a key of another kind, by the key."""
    fixed_files: ClassVar[tuple[str, ...]] = ()
    """Patterns of files that unlearning leaves alone; an arm whose files differ is warned about."""
    default: ClassVar[bool] = False
    """Whether a model that no kind recognises is taken to be of this kind."""
    prompts_repeat: ClassVar[bool] = False
    """Whether one prompt may be asked under several ids, because each id is another seed."""
    weighed: ClassVar[bool] = True
    """Whether its models' files hold weights that can be compared."""
    stands_for: ClassVar[str | None] = None
    """Kind whose attacks a policy means by default, where models of this kind cannot be attacked;
    None for its own."""
    layouts: ClassVar[tuple[str, ...]] = ()
    """Layouts of the logs that stand in for its models."""
    positive_controls: ClassVar[bool] = False
    """Whether a suppression can be planted in models of this kind."""
    trainable: ClassVar[bool] = False
    """Whether a baseline can be built of a base checkpoint of this kind."""

    def modules(self, spec: ModelSpec) -> tuple[str, ...]:
        """Return further modules that decide what this one model answers.

        Plug-ins that a spec names are such; ``code`` has those of every model of the kind.
        """
        return ()

    def deciding(self, data: DataSection | None) -> tuple[str, ...]:
        """Return the metrics that decide beside the primary one, by default.

        Args:
            data: The plan's section on its data, where it is valid.
        """
        return self.default_deciding

    def imported(self, logs: "Logs") -> "Imported":
        """Read logs, and return the facts and metrics that they hold.

        Raises:
            AuditorError: They do not open, or are about different facts.
        """
        raise AuditorError(f"{self.described} are opened from files, and not from logs.")

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Return whether a local directory holds such a model.

        Its configuration tells.
        """

    @abstractmethod
    def locate(self, spec: ModelSpec) -> "Location":
        """Find (or fetch) a model's files, check and hash them.

        They must be safe and whole.

        Raises:
            AuditorError: Nothing is there, weights are pickled, truncated or missing, or the model
                brings its own code; each with the way out.
        """

    @abstractmethod
    def check(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat | None
    ) -> None:
        """Check that a located model could be opened, without loading its weights.

        Raises:
            AuditorError: It could not.
        """

    @abstractmethod
    def open(
        self,
        spec: ModelSpec,
        location: "Location",
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
    ) -> "AuditedModel":
        """Open a located model.

        Its weights are loaded when they are first needed.
        """

    def takes(self, network: object) -> bool:
        """Whether a loaded network is of this kind."""
        return False

    def wrap(
        self,
        network: Any,
        tokenizer: Any,
        prompt_format: PromptFormat,
        token_budget: int,
        name: str,
    ) -> "AuditedModel":
        """Make a loaded network a model that can be measured.

        It cannot be certified.

        Args:
            network: A loaded network, of which `takes` is true.
            tokenizer: Its tokenizer.
            prompt_format: How prompts become text.
            token_budget: Padded tokens in one batch.
            name: What messages call the model.

        Raises:
            AuditorError: Models of this kind are opened from files only.
        """
        raise AuditorError(
            f"{self.described} are opened from files only; save {name} and give its directory."
        )

    @abstractmethod
    def evaluator(
        self, sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
    ) -> "Evaluator[Any]":
        """Make what asks models of this kind.

        Args:
            sets: The facts.
            metrics: Names of the metrics, the primary one first.
            auxiliary: What ``auxiliary_inputs`` found.
        """

    @abstractmethod
    def workload(
        self,
        spec: ModelSpec,
        location: "Location",
        sets: FactSets,
        *,
        holdout: bool,
        generates: bool,
        chooses: bool,
    ) -> Workload:
        """Estimate what one evaluation of the forget and the retain set costs.

        Args:
            spec: The original's.
            location: Its files.
            sets: The facts.
            holdout: Whether the holdout set is asked, too.
            generates: Whether a metric makes the model write.
            chooses: Whether a metric scores wrong answers, too.
        """

    def asking(self, spec: ModelSpec, location: "Location") -> str | None:
        """Return a digest of all that turns facts into token ids.

        None means that models of this kind are asked in no token ids that could be compared.
        """
        return None

    def asked_facts(
        self,
        spec: ModelSpec,
        location: "Location",
        sets: FactSets,
        prompt_format: PromptFormat,
        *,
        generates: bool,
    ) -> AskedFacts:
        """Turn the facts into the ids that a model is asked in.

        Its weights are not loaded.

        Args:
            spec: The model's.
            location: Its files.
            sets: The facts.
            prompt_format: How prompts become text.
            generates: Whether a metric makes the model write.

        Raises:
            AuditorError: Some cannot be asked; all are named.
            NotImplementedError: Models of this kind are asked in no token ids.
        """
        raise NotImplementedError(f"{self.described} are asked in no token ids")

    def weights_folder(self, location: "Location") -> Path:
        """The folder of the weights that an evaluation runs through."""
        return location.model

    def shape(self, spec: ModelSpec, location: "Location") -> Shape:
        """Return the sizes of a model's network; no weight is read.

        Args:
            spec: How it is opened.
            location: Its files.

        Raises:
            AuditorError: Its configuration describes no network that could be opened.
        """
        return stored_shape(self.weights_folder(location))

    def differences(self, arm: str, own: "Location", original: "Location") -> tuple[Message, ...]:
        """Return warnings of fixed files that are not the original's.

        Args:
            arm: The arm that they are about.
            own: Its files.
            original: The original's.
        """
        mine, theirs = (
            {
                name: digest
                for name, digest in place.manifest.files.items()
                if any(PurePosixPath(name).match(pattern) for pattern in self.fixed_files)
            }
            for place in (own, original)
        )
        return files_differ(arm, mine, theirs)

    def options(self, spec: ModelSpec) -> dict[str, JsonValue]:
        """Return what in a spec decides a result besides files and dtype.

        Where weights are put and how many are batched does not belong here.
        """
        return {}

    def holds_experts(self, spec: ModelSpec, location: "Location") -> bool:
        """Return whether stacked experts hold a large part of a model's weights.

        Most quantizers do not round them. Files of the model were checked before.
        """
        return False

    def writes_traces(
        self, spec: ModelSpec, location: "Location", prompt_format: PromptFormat
    ) -> bool:
        """Return whether a trace has its place before answers.

        Files of the model were checked before.
        """
        return False

    def auxiliary_inputs(self, plan: Planned, sets: FactSets) -> AuxiliaryInputs:
        """Find, check and hash what a plan names beside models and facts.

        Raises:
            AuditorError: Something is missing, or does not open.
        """
        return AuxiliaryInputs()

    def other_formats(
        self, spec: ModelSpec, location: "Location", given: PromptFormat
    ) -> Sequence[PromptFormat]:
        """Return the obvious formats of prompts besides a plan's, from configuration alone.

        Args:
            spec: The original's.
            location: Its files.
            given: The plan's format.
        """
        return ()

    def validate(self, plan: Planned, sets: FactSets) -> tuple[str, ...]:
        """Return the problems of a plan for models of this kind.

        Each says what is wrong and what to do; the tuple is empty if nothing is.
        """
        return ()

    def template(self) -> str:
        """The commented plan to start from."""
        package, name = self.plan_template
        return files(package).joinpath(name).read_text(encoding="utf-8")


KINDS: Registry[type[ModelKind]] = Registry("kind of model", group="auditor.models")


@cache
def kind_named(name: str) -> ModelKind:
    """Return the kind of a name.

    Raises:
        AuditorError: There is none; close names are suggested.
    """
    return KINDS.get(name)()


def all_kinds() -> tuple[ModelKind, ...]:
    """Every installed kind, by name."""
    return tuple(kind_named(name) for name in KINDS.names())


def default_kind() -> ModelKind:
    """Return the kind of a model that says no other."""
    return next(kind for kind in all_kinds() if kind.default)


def recognised(folder: Path) -> ModelKind | None:
    """Return the kind of the model in a local directory.

    None means that there is none that one kind alone knows.

    The default kind takes what is left, so it is asked only where no other one answers.
    """
    if not folder.is_dir():
        return None
    found = [kind for kind in all_kinds() if kind.recognises(folder)]
    found = [kind for kind in found if not kind.default] or found
    return found[0] if len(found) == 1 else None


def kind_of(content: Mapping[str, Any], root: Path | None = None) -> ModelKind:
    """Return the kind of a model given as plain data.

    It is what the data say, or else what the files say, or else the default.

    Args:
        content: The model's part of a plan.
        root: The folder at which relative paths start, by default the current one.

    Raises:
        AuditorError: It names a kind that is not installed.
    """
    if content.get("kind") is not None:
        return kind_named(str(content["kind"]))
    path = content.get("path")
    if not isinstance(path, str):
        return default_kind()
    return recognised(Path(located_model(path, root)).expanduser()) or default_kind()


def parse_spec(value: Any, root: Path | None = None) -> ModelSpec:
    """Validate a plan's description of a model.

    The description is a path alone, or keys.

    Args:
        value: The path, or the keys.
        root: The folder at which relative paths start; None leaves paths as they are.

    Raises:
        ValidationError: It does not describe a model of its kind.
    """
    if isinstance(value, ModelSpec):
        return value
    content = {"path": value} if isinstance(value, str) else value
    if not isinstance(content, Mapping):
        return ModelSpec.model_validate(content)
    named = content.get("kind")
    if named is not None and named not in KINDS.names():
        try:
            kind_named(str(named))
        except AuditorError as error:
            details = [_detail("unknown_kind", str(error), ("kind",), named)]
            raise ValidationError.from_exception_data(ModelSpec.__name__, details) from error
    kind = kind_of(content, root)
    spec: ModelSpec = of_kind(kind, "spec_type", {**content, "kind": kind.name}, root)
    return spec


def _parsed(value: Any, info: ValidationInfo) -> ModelSpec:
    return parse_spec(value, root_of(info))


AnySpec = Annotated[SerializeAsAny[ModelSpec], BeforeValidator(_parsed)]
"""Type of a field that holds the spec of a model of any kind."""

Part = Literal["spec_type", "data_section", "metric_section"]
"""Attributes of a kind that are the types of parts of a plan."""


def of_kind(
    kind: ModelKind, part: Part, content: Mapping[str, Any], root: Path | None = None
) -> Any:
    """Validate a part of a plan that every kind may extend.

    A key of another kind may stand there with its default value, which says nothing: plans that
    an audit wrote before version 0.2 hold the keys of all kinds.

    Args:
        kind: The kind of the plan's models.
        part: Attribute of the kind with the type of the part.
        content: The part as plain data.
        root: The folder at which relative paths start; None leaves paths as they are.

    Returns:
        An instance of that type.

    Raises:
        ValidationError: Keys are wrong, or belong to another kind; all are named.
    """
    cls: type[BaseModel] = getattr(kind, part)
    kept = dict(content)
    details = []
    for key in content.keys() - cls.model_fields.keys():
        owners = [other for other in all_kinds() if key in getattr(other, part).model_fields]
        if not owners:
            continue
        value = kept.pop(key)
        if value == getattr(owners[0], part).model_fields[key].default:
            continue
        names = " or ".join(other.name for other in owners)
        message = f"is for models of the kind {names}; set `kind: {names}` or leave it out"
        message = kind.refusals.get(key, message)
        details.append(_detail("key_of_another_kind", message, (key,), value))
    try:
        found = cls.model_validate(kept, context=context(root))
    except ValidationError as error:
        details += [
            _detail("invalid_part", sentence(entry, cls), entry["loc"], entry["input"])
            for entry in error.errors()
        ]
        raise ValidationError.from_exception_data(cls.__name__, details) from error
    if details:
        raise ValidationError.from_exception_data(cls.__name__, details)
    return found


def _detail(
    type_: str, message: str, location: tuple[str | int, ...], value: Any
) -> InitErrorDetails:
    # pydantic's type for literal strings; without a context the template is taken as it is
    fault = PydanticCustomError(type_, message)
    return InitErrorDetails(type=fault, loc=location, input=value)
