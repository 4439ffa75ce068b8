"""Two audits that share a store do each job once between them."""

import multiprocessing
import os
from collections import Counter

import pytest
import torch
from watched_audits import Watching

from auditor.attack import ATTACKS, Attack, Parameters, attack
from auditor.core.progress import SilentProgress
from auditor.core.records import Record
from auditor.engine.audit import run_audit
from auditor.engine.executors.base import ELSEWHERE
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.store.folder_store import FolderStore


@pytest.fixture
def counted(passing_plan, few_facts, tmp_path):
    """Audits under an attack that counts how often it measures each model."""
    log = tmp_path / "measured"
    log.touch()

    @attack("testing/counted")
    class Counted(Attack[Parameters]):
        summary = "Counts."

        def measure(self, model, context):
            with log.open("a") as lines:
                lines.write(f"{model.location.model.name}\n")
            return Record(rows=context.evaluator.evaluate(model))

    plan = passing_plan(
        attacks=[{"attack": "testing/counted"}],
        data=few_facts,
        metrics={"deciding": ["answer-probability"], "reported": []},
        policy={"mandatory": ["none/as-is"]},
        seeds=[0],
    )
    root = tmp_path / "store"

    def run(progress):
        store = FolderStore(root)
        ready = prepare(plan, store, SilentProgress())
        return run_audit(ready, store, LocalExecutor(), progress)

    def key(arm):
        ready = prepare(plan, FolderStore(root), SilentProgress())
        [variant] = [v for v in ready.variants if v.attack.name == "testing/counted"]
        return ready.measurements(variant)[arm][0].key

    run.measured = lambda: Counter(log.read_text().split())
    run.root, run.key = root, key
    yield run
    ATTACKS.unregister("testing/counted")


def _audited(run, seals):
    # a fork's own pool of threads, before the threads that load a model ask for it at once
    torch.set_num_threads(1)
    seals.put(run(SilentProgress()).seals)
    seals.close()
    seals.join_thread()
    os._exit(0)


def test_two_audits_do_each_job_once(counted):
    context = multiprocessing.get_context("fork")
    seals = context.Queue()
    audits = [context.Process(target=_audited, args=(counted, seals)) for _ in range(2)]
    for each in audits:
        each.start()
    one, other = seals.get(timeout=120), seals.get(timeout=120)
    for each in audits:
        each.join()
    assert one == other
    assert len(one) == 6
    assert sorted(counted.measured().values()) == [1, 1, 1]
    assert list((counted.root / "claims").iterdir()) == []


@pytest.mark.nightly
def test_what_another_audit_is_at_comes_last(counted):
    """It is measured here only because the other one lets go of it without evidence."""
    claims = [FolderStore(counted.root).claim(counted.key("original"))]
    assert claims[0].__enter__()

    def release(done):
        if done == 5 and claims:
            claims.pop().__exit__(None, None, None)

    progress = Watching(release)
    counted(progress)
    assert not claims
    assert progress.done == 6
    assert sum(line.endswith(ELSEWHERE) for line in progress.lines) >= 1
    assert sorted(counted.measured().values()) == [1, 1, 1]
