"""Files and content of the log that a spec names."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest_file
from auditor.data.logs.layouts import LAYOUTS
from auditor.data.logs.log import LoggedFact, ReadLog, Tasks
from auditor.metrics.leak_judge import given_away
from auditor.models.evaluation_log.spec import EvaluationLogSpec

RECALL = "answer-recall"
"""Metric that is worked out from what the model said."""
_TELLING = 10
"""Different figures and answers from which on two logs are not alike by chance."""
_SHOWN = 3
"""Most facts that an error names."""


def files_of(spec: EvaluationLogSpec) -> dict[str, Path]:
    """Return the files of a log by their names.

    Raises:
        AuditorError: They are not there, or not those of one log.
    """
    path = Path(spec.path).expanduser()
    return LAYOUTS[spec.layout].files(path, _tasks(spec))


def read_log(spec: EvaluationLogSpec, files: Mapping[str, Path]) -> ReadLog:
    """Read a log.

    Raises:
        AuditorError: It does not hold what its layout has.
    """
    return LAYOUTS[spec.layout].read(files, _tasks(spec))


def metrics_of(fact: LoggedFact) -> frozenset[str]:
    """Return the metrics that a log holds of a fact."""
    return frozenset((*fact.k, *(() if fact.said is None else (RECALL,))))


def knowledge(fact: LoggedFact, metric: str) -> float:
    """Return K of a fact by one of its metrics.

    What the answer gives away is worked out here; everything else the log says.
    """
    if metric == RECALL and fact.said is not None:
        return given_away(fact.prompt, [fact.answer], fact.said)
    return fact.k[metric]


def check_asked_alike(logs: Mapping[str, ReadLog]) -> None:
    """Refuse logs about other facts.

    Another text around the question is no other fact: the certificate says it, and nothing passes.

    Args:
        logs: Content of each arm's log.

    Raises:
        AuditorError: Names the arm, and the first facts that differ.
    """
    (first, wanted), *others = logs.items()
    for arm, log in others:
        if len(log.facts) != len(wanted.facts):
            raise AuditorError(
                f"the log of {arm} holds {_counted(log)}, that of {first} {_counted(wanted)}; "
                "evaluate all models on the same facts."
            )
        differing = [
            (mine, theirs)
            for mine, theirs in zip(log.facts, wanted.facts, strict=True)
            if mine.asked != theirs.asked
        ]
        if differing:
            raise AuditorError(
                f"the logs of {arm} and {first} differ in {len(differing)} fact(s) "
                f"({_named(fact.id for fact, _ in differing)}), first in {_first(*differing[0])}. "
                "Only models that were asked the same can be compared: evaluate them on the same "
                "split."
            )


def check_copies(
    logs: Mapping[str, ReadLog], files: Mapping[str, Mapping[str, Path]], baselines: Iterable[str]
) -> None:
    """Refuse a baseline whose log is another arm's, written again or not.

    Args:
        logs: Content of each arm's log.
        files: Files of each arm's log.
        baselines: Arms that no other may equal.

    Raises:
        AuditorError: Names the two.
    """
    digests = {arm: sorted(map(digest_file, held.values())) for arm, held in files.items()}
    found = {arm: _answers(log) for arm, log in logs.items()}
    for baseline in baselines:
        for arm in logs:
            if arm == baseline:
                continue
            told = len(set(found[arm])) >= _TELLING and found[arm] == found[baseline]
            if told or digests[arm] == digests[baseline]:
                raise AuditorError(
                    f"the logs of {arm} and {baseline} hold the same figures of every forget fact; "
                    "a model cannot be its own baseline. Give the log of another retrained model."
                )


def _answers(log: ReadLog) -> list[tuple[str, ...]]:
    """Return figures and answers of each forget fact."""
    return [
        (*(f"{name} {k!r}" for name, k in sorted(fact.k.items())), fact.said or "")
        for fact in log.of("forget")
    ]


def _tasks(spec: EvaluationLogSpec) -> Tasks:
    return Tasks(spec.forget_tasks or (), spec.retain_tasks or ())


def _counted(log: ReadLog) -> str:
    return f"{len(log.of('forget'))} forget and {len(log.of('retain'))} retain facts"


def _named(ids: Iterable[str]) -> str:
    names = list(ids)
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


def _first(mine: LoggedFact, theirs: LoggedFact) -> str:
    """Say in what two facts differ.

    Their texts may be hazardous and are not shown.
    """
    if mine.prompt != theirs.prompt:
        return "the question"
    return "the true answer, or the options"
