"""Failures are told by kind, and only those of kinds that pass are tried again."""

import errno
from collections import Counter

import pytest

from auditor.attack import ATTACKS, Attack, Parameters, attack
from auditor.core.errors import (
    AuditorError,
    DoesNotFitError,
    MeasurementError,
    MemoryExhaustedError,
    ModelDiffersError,
    UnavailableError,
)
from auditor.core.messages import message
from auditor.core.progress import SilentProgress
from auditor.core.records import Record
from auditor.engine.executors.base import LabelledJob
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.failure import RETRIES, Failure, FailureKind, Retry, kind_of
from auditor.engine.preparation import prepare
from auditor.store.folder_store import FolderStore


def raised_from(cause):
    error = MeasurementError("it gave nothing")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnavailableError("no such layer"), "unavailable"),
        (DoesNotFitError("m", 2, 1), "does-not-fit"),
        (MemoryExhaustedError("one item"), "out-of-memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "poisoned"),
        (ConnectionResetError(), "transient"),
        (TimeoutError(), "transient"),
        (OSError(errno.ESTALE, "stale"), "transient"),
        (OSError(errno.ENOSPC, "full"), "failed"),
        (FileNotFoundError(errno.ENOENT, "gone"), "failed"),
        (ModelDiffersError("other files"), "mismatch"),
        (AuditorError("anything"), "failed"),
        (ZeroDivisionError(), "failed"),
        (raised_from(ConnectionAbortedError()), "transient"),
        (raised_from(MemoryError()), "out-of-memory"),
        (raised_from(ValueError()), "failed"),
    ],
)
def test_an_error_is_of_one_kind(error, kind):
    assert kind_of(error) == kind


def test_every_kind_has_its_rule():
    assert RETRIES.keys() == set(FailureKind)
    tried = {kind.value: rule.times for kind, rule in RETRIES.items() if rule.times}
    assert tried == {"out-of-memory": 1, "poisoned": 1, "transient": 3}
    assert [kind for kind, rule in RETRIES.items() if rule.fresh] == ["poisoned"]
    assert [*Retry(times=3, pause=1.0).pauses()] == [1, 4, 16]


def test_only_what_does_not_apply_is_unavailable():
    for kind in FailureKind:
        status = Failure(message("error", type="", error=""), kind).status
        assert (status == "unavailable") is (kind is FailureKind.UNAVAILABLE)


ERRORS = {
    "reset": ConnectionResetError(errno.ECONNRESET, "reset"),
    "full": MemoryExhaustedError("full"),
    "wrong": ZeroDivisionError(),
    "inapplicable": UnavailableError("no such layer"),
}
EXPECTED = {
    "reset 3": ("measured", 4),
    "reset 9": ("failed", 4),
    "full 1": ("measured", 2),
    "full 9": ("failed", 2),
    "wrong 1": ("failed", 1),
    "inapplicable 1": ("unavailable", 1),
}
"""Status and tries, by the error of an attack and how often it is raised before it measures."""


class FailingParameters(Parameters):
    error: str
    times: int


def test_a_job_is_tried_as_often_as_its_failures_kind_says(
    passing_plan, few_facts, tmp_path, monkeypatch
):
    monkeypatch.setitem(RETRIES, FailureKind.TRANSIENT, Retry(times=3, pause=0.0))
    tries = Counter()

    @attack("testing/failing")
    class Failing(Attack[FailingParameters]):
        summary = "Fails so often."
        parameters_type = FailingParameters

        @property
        def variant(self):
            return f"{self.parameters.error} {self.parameters.times}"

        def measure(self, model, context):
            tries[self.variant] += 1
            if tries[self.variant] <= self.parameters.times:
                raise ERRORS[self.parameters.error]
            return Record(rows=context.evaluator.evaluate(model))

    try:
        plan = passing_plan(
            attacks=[
                {
                    "attack": "testing/failing",
                    "parameters": {"error": error, "times": int(times)},
                }
                for error, times in map(str.split, EXPECTED)
            ],
            data=few_facts,
            metrics={"deciding": ["answer-probability"], "reported": []},
            policy={"mandatory": ["none/as-is"]},
            seeds=[0],
        )
        store = FolderStore(tmp_path / "store")
        prepared = prepare(plan, store, SilentProgress())
        jobs = {
            variant.attack.variant: prepared.measurements(variant)["unlearned"][0]
            for variant in prepared.variants
            if variant.attack.name == "testing/failing"
        }
        labelled = [LabelledJob(name, job) for name, job in jobs.items()]
        failures = LocalExecutor().run(labelled, prepared.models, store, SilentProgress())
    finally:
        ATTACKS.unregister("testing/failing")
    found = {
        name: (failures[job.key].status if job.key in failures else "measured", tries[name])
        for name, job in jobs.items()
    }
    assert found == EXPECTED
    measured = {name for name, job in jobs.items() if store.has(job.key)}
    assert measured == {"reset 3", "full 1"}
    assert list((store.root / "claims").iterdir()) == []
