"""Checks of a plan that need no model library.

All problems are found at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from auditor.attack import ATTACKS
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.messages import Message
from auditor.core.network import no_network
from auditor.core.paths import close_names_beside, context, path_type
from auditor.core.validation import problems
from auditor.data import checks
from auditor.data.ids import named_apart
from auditor.data.readers import read_noted
from auditor.data.rows import out_of_reach
from auditor.data.source import DataSource
from auditor.engine.plan import (
    AttackRequest,
    AuditPlan,
    NamedPolicy,
    current_keys,
    metric_section,
    with_benchmark,
)
from auditor.metrics.metric import find_metric
from auditor.models.kind import AnySpec, ModelKind, default_kind, kind_named, of_kind
from auditor.models.no_model import why_no_model
from auditor.models.plan_sections import DataSection, MetricSection
from auditor.models.served import check_served
from auditor.models.spec import ModelSpec
from auditor.policy import Policy

_SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")
_SHOWN = 5
"""Most facts that a message names."""


def check_plan(content: Mapping[str, Any], name: str, root: Path) -> AuditPlan:
    """Validate a plan and look at the files that it names.

    Facts in files are read; models are looked for, and neither hashed nor opened. Data sets on the
    hub and the values of attacks' parameters are left for `preparation.prepare`.

    Args:
        content: The plan as plain data.
        name: What messages call it.
        root: The folder at which its relative paths start.

    Raises:
        AuditorError: Something in it cannot be used; every problem is named with its place.
    """
    plan = None
    found: list[str] = []
    try:
        content = with_benchmark(current_keys(content), root)
    except AuditorError as error:
        raise AuditorError(f"{name} cannot be used:\n  {error}") from error
    try:
        plan = AuditPlan.model_validate(content, context=context(root))
    except ValidationError as error:
        found += problems(error, "plan", AuditPlan)
    parts = _parts(content, root)
    found += _problems(parts, root)
    files = {set_: source for set_, source in parts.sources.items() if source.path is not None}
    facts, _, unread = _facts(files)
    found += [*unread, *_out_of_reach(parts.sources.values())]
    if plan is not None:
        found += _generation(plan, root)
    if plan is not None and facts.keys() == parts.sources.keys():
        found += problems_of_sets(plan, FactSets(**facts))
    if plan is None or found:
        lines = [text.replace("\n", "\n  ") for text in dict.fromkeys(found)]
        raise AuditorError(f"{name} cannot be used:\n  " + "\n  ".join(lines))
    return plan


def _generation(plan: AuditPlan, root: Path) -> Iterator[str]:
    """Yield why a plan's engine cannot write for its models."""
    if plan.generation is None:
        return
    yield from missing(plan.generation, "generation", root)
    try:
        check_served(plan.kind.name)
    except AuditorError as error:
        yield str(error)


def read_sets(data: DataSection) -> tuple[FactSets, list[Message]]:
    """Read the sets of facts, and note what was changed in reading.

    Raises:
        AuditorError: Some cannot be read; all are named.
    """
    sources = {name: getattr(data, name) for name in _SETS}
    facts, notes, unread = _facts({name: source for name, source in sources.items() if source})
    if unread:
        raise AuditorError("\n".join(unread))
    return FactSets(**facts), notes


def problems_of_sets(plan: AuditPlan, sets: FactSets) -> list[str]:
    """Say what keeps a plan from measuring its facts.

    Args:
        plan: Plan whose metrics, policy and kind of model the facts must fit.
        sets: The facts.
    """
    found = []
    try:
        checks.check_contradictions(sets, prompts_repeat=plan.kind.prompts_repeat)
    except AuditorError as error:
        found.append(str(error))
    if plan.policy.scope == "sampled" and all(f.entity == f.id for f in sets.forget):
        found.append(
            "the scope is `sampled`, but the forget facts name no entities; map the column that "
            "holds them (`fields: {entity: …}`), or choose `scope: census`."
        )
    if not (unknown := list(_unknown_metrics(plan.metrics, plan.kind))):
        found += _unreadable(plan, sets)
    if mixed := list(_mixed_kinds(plan.arms.values())):
        return [*mixed, *unknown, *found]
    return [*unknown, *found, *plan.kind.validate(plan, sets)]


def _unreadable(plan: AuditPlan, sets: FactSets) -> Iterator[str]:
    """Yield the facts that a deciding metric cannot read.

    The retain set is read by the primary metric alone.
    """
    for name in plan.metrics.decides:
        primary = name == plan.metrics.primary
        metric = find_metric(name, plan.kind.answers)()
        asked = (*sets.forget, *sets.retain) if primary else sets.forget
        if lacking := [fact.id for fact in asked if not metric.readable(fact)]:
            yield (
                f"the {'primary' if primary else 'deciding'} metric {name} cannot read "
                f"{len(lacking)} fact(s) (it needs "
                f"{', '.join(metric.needs) or 'an answer in letters or digits'}): "
                f"{', '.join(lacking[:_SHOWN])}{' …' if lacking[_SHOWN:] else ''}."
            )


class _Parts(NamedTuple):
    """The parts of a plan that are valid by themselves."""

    kind: ModelKind
    specs: dict[str, ModelSpec]
    """Specs of the models by their place in the plan."""
    sources: dict[SetName, DataSource]
    data: DataSection | None
    metrics: MetricSection | None
    requests: dict[str, AttackRequest]
    """Requests of the attacks that the plan adds, by their place."""
    demanded: tuple[str, ...]
    """Attacks that the policy names."""


def _parts(content: Mapping[str, Any], root: Path) -> _Parts:
    content = current_keys(content)

    def valid(kind: Any, value: Any) -> Any:
        try:
            return TypeAdapter(kind).validate_python(value, context=context(root))
        except ValidationError:
            return None

    def listed(name: str, kind: Any) -> dict[str, Any]:
        value = content.get(name, ())
        values = value if isinstance(value, list | tuple) else [value]
        found = {f"{name}.{index}": valid(kind, one) for index, one in enumerate(values)}
        return {place: one for place, one in found.items() if one is not None}

    named = {name: valid(AnySpec, content.get(name)) for name in ("unlearned", "original")}
    specs = {name: spec for name, spec in named.items() if spec is not None}
    kind = kind_named(specs["unlearned"].kind) if "unlearned" in specs else default_kind()
    given = content.get("data")
    sources = {
        name: valid(DataSource, {"path": value} if isinstance(value, str) else value)
        for name, value in (given.items() if isinstance(given, Mapping) else ())
        if name in _SETS
    }
    try:
        data = of_kind(kind, "data_section", given, root) if isinstance(given, Mapping) else None
    except ValidationError:
        data = None
    try:
        metrics = metric_section(kind, content.get("metrics", {}), root, data)
    except ValidationError:
        metrics = None
    return _Parts(
        kind=kind,
        specs=specs | listed("retrained", AnySpec) | listed("reference", AnySpec),
        sources={name: source for name, source in sources.items() if source is not None},
        data=data,
        metrics=metrics,
        requests=listed("attacks", AttackRequest),
        demanded=_demanded(valid(NamedPolicy, content.get("policy")), content.get("policy")),
    )


def _demanded(policy: Policy | None, given: Any) -> tuple[str, ...]:
    """Return the attacks that a policy names.

    The policy need not be valid.
    """
    if policy is None and not isinstance(given, Mapping):
        return ()
    stated = given if policy is None else policy.model_dump(mode="json")
    names = [*(stated.get("mandatory") or ()), *(stated.get("budgets") or ())]
    waivers = stated.get("waivers") or ()
    names += [waiver.get("attack") for waiver in waivers if isinstance(waiver, Mapping)]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _problems(parts: _Parts, root: Path) -> Iterator[str]:
    """Yield the problems of a plan's parts.

    They name what is missing and what does not fit the models.
    """
    yield from _mixed_kinds(parts.specs.values())
    for place, spec in parts.specs.items():
        yield from missing(spec, place, root)
    if parts.data is not None:
        yield from missing(parts.data, "data", root)
    if parts.metrics is not None:
        yield from missing(parts.metrics, "metrics", root)
        yield from _unknown_metrics(parts.metrics, parts.kind)
    for place, request in parts.requests.items():
        attacked = ATTACKS.metadata(request.attack).kinds
        if parts.kind.name not in attacked:
            yield (
                f"{place}: {request.attack} attacks {', '.join(attacked)} models, and these are "
                f"{parts.kind.name}; take it out of `attacks:`."
            )
    for name in parts.demanded:
        try:
            ATTACKS.metadata(name.partition(" ")[0])
        except AuditorError as error:
            yield f"policy: {error}"


def _mixed_kinds(specs: Iterable[ModelSpec]) -> Iterator[str]:
    kinds = sorted({spec.kind for spec in specs})
    if len(kinds) > 1:
        yield f"the models are of different kinds: {', '.join(kinds)}."


def _facts(
    sources: Mapping[SetName, DataSource],
) -> tuple[dict[SetName, tuple[Fact, ...]], list[Message], list[str]]:
    """Return the sets of facts that can be read, with notes.

    The last value says what is wrong with the others.
    """
    facts: dict[SetName, tuple[Fact, ...]] = {}
    notes: list[Message] = []
    unread = []
    for name, source in sources.items():
        try:
            read = read_noted(source, name)
        except AuditorError as error:
            unread.append(f"data.{name}: {error}")
        else:
            facts[name] = read.facts
            notes += read.notes
    facts, renamed = named_apart(facts)
    return facts, [*notes, *renamed], unread


def _out_of_reach(sources: Iterable[DataSource]) -> Iterator[str]:
    """Yield that data sets on the hub cannot be had."""
    every = (one for source in sources for one in (source, *source.further))
    if names := [source.name for source in every if out_of_reach(source)]:
        yield f"data: {', '.join(names)} cannot be had from the hub: {no_network()}"


def _unknown_metrics(metrics: MetricSection, kind: ModelKind) -> Iterator[str]:
    for name in metrics.all:
        try:
            find_metric(name, kind.answers)
        except AuditorError as error:
            yield f"metrics: {error}"


def missing(part: BaseModel, place: str, root: Path) -> Iterator[str]:
    """Yield a part's files and models that cannot be used.

    Args:
        part: its fields that are paths are looked at.
        place: what stands before the names of the fields.
        root: folder that paths are relative to.
    """
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        kind = path_type(field.annotation, field.metadata)
        if kind is None or not isinstance(value, str):
            continue
        path = root / Path(value).expanduser()
        if kind == "file" and not path.exists():
            yield f"{place}.{name}: {value}: no such file or folder{close_names_beside(path)}."
        elif kind == "file" and not (path.is_file() or path.is_dir()):
            yield f"{place}.{name}: {value} is no regular file; give one that can be read again."
        elif kind == "model" and (said := why_no_model(value, path)) is not None:
            yield f"{place}.{name}: {value} {said}."
        elif kind == "model" and not path.exists():
            if Path(value).is_absolute() or value.count("/") > 1:
                yield f"{place}.{name}: {value}: no such directory{close_names_beside(path)}."
            elif "/" in value and path.parent.is_dir() and not _is_on_the_hub(part, name):
                yield (
                    f"{place}.{name}: {value}: no such directory{close_names_beside(path)}; if it "
                    "is the name of a model on the hub, give its `revision`, too."
                )


def _is_on_the_hub(part: BaseModel, name: str) -> bool:
    """Return whether a model is said to be on the hub.

    What lies in a directory has no revision.
    """
    revision = "revision" if name == "path" else f"{name}_revision"
    return getattr(part, revision, None) is not None
