"""The plan of an audit: everything that is decided before any model is opened."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import (
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from auditor.attack import ATTACKS, Located, Profile
from auditor.core.errors import AuditorError
from auditor.core.validation import problems
from auditor.models.kind import AnySpec, ModelKind, Part, default_kind, kind_named, of_kind
from auditor.models.plan_sections import DataSection, MetricSection, Section
from auditor.models.spec import TOKEN_BUDGET, ModelSpec, PromptFormat
from auditor.policy import Policy, load_policy, ready_made

_FORMER_METRICS = "probes"
"""Name of the section `metrics` before version 0.2."""

_LOCATED = ("path", "adapter", "replacement")
"""What of a model's spec names files."""


class AttackRequest(Section):
    """An attack that the plan adds to its profile."""

    attack: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the attack; a list where one value is expected is swept."""


def _kind(validated: Mapping[str, Any]) -> ModelKind:
    """The kind of a plan's models, once they were validated."""
    model = validated.get("unlearned")
    return kind_named(model.kind) if isinstance(model, ModelSpec) else default_kind()


def _of_its_kind(value: Any, validated: Mapping[str, Any], part: Part) -> Any:
    return of_kind(_kind(validated), part, value) if isinstance(value, Mapping) else value


def _usual_metrics(validated: dict[str, Any]) -> MetricSection:
    kind = _kind(validated)
    primary, *reported = kind.default_metrics
    return kind.metric_section(primary=primary, reported=tuple(reported))


class AuditPlan(Section):
    """A whole audit. Its digest stands in the certificate."""

    unlearned: AnySpec
    original: AnySpec
    retrained: tuple[AnySpec, ...] = Field(min_length=1)
    data: SerializeAsAny[DataSection]
    format: PromptFormat = PromptFormat()
    metrics: SerializeAsAny[MetricSection] = Field(default_factory=_usual_metrics)
    profile: Profile | None = "quick"
    """Ready-made set of attacks; null runs only those listed (and none/as-is)."""
    attacks: tuple[AttackRequest, ...] = ()
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Seeds of the attacks that depend on one; by default one in the profile quick, else three."""
    policy: Policy = Policy()
    """What decides the verdict; in a file, the name of a ready-made policy or a path may stand for
    it. It is hashed before any model is opened."""
    controls: bool | None = None
    """Plant shallow suppressions in copies of the original for the mandatory attacks to find; one
    that does not find its own blocks PASS. By default in the profile exhaustive only."""
    token_budget: int = Field(default=TOKEN_BUDGET, ge=1)
    """Padded tokens in a batch."""

    @model_validator(mode="before")
    @classmethod
    def _former_keys(cls, content: Any) -> Any:
        if isinstance(content, dict) and _FORMER_METRICS in content:
            content = {"metrics" if k == _FORMER_METRICS else k: v for k, v in content.items()}
        return content

    @field_validator("data", mode="before")
    @classmethod
    def _data_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        return _of_its_kind(value, info.data, "data_section")

    @field_validator("metrics", mode="before")
    @classmethod
    def _metrics_of_its_kind(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Mapping):
            primary, *reported = _kind(info.data).default_metrics
            value = {"primary": primary, "reported": reported, **value}
        return _of_its_kind(value, info.data, "metric_section")

    @model_validator(mode="after")
    def _plantable(self) -> "AuditPlan":
        if self.controls and not self.kind.positive_controls:
            raise ValueError(
                f"`controls`: no suppression can be planted in {self.kind.described}; leave it out"
            )
        return self

    @field_validator("policy", mode="before")
    @classmethod
    def _policy_by_name(cls, value: Any) -> Any:
        return load_policy(value) if isinstance(value, str) else value

    @field_validator("retrained", mode="before")
    @classmethod
    def _paths_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            return tuple({"path": v} if isinstance(v, str) else v for v in value)
        return value

    @property
    def attack_seeds(self) -> tuple[int, ...]:
        """Seeds of the attacks that depend on one: the plan's, or its profile's."""
        return self.seeds or ((0,) if self.profile == "quick" else (0, 1, 2))

    @property
    def runs_controls(self) -> bool:
        """Whether suppressions are planted: as the plan says, or as its profile does.

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
        return named | {f"retrained-{i}": spec for i, spec in enumerate(self.retrained)}


def load_plan(path: Path, policy: str | None = None, controls: bool | None = None) -> AuditPlan:
    """Read a plan from YAML; relative paths in it are relative to the plan's folder.

    Args:
        path: the file.
        policy: name or path of the policy, where the plan has none of its own.
        controls: whether suppressions are planted, whatever the plan says.

    Raises:
        AuditorError: the file is missing, is not YAML, or does not describe a plan; every
            problem is named with its place.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AuditorError(f"the plan {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise AuditorError(f"the plan {path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise AuditorError(
            f"the plan {path} holds no settings by name; `auditor init` writes one to start from."
        )
    content = anchored(content, path.parent.resolve())
    if policy is not None:
        if "policy" in content:
            raise AuditorError(
                f"the plan {path} has a policy of its own, so --policy cannot stand beside it; "
                "change the plan, so that it stays the record of what was run."
            )
        content["policy"] = policy
    if controls is not None:
        content["controls"] = controls
    return parse_plan(content, str(path))


def parse_plan(content: dict[str, Any], name: str) -> AuditPlan:
    """Validate a plan given as plain data.

    Raises:
        AuditorError: it does not describe a plan; every problem is named with its place.
    """
    try:
        return AuditPlan.model_validate(content)
    except ValidationError as error:
        lines = "\n  ".join(problems(error, "plan", AuditPlan))
        raise AuditorError(f"{name} is not a valid plan:\n  {lines}") from error


def anchored(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the relative paths of a plan absolute; nothing but paths is touched.

    Args:
        content: a plan as plain data.
        folder: what its paths are relative to. A model's name that is no folder there, and does
            not begin like a path, is left to be one on the hub.
    """

    def model(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: model(v) if k in _LOCATED else v for k, v in value.items()}
        if isinstance(value, str) and (value.startswith((".", "~")) or (folder / value).is_dir()):
            return str(folder / Path(value).expanduser())
        return value

    def file(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: file(v) if k == "path" else v for k, v in value.items()}
        return str(folder / Path(value).expanduser()) if isinstance(value, str) else value

    result = dict(content)
    for name in ("unlearned", "original", "retrained"):
        value = result.get(name)
        if value is not None:
            result[name] = [model(v) for v in value] if isinstance(value, list) else model(value)
    if isinstance(result.get("data"), dict):
        result["data"] = {name: file(value) for name, value in result["data"].items()}
    metrics = result.get("metrics")
    if isinstance(metrics, dict) and "classifier" in metrics:
        result["metrics"] = metrics | {"classifier": model(metrics["classifier"])}
    policy = result.get("policy")
    if isinstance(policy, str) and policy not in ready_made():
        result["policy"] = file(policy)
    requests = result.get("attacks")
    if isinstance(requests, list):
        anchors = {Located.FILE: file, Located.MODEL: model}
        result["attacks"] = [_anchored_request(request, anchors) for request in requests]
    return result


def _anchored_request(request: Any, anchors: Mapping[Located, Callable[[Any], Any]]) -> Any:
    """The paths among an attack's parameters, single, listed or swept."""
    parameters = request.get("parameters") if isinstance(request, dict) else None
    if not isinstance(parameters, dict):
        return request
    fields = ATTACKS.get(str(request.get("attack"))).parameters_type.model_fields
    placed = dict(parameters)
    for name, value in parameters.items():
        located = (
            _located(fields[name].annotation, fields[name].metadata) if name in fields else None
        )
        if located is not None:
            place = anchors[located]
            placed[name] = [place(v) for v in value] if isinstance(value, list) else place(value)
    return request | {"parameters": placed}


def _located(annotation: Any, metadata: Sequence[Any] = ()) -> Located | None:
    """What a parameter's text names, wherever in its type that is said."""
    for entry in (*metadata, *getattr(annotation, "__metadata__", ())):
        if isinstance(entry, Located):
            return entry
    return next(filter(None, map(_located, get_args(annotation))), None)
