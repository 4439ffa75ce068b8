"""A plan of a few jobs, and its evidence as one process leaves it."""

import pytest
from watched_audits import evidence

from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.store.folder_store import FolderStore

REQUESTS = [{"attack": "prompting/sampling", "parameters": {"samples": 2, "k": 1}}]


@pytest.fixture
def prepared(passing_plan, tmp_path, server):
    """A plan of two attacks on three models, and an empty store.

    With the tests' server of processes, so that whichever tests come first it is the same.
    """
    plan = passing_plan(attacks=REQUESTS, policy={"mandatory": ["none/as-is"]}, seeds=[0])

    def make(name):
        store = FolderStore(tmp_path / name)
        return prepare(plan, store, SilentProgress()), store

    return make


@pytest.fixture(scope="session")
def kept():
    return {}


@pytest.fixture
def undisturbed(prepared, kept):
    """The evidence of an audit in one process."""
    if not kept:
        ready, store = prepared("local")
        outcome = run_audit(ready, store, LocalExecutor(), SilentProgress())
        assert {r.evidence.status for r in outcome.runs} == {"measured"}
        kept.update(evidence(store))
    return kept
