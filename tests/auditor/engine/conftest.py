"""Running audits in the test's own process."""

import pytest

from auditor.certificate.assembly import assemble
from auditor.engine.audit import run_audit
from auditor.engine.execution import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.evidence.store import EvidenceStore
from auditor.progress import SilentProgress


@pytest.fixture
def audit(store_root):
    """Run a plan to its certificate, against the shared store unless told otherwise."""

    def run(plan, root=None):
        store = EvidenceStore(root or store_root)
        prepared = prepare(plan, store, SilentProgress())
        outcome = run_audit(prepared, store, LocalExecutor(), SilentProgress())
        return assemble(outcome, "auditor audit plan.yaml")

    return run
