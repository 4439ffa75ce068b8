"""Plan of an audit.

It is everything that is decided before any model is opened.
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from auditor.attack import ATTACKS, Parameters, Profile
from auditor.core import aliases
from auditor.core.about import About
from auditor.core.arms import Arm
from auditor.core.baselines import Baseline, strongest_baseline
from auditor.core.errors import AuditorError
from auditor.core.paths import LOCATED, PathType, context, located_file, path_type, root_of
from auditor.core.reading import SETTINGS, read_regular
from auditor.core.reading_yaml import parse_yaml
from auditor.core.validation import problems
from auditor.data.benchmarks import benchmark_named, plan_sections
from auditor.models.kind import AnySpec, ModelKind, default_kind, kind_named, of_kind
from auditor.models.plan_sections import DataSection, MetricSection, Section
from auditor.models.spec import TOKEN_BUDGET, ModelSpec, PromptFormat
from auditor.models.text_engine import TextEngine
from auditor.policy import (
    Policy,
    check_borrowed_name,
    check_deployments,
    load_policy,
    names_file,
)

MOST_SWEPT = 200
"""Most levels at which one request runs an attack."""
_MOST_LEVELS = 400
"""Most levels at which all requests of a plan run attacks."""
_SEEDS = 2**32
"""Seeds that every generator of random numbers takes."""
_MOST = 100
"""Most entries of a list in a plan: retrained models, attacks, seeds."""


class AttackRequest(Section):
    """An attack that the plan adds to its profile."""

    attack: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the attack; a list where one value is expected is swept."""

    @field_validator("attack")
    @classmethod
    def _installed(cls, name: str) -> str:
        try:
            ATTACKS.parameters_type(name)
        except AuditorError as error:
            raise ValueError(str(error)) from error
        return aliases.attack_name(name)

    @field_validator("parameters")
    @classmethod
    def _fitting(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "attack" not in info.data:
            return given
        name = info.data["attack"]
        settings = ATTACKS.parameters_type(name)
        parameters = _located(settings, aliases.attack_parameters(name, given), root_of(info))
        found: list[str] = []
        for point in swept(settings, parameters):
            try:
                settings.model_validate(point)
            except ValidationError as error:
                found += problems(error, model=settings)
        if found:
            listed = "; ".join(dict.fromkeys(found))
            raise ValueError(f"{listed} (`auditor attacks show {name}` lists them)")
        return parameters


def swept(settings: type[Parameters], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Expand lists of values to their product.

    A list is not expanded where the parameter is a list itself.

    scikit-learn's ``ParameterGrid`` sorts the parameters by name, and with it the variants; here
    they stay in the order of the plan.

    Args:
        settings: The parameters of the attack.
        given: Those that a plan gives.

    Raises:
        ValueError: A list is empty, or the product is too large.
    """
    axes: list[list[tuple[str, Any]]] = []
    for name, value in given.items():
        field = settings.model_fields.get(name)
        kind = get_origin(field.annotation) or field.annotation if field else None
        if value == []:
            raise ValueError(f"{name}: there is nothing in the list to sweep over")
        sweeps = isinstance(value, list) and kind not in (list, tuple)
        axes.append([(name, item) for item in value] if sweeps else [(name, value)])
    if (count := math.prod(map(len, axes))) > MOST_SWEPT:
        raise ValueError(
            f"its lists make {count:,} combinations, and no more than {MOST_SWEPT} are swept; make "
            "them shorter"
        )
    return [dict(point) for point in itertools.product(*axes)]


def _located(
    settings: type[Parameters], given: dict[str, Any], root: Path | None
) -> dict[str, Any]:
    """The parameters with whole paths, single ones and lists of them."""

    def whole(kind: PathType, value: Any) -> Any:
        if isinstance(value, list):
            return [whole(kind, item) for item in value]
        return LOCATED[kind](value, root) if isinstance(value, str) else value

    kinds = {n: path_type(f.annotation, f.metadata) for n, f in settings.model_fields.items()}
    return {
        name: value if (kind := kinds.get(name)) is None else whole(kind, value)
        for name, value in given.items()
    }


def _kind(validated: Mapping[str, Any]) -> ModelKind:
    """The kind of a plan's models, once they were validated."""
    model = validated.get("unlearned")
    return kind_named(model.kind) if isinstance(model, ModelSpec) else default_kind()


def metric_section(
    kind: ModelKind, given: Any, root: Path | None = None, data: DataSection | None = None
) -> Any:
    """Validate a plan's section on metrics.

    What it leaves out is as usual for its kind of model.

    Args:
        kind: The kind of the plan's models.
        given: The section as plain data; what is no mapping is returned as it is.
        root: The folder at which relative paths start; None leaves paths as they are.
        data: The plan's section on its data, where it is valid.

    Raises:
        ValidationError: Keys or values are wrong.
    """
    if not isinstance(given, Mapping):
        return given
    primary, *reported = kind.default_metrics
    usual = {"primary": primary, "deciding": kind.deciding(data), "reported": reported}
    return of_kind(kind, "metric_section", {**usual, **given}, root)


def _usual_metrics(validated: dict[str, Any]) -> Any:
    return metric_section(_kind(validated), {}, data=validated.get("data"))


def _policy_by_name(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return load_policy(located_file(value, root_of(info)) if names_file(value) else value)
    except AuditorError as error:
        raise ValueError(str(error)) from error


def _policy_of_its_name(policy: Policy) -> Policy:
    try:
        check_borrowed_name(policy)
    except AuditorError as error:
        raise ValueError(str(error)) from error
    return policy


NamedPolicy = Annotated[
    Policy, BeforeValidator(_policy_by_name), AfterValidator(_policy_of_its_name)
]
"""Type of a field that holds a policy; its name, or the path of its file, may stand for it."""


def _nothing(value: object) -> bool:
    """Return whether a key is left out of digests."""
    return value is None or value == ()


def current_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan as plain data with today's names of its sections."""
    return aliases.renamed(content, aliases.PLAN_KEYS)


BENCHMARK = ("benchmark", "folder", "subject", "revision")
"""Keys by which the section on data names a published benchmark."""


def with_benchmark(content: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    """Return a plan with the sets that its benchmark names.

    Data, metrics and format come from the benchmark where the plan does not say them itself. The
    name does not stay: what is read is said by the sources alone.

    Args:
        content: The plan; ``benchmark`` stands in its section on data, or beside it.
        root: The folder at which its relative paths start.

    Raises:
        AuditorError: There is no such benchmark, or the folder lacks its files.
    """
    data = content.get("data")
    named = data if isinstance(data, Mapping) else {}
    if "benchmark" not in content and "benchmark" not in named:
        return dict(content)
    asked = {key: content.get(key, named.get(key)) for key in BENCHMARK}
    folder, subject, revision = (
        None if (value := asked[key]) is None else str(value) for key in BENCHMARK[1:]
    )
    sections = plan_sections(
        benchmark_named(asked["benchmark"]),
        None if folder is None else Path(located_file(folder, root)),
        subject,
        revision,
    )
    own = {name: value for name, value in named.items() if name not in BENCHMARK}
    kept = {name: value for name, value in content.items() if name not in (*BENCHMARK, "data")}
    return {**sections, **kept, "data": {**sections["data"], **own}}


class AuditPlan(Section):
    """A whole audit. Its digest stands in the certificate."""

    about: About | None = Field(default=None, exclude_if=_nothing)
    """What its readers are told of the audit, in free text; nobody checks it."""
    unlearned: AnySpec
    original: AnySpec
    retrained: tuple[AnySpec, ...] = Field(default=(), max_length=_MOST)
    """Models trained without the forget set. Without any, another baseline is used, against which
    a PASS is worth less (`baseline`)."""
    reference: tuple[AnySpec, ...] = Field(default=(), max_length=_MOST, exclude_if=_nothing)
    """Models that never saw the forget set and were trained otherwise, where none was retrained."""
    data: SerializeAsAny[DataSection]
    baseline: Baseline | None = Field(default=None, exclude_if=_nothing, validate_default=True)
    """Baseline against which residual knowledge is measured; by default the strongest that models
    and facts allow: retrained, reference (with a holdout set), never-seen-facts (the holdout set),
    own-null."""
    format: PromptFormat = PromptFormat()
    metrics: SerializeAsAny[MetricSection] = Field(default_factory=_usual_metrics)
    profile: Profile | None = "quick"
    """Ready-made set of attacks; null runs only those listed (and none/as-is)."""
    attacks: tuple[AttackRequest, ...] = Field(default=(), max_length=_MOST)
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1, max_length=_MOST)
    """Seeds of the attacks that depend on one; by default one in the profile quick, else three."""
    policy: NamedPolicy = Policy()
    """Policy that decides the verdict; in a file, the name of a ready-made policy or a path may
    stand for it. It is hashed before any model is opened."""
    deploy: tuple[str, ...] = Field(default=(), max_length=_MOST, exclude_if=_nothing)
    """Deployments whose formats are run, and mandatory beside what the policy demands, for example
    ``[server-fp8, desktop-gguf]``."""
    controls: bool | None = None
    """Make positive controls, copies of the original with a shallow suppression, that the mandatory
    attacks must find; one that does not find its own blocks PASS. By default in the profile
    exhaustive only."""
    token_budget: int = Field(default=TOKEN_BUDGET, ge=1)
    """Padded tokens in a batch."""
    generation: TextEngine | None = Field(default=None, exclude_if=_nothing)
    """Engine that writes texts in place of transformers, where the weights are those of the files;
    by default none."""

    @model_validator(mode="before")
    @classmethod
    def _former_keys(cls, content: Any, info: ValidationInfo) -> Any:
        if not isinstance(content, Mapping):
            return content
        try:
            return with_benchmark(current_keys(content), root_of(info))
        except AuditorError as error:
            raise ValueError(str(error)) from error

    @field_validator("seeds")
    @classmethod
    def _seeds_of_generators(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if bad := [seed for seed in seeds or () if not 0 <= seed < _SEEDS]:
            raise ValueError(f"{bad[0]} is no seed: give whole numbers from 0 to {_SEEDS - 1:,}")
        if len(set(seeds or ())) < len(seeds or ()):
            raise ValueError("a seed stands there twice, and would count twice; give each once")
        return seeds

    @field_validator("deploy")
    @classmethod
    def _known_deployments(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            check_deployments(names)
        except AuditorError as error:
            raise ValueError(str(error)) from error
        return names

    @field_validator("data", mode="before")
    @classmethod
    def _data_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            return value
        return of_kind(_kind(info.data), "data_section", value, root_of(info))

    @field_validator("metrics", mode="before")
    @classmethod
    def _metrics_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        return metric_section(_kind(info.data), value, root_of(info), info.data.get("data"))

    @field_validator("attacks")
    @classmethod
    def _countable(cls, requests: tuple[AttackRequest, ...]) -> tuple[AttackRequest, ...]:
        count = sum(len(swept(ATTACKS.parameters_type(r.attack), r.parameters)) for r in requests)
        if count > _MOST_LEVELS:
            raise ValueError(
                f"they make {count:,} levels of attacks, and no more than {_MOST_LEVELS} are run; "
                "make two plans of it"
            )
        return requests

    @model_validator(mode="after")
    def _plantable(self) -> "AuditPlan":
        if self.controls and not self.kind.positive_controls:
            raise ValueError(
                f"`controls`: no suppression can be planted in {self.kind.described}; leave it out"
            )
        return self

    @field_validator("baseline")
    @classmethod
    def _is_given(cls, value: Baseline | None, info: ValidationInfo) -> Baseline | None:
        known = info.data
        if not {"retrained", "reference", "data"} <= known.keys():
            return value
        given = _Given(
            bool(known["retrained"]), bool(known["reference"]), bool(known["data"].holdout)
        )
        if given.retrained and given.reference:
            raise ValueError("`reference` models are asked only where none was retrained")
        if fault := given.lacking(value or given.strongest):
            raise ValueError(fault)
        return value

    @property
    def used_baseline(self) -> Baseline:
        """The plan's baseline, or the strongest that its models and facts allow."""
        if self.baseline is not None:
            return self.baseline
        return _Given(
            bool(self.retrained), bool(self.reference), self.data.holdout is not None
        ).strongest

    @field_validator("retrained", "reference", mode="before")
    @classmethod
    def _paths_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            return tuple({"path": v} if isinstance(v, str) else v for v in value)
        return value

    @property
    def attack_seeds(self) -> tuple[int, ...]:
        """Seeds of the attacks that depend on one.

        They are the plan's, or else its profile's.
        """
        return self.seeds or usual_seeds(self.profile)

    @property
    def runs_controls(self) -> bool:
        """Whether positive controls are made.

        The plan says so, or else its profile.

        Not every kind of model can have them.
        """
        usual = self.profile == "exhaustive" and self.kind.positive_controls
        return usual if self.controls is None else self.controls

    @property
    def kind(self) -> ModelKind:
        """The kind of the models."""
        return kind_named(self.unlearned.kind)

    @property
    def arms(self) -> dict[str, ModelSpec]:
        """Arm names (unlearned, original, retrained-0, retrained-1 and so on) to models."""
        named = {"unlearned": self.unlearned, "original": self.original}
        named |= {str(Arm.retrained(i)): spec for i, spec in enumerate(self.retrained)}
        return named | {str(Arm.reference(i)): spec for i, spec in enumerate(self.reference)}


class _Given(NamedTuple):
    """What a plan gives that a baseline can be made of."""

    retrained: bool
    reference: bool
    holdout: bool

    @property
    def strongest(self) -> Baseline:
        """The strongest baseline that it allows; retrained models where it allows none."""
        return strongest_baseline(**self._asdict()) or Baseline.RETRAINED

    def lacking(self, baseline: Baseline) -> str | None:
        """Return what it lacks for a baseline, and the way out."""
        if baseline is Baseline.RETRAINED and not self.retrained:
            return (
                "no model says what one that forgot would know: give `retrained` (a model trained "
                "without the forget set; `auditor baseline build` trains one), or `data.holdout` "
                "(facts like those to forget that no model saw), or `reference` (a model that "
                "never saw them); docs/no-retrained-model.md says what each is worth"
            )
        if self.retrained and baseline is not Baseline.RETRAINED:
            return f"`{baseline}` is for plans without `retrained`; leave one of them out"
        needed = {
            Baseline.REFERENCE: (self.reference and self.holdout, "`reference` and `data.holdout`"),
            Baseline.NEVER_SEEN_FACTS: (self.holdout, "`data.holdout`"),
            Baseline.OWN_NULL: (
                self.reference or self.holdout,
                "`data.holdout` or `reference` models, which check it",
            ),
        }
        met, lacks = needed.get(baseline, (True, ""))
        return None if met else f"`{baseline}` needs {lacks}"


def usual_seeds(profile: str | None) -> tuple[int, ...]:
    """Return the seeds of a plan of this profile that names none."""
    return (0,) if profile == "quick" else (0, 1, 2)


def load_plan(path: Path, said: Mapping[str, Any] = {}) -> AuditPlan:
    """Read a plan from YAML.

    Paths in it are relative to the plan's folder.

    Only the plan itself is looked at: `plan_checks.check_plan` looks at the files it names, too.

    Args:
        path: The file.
        said: Parts that stand in place of what the file says, as `read_plan` takes them.

    Raises:
        AuditorError: The file is missing, is not YAML, or does not describe a plan; every
            problem is named with its place.
    """
    return parse_plan(read_plan(path, said), str(path), path.parent.resolve())


def read_plan(path: Path, said: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Read a plan from YAML as plain data.

    Args:
        path: The file.
        said: Parts that stand in place of what the file says; the path of a policy's file starts
            at the working folder.

    Raises:
        AuditorError: The file is missing, is not YAML, or holds no settings.
    """
    try:
        content = parse_yaml(read_regular(path, SETTINGS))
    except OSError as error:
        raise AuditorError(f"the plan {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise AuditorError(f"the plan {path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise AuditorError(
            f"the plan {path} holds no settings by name; `auditor init` writes one to start from."
        )
    policy = said.get("policy")
    if isinstance(policy, str) and names_file(policy):
        return {**content, **said, "policy": str(Path(policy).absolute())}
    return {**content, **said}


def parse_plan(content: Mapping[str, Any], name: str, root: Path | None = None) -> AuditPlan:
    """Validate a plan given as plain data.

    Args:
        content: The plan.
        name: What messages call it.
        root: The folder at which its relative paths start; None leaves them as they are.

    Raises:
        AuditorError: It does not describe a plan; every problem is named with its place.
    """
    try:
        return AuditPlan.model_validate(content, context=context(root))
    except ValidationError as error:
        lines = "\n  ".join(problems(error, "plan", AuditPlan))
        raise AuditorError(f"{name} is not a valid plan:\n  {lines}") from error
