"""Two audits of the same facts with their evidence, which differ in the unlearned model alone."""

import json
import shutil

import pytest

from auditor.certificate.decision import decide_verdict
from auditor.certificate.files import read_certificate, write_certificate
from auditor.core.hashing import digest
from auditor.core.records import Cost, Record
from auditor.store.folder_store import FolderStore
from auditor.verification.load import load_inputs
from auditor.verification.recompute import recomputed
from benchmarks.large_audit import large_audit

FACTS, VARIANTS = 60, 8


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """An audit whose unlearned model leaks under two attacks."""
    root = tmp_path_factory.mktemp("finished")
    large_audit(root, FACTS, VARIANTS, leaking=2)
    return root


def another_unlearned(source, target, change, **parts):
    """The same audit of another unlearned model, whose rows are ``change(label, row)``."""
    shutil.copytree(source / "evidence", target / "evidence")
    store = FolderStore(target / "evidence")
    before = read_certificate(source / "certificate.json")
    content = json.loads(before.model_dump_json())
    seals = content["evidence"]["jobs"]
    for row, old in zip(content["matrix"], before.matrix, strict=True):
        [key] = row["jobs"]["unlearned"]
        identity = store.identity(key) | {"model": digest("another")}
        rows = tuple(change(old.label, measured) for measured in store.read(key).rows)
        new = digest(identity)
        record = Record(rows=rows, notes={"forward_tokens": 1})
        store.write(new, identity, record, Cost(1.0, 1), store.environment(key))
        del seals[key]
        seals[new] = store.seal(new)
        row["jobs"]["unlearned"] = [new]
    content["identity"]["arms"][0]["digest"] = digest("another")
    skeleton = type(before).model_validate(content | parts)
    inputs = load_inputs(skeleton, store)
    silent = {row.attack for row in skeleton.matrix}
    again = recomputed(skeleton, inputs, decide_verdict(inputs), store, silent).named()
    write_certificate(again, target / "certificate.json")
    return again


@pytest.fixture
def pair(finished, tmp_path):
    """Folders of an audit and of the same with another unlearned model."""

    def make(change, **parts):
        another_unlearned(finished, tmp_path / "b", change, **parts)
        return finished / "certificate.json", tmp_path / "b" / "certificate.json"

    return make
