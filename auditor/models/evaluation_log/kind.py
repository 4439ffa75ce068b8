"""The kind of logs that stand in for language models."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pydantic import JsonValue

from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.hashing import digest, digest_file
from auditor.core.messages import message
from auditor.models.asked import AskedFacts, ShownPrompt
from auditor.models.auxiliary import AuxiliaryInputs
from auditor.models.evaluation_log.spec import EvaluationLogSpec, Layout
from auditor.models.kind import Imported, Logs, ModelKind, Planned, Tick, Workload
from auditor.models.manifest import LOGS, Location, Manifest
from auditor.models.plan_sections import MetricSection
from auditor.models.spec import ModelSpec, PromptFormat

if TYPE_CHECKING:
    from auditor.data.logs.log import LoggedFact, ReadLog
    from auditor.models.evaluation_log.evaluator import EvaluationLogEvaluator
    from auditor.models.evaluation_log.model import EvaluationLog

_DECIDING = ("answer-probability", "answer-recall", "option-probability", "rouge-l-recall")
"""Metrics that may decide, the first that a log holds before the others."""
_BESIDE = frozenset({"rouge-l-recall"})
"""Those of them that decide only where nothing else can lead."""
_SETS: tuple[SetName, ...] = ("forget", "retain")


class EvaluationLogKind(ModelKind):
    """Logs that other tools wrote of language models.

    The models are not there.
    """

    name = "evaluation-log"
    described = "logs of evaluations"
    answers = "text"
    spec_type = EvaluationLogSpec
    default_metrics = ("answer-probability", "rouge-l-recall", "truth-ratio")
    default_deciding = ("answer-recall",)
    packages = ()
    code = ("auditor.models.evaluation_log.model", "auditor.models.evaluation_log.evaluator")
    plan_template = ("auditor.models.evaluation_log", "plan_template.yaml")
    weighed = False
    stands_for = "causal-lm"
    layouts = get_args(Layout)

    def recognises(self, folder: Path) -> bool:
        """Whether a folder holds such a model: a plan names its kind."""
        return False

    def locate(self, spec: ModelSpec) -> Location:
        """Find the files of a log, and hash them."""
        from auditor.models.evaluation_log.reading import files_of

        files = files_of(_own(spec))
        return Location(
            model=Path(spec.path),
            adapter=None,
            manifest=Manifest(files={LOGS + name: digest_file(at) for name, at in files.items()}),
        )

    def check(
        self, spec: ModelSpec, location: Location, prompt_format: PromptFormat | None
    ) -> None:
        """Check nothing more: `validate` reads the logs of all arms."""

    def open(
        self,
        spec: ModelSpec,
        location: Location,
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
    ) -> "EvaluationLog":
        """Open a log."""
        from auditor.models.evaluation_log.model import EvaluationLog

        return EvaluationLog(_own(spec), location)

    def evaluator(
        self, sets: FactSets, metrics: Sequence[str], auxiliary: AuxiliaryInputs
    ) -> "EvaluationLogEvaluator":
        """Make what looks facts up in a log."""
        from auditor.models.evaluation_log.evaluator import EvaluationLogEvaluator

        return EvaluationLogEvaluator(sets, metrics)

    def workload(
        self,
        spec: ModelSpec,
        location: Location,
        sets: FactSets,
        *,
        holdout: bool,
        generates: bool,
        chooses: bool,
    ) -> Workload:
        """Return that nothing goes through a network."""
        return Workload(0)

    def options(self, spec: ModelSpec) -> dict[str, JsonValue]:
        """Return how a log is read."""
        said = _own(spec).model_dump(
            mode="json", include={"layout", "forget_tasks", "retain_tasks"}
        )
        return {name: value for name, value in said.items() if value is not None}

    def asking(self, spec: ModelSpec, location: Location) -> str | None:
        """Return the digest of the log, which holds what was asked."""
        return location.manifest.digest

    def asked_facts(
        self,
        spec: ModelSpec,
        location: Location,
        sets: FactSets,
        prompt_format: PromptFormat,
        *,
        generates: bool,
    ) -> AskedFacts:
        """Return the texts that the model was given, by the log.

        In how many tokens it read them, no log says.
        """
        from auditor.models.evaluation_log.reading import files_of, read_log

        log = read_log(_own(spec), files_of(_own(spec)))
        return AskedFacts(
            facts={fact.id: digest(fact.wording) for fact in log.facts},
            shown={
                name: ShownPrompt(first.id, first.wording, 0)
                for name in _SETS
                for first in log.of(name)[:1]
            },
        )

    def validate(self, plan: Planned, sets: FactSets) -> tuple[str, ...]:
        """Hold the logs of all arms against each other and the facts."""
        specs = {arm: _own(spec) for arm, spec in plan.arms.items()}
        if not any(Arm(arm).is_retrained and not Arm(arm).is_reference for arm in specs):
            return (
                "there is no log of a retrained model: other baselines ask the models anew, which "
                "no log can answer; give one under `retrained`.",
            )
        try:
            logs = _read(specs)
        except AuditorError as error:
            return (str(error),)
        return tuple(_not_held(next(iter(logs.values())), sets, plan.metrics))

    def imported(self, logs: Logs) -> Imported:
        """Read logs, and return the facts and metrics that they hold."""
        specs = {
            arm: EvaluationLogSpec.model_validate(
                {"path": str(path), "layout": logs.layout, **logs.options}
            )
            for arm, path in logs.arms.items()
        }
        held = _read(specs)
        first = next(iter(held.values()))
        facts = {name: tuple(_fact(fact) for fact in first.of(name)) for name in _SETS}
        absent = {arm: list(log.lacking) for arm, log in held.items() if log.lacking}
        return Imported(
            specs=specs,
            sets=FactSets(forget=facts["forget"], retain=facts["retain"]),
            metrics=_metrics(held),
            figures={arm: log.figures for arm, log in held.items()},
            lacking=(message("logs_lack", arms=absent),) if absent else (),
            hazardous=any(log.hazardous for log in held.values()),
        )


def _own(spec: ModelSpec) -> EvaluationLogSpec:
    if not isinstance(spec, EvaluationLogSpec):
        raise TypeError(f"{type(spec).__name__} is no spec of a log")
    return spec


def _read(specs: Mapping[str, EvaluationLogSpec]) -> "dict[str, ReadLog]":
    """Read the logs of all arms.

    They must be about the same facts and different models.


    Raises:
        AuditorError: They do not open; all that do not are named. Or they are not.
    """
    from auditor.models.evaluation_log.reading import (
        check_asked_alike,
        check_copies,
        files_of,
        read_log,
    )

    logs, files, faults = {}, {}, []
    for arm, spec in specs.items():
        try:
            files[arm] = files_of(spec)
            logs[arm] = read_log(spec, files[arm])
        except AuditorError as error:
            faults.append(f"{arm}: {error}")
    if faults:
        raise AuditorError("\n".join(faults))
    check_asked_alike(logs)
    check_copies(logs, files, [arm for arm in logs if Arm(arm).is_retrained])
    return logs


def _fact(logged: "LoggedFact") -> Fact:
    return Fact(
        id=logged.id,
        entity=logged.entity,
        prompt=logged.prompt,
        answer=logged.answer,
        distractors=logged.distractors,
    )


def _metrics(logs: "Mapping[str, ReadLog]") -> MetricSection:
    """Return the metrics that every log holds of every fact.

    Raises:
        AuditorError: There is none.
    """
    from auditor.models.evaluation_log.reading import metrics_of

    every = [metrics_of(fact) for log in logs.values() for fact in log.facts]
    whole = frozenset.intersection(*every) if every else frozenset[str]()
    found = [name for name in _DECIDING if name in whole]
    if not found:
        raise AuditorError(
            "the logs hold no figure of every fact from which knowledge follows: neither the "
            "probability of the answer, nor what the model said, nor the options' likelihoods."
        )
    primary = found[0]
    deciding = [name for name in found[1:] if name not in _BESIDE]
    beside = sorted(frozenset[str]().union(*every) - {primary, *deciding})
    return MetricSection(primary=primary, deciding=tuple(deciding), reported=tuple(beside))


def _not_held(log: "ReadLog", sets: FactSets, metrics: MetricSection) -> Iterator[str]:
    """Yield what a plan asks that the logs do not hold."""
    from auditor.models.evaluation_log.reading import metrics_of

    logged = {(fact.set, fact.id): fact for fact in log.facts}
    other = [
        fact.id
        for name in (*_SETS, "holdout")
        for fact in sets.named(name)
        if (held := logged.get((name, fact.id))) is None or _fact(held).prompt != fact.prompt
    ]
    if other:
        yield (
            f"the logs do not hold {len(other)} of the facts as they are asked "
            f"({', '.join(other[:3])}{' …' if other[3:] else ''}); import them anew."
        )
        return
    dropped = [fact for fact in logged if fact not in _asked(sets)]
    if dropped:
        yield (
            f"{len(dropped)} of the facts in the logs are in no set "
            f"({', '.join(name for _, name in dropped[:3])}{' …' if dropped[3:] else ''}): what "
            "was evaluated is audited as a whole; import the logs anew."
        )
    for metric in metrics.decides:
        lacking = [fact.id for fact in log.of("forget") if metric not in metrics_of(fact)]
        if lacking:
            yield f"the deciding metric {metric} is not in the logs for {len(lacking)} fact(s)."


def _asked(sets: FactSets) -> set[tuple[str, str]]:
    return {(name, fact.id) for name in _SETS for fact in sets.named(name)}
