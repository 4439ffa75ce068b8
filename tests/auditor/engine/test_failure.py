"""Failures are told by kind, and only those of kinds that pass are tried again."""

import errno

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
from auditor.engine.audit import run_audit
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


@pytest.fixture
def failing(passing_plan, tmp_path, monkeypatch):
    """Audits under an attack that fails as often as it is told, before it measures."""
    quickly = Retry(times=3, pause=0.0)
    monkeypatch.setitem(RETRIES, FailureKind.TRANSIENT, quickly)

    def run(error, times):
        tries = []

        @attack("testing/failing")
        class Failing(Attack[Parameters]):
            summary = "Fails so often."

            def measure(self, model, context):
                tries.append(model.location.model.name)
                if tries.count(tries[-1]) <= times:
                    raise error
                return Record(rows=context.evaluator.evaluate(model))

        try:
            plan = passing_plan(
                attacks=[{"attack": "testing/failing"}],
                policy={"mandatory": ["none/as-is"]},
                seeds=[0],
            )
            store = FolderStore(tmp_path / "store")
            prepared = prepare(plan, store, SilentProgress())
            outcome = run_audit(prepared, store, LocalExecutor(), SilentProgress())
        finally:
            ATTACKS.unregister("testing/failing")
        [found] = [r.evidence for r in outcome.runs if r.variant.attack.name == "testing/failing"]
        assert list((store.root / "claims").iterdir()) == []
        return found.status, [tries.count(name) for name in dict.fromkeys(tries)]

    return run


@pytest.mark.parametrize(
    ("error", "times", "status", "tries"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), 3, "measured", [4, 4, 4]),
        (TimeoutError("slow"), 99, "failed", [4, 4, 4]),
        (MemoryExhaustedError("full"), 1, "measured", [2, 2, 2]),
        (MemoryExhaustedError("full"), 99, "failed", [2, 2, 2]),
        (ZeroDivisionError(), 1, "failed", [1, 1, 1]),
        (UnavailableError("no layer"), 1, "unavailable", [1, 1, 1]),
    ],
)
def test_a_job_is_tried_as_often_as_its_failures_kind_says(failing, error, times, status, tries):
    assert failing(error, times) == (status, tries)
