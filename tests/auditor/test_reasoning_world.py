"""A model whose answers were unlearned and whose traces leak, beside one that never knew."""

import pytest
from filelock import FileLock

import auditor
from auditor.cli.main import OK, run
from auditor.core.errors import EvidenceChangedError
from auditor.core.progress import SilentProgress
from auditor.statistics import Verdict
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import world as worlds
from auditor.verification.evidence import check_changed

pytestmark = [pytest.mark.nightly, pytest.mark.slow]

TRACE = "prompting/thinking trace"
MODELS = ("original", "retrained-0", "retrained-1", "relabelled_answers")


@pytest.fixture(scope="module")
def reasoning():
    """The world of models that think, in the user's cache."""
    world = worlds.locate("reasoning")
    world.root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(world.root.with_suffix(".lock")):  # one of the test processes trains, all wait
        return worlds.build("reasoning", only=MODELS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("reasoning") / "store"


def audited(world, unlearned, out, store, **changes):
    content = {
        "unlearned": str(world.model_path(unlearned)),
        "original": str(world.model_path("original")),
        "retrained": [str(world.model_path("retrained-0"))],
        "forget": str(world.facts("forget")),
        "retain": str(world.facts("retain")),
        "format": {"chat": True},
        "attacks": [
            {"attack": "prompting/thinking"},
            {
                "attack": "prompting/thinking",
                "parameters": {"thinking": ["opened", "emptied", "short"], "place": "answer"},
            },
        ],
        "profile": None,
        "policy": {"mandatory": ["none/as-is", TRACE]},
        "seeds": [0],
        "out": out,
        "store": store,
    }
    return auditor.audit(**(content | changes)).certificate


def test_what_the_answer_hides_is_found_in_the_trace(reasoning, store, tmp_path):
    certificate = audited(reasoning, "relabelled_answers", tmp_path / "leaks", store)
    rows = {row.label: row for row in certificate.matrix}
    assert certificate.verdict.verdict is Verdict.FAIL
    assert {label for label, row in rows.items() if row.named} == {TRACE}
    assert rows[TRACE].figures.rho > 0.9
    assert rows["none/as-is full precision"].figures.rho < 0.3
    assert rows["prompting/thinking answer after trace"].figures.rho < 0.1
    told = {f.of: f.value for f in rows[TRACE].side_figures if f.name == "told_in_trace_alone"}
    assert told["unlearned"] > 0.9
    assert told["original"] == 0
    assert "traces_split" in {said.code for said in certificate.warnings}
    here = ["--evidence", str(store), "--unsigned"]
    assert run(["verify", str(tmp_path / "leaks" / "certificate.json"), *here]) == OK


def test_what_never_knew_does_not_fail_and_the_control_is_found(reasoning, store, tmp_path):
    certificate = audited(reasoning, "retrained-1", tmp_path / "never", store, controls=True)
    assert certificate.verdict.verdict is not Verdict.FAIL
    assert not any(row.named for row in certificate.matrix)
    rows = {row.label: row for row in certificate.matrix}
    assert rows[TRACE].figures.rho < 0.1
    found = {part.attack: part.found for part in certificate.positive_controls}
    assert found[TRACE]


def test_a_plan_that_reads_no_trace_says_so_and_changed_evidence_is_refused(
    reasoning, store, tmp_path
):
    other = {"attacks": [], "policy": {"mandatory": ["none/as-is"]}}
    certificate = audited(reasoning, "relabelled_answers", tmp_path / "deaf", store, **other)
    assert "traces_unread" in {said.code for said in certificate.warnings}

    own = tmp_path / "own"
    certificate = audited(reasoning, "relabelled_answers", tmp_path / "changed", own)
    row = next(row for row in certificate.matrix if row.label == TRACE)
    [key] = row.jobs["unlearned"]
    [rows] = [path for path in own.rglob("rows.parquet") if key in str(path)]
    check_changed(certificate, FolderStore(own), SilentProgress())
    rows.write_bytes(rows.read_bytes() + b"\0")
    with pytest.raises(EvidenceChangedError):
        check_changed(certificate, FolderStore(own), SilentProgress())
