"""Nothing that goes wrong may end in PASS. Every fault here is a real one."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from auditor.attack import ATTACKS, Attack, Parameters, Preset, attack
from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import BROKEN, USAGE, run
from auditor.core.errors import AuditorError, OpeningError
from auditor.core.messages import message
from auditor.core.records import Record
from auditor.core.roles import Role
from auditor.core.wording import sentence
from auditor.store.folder_store import FolderStore
from auditor.verification.recompute import check_contradiction


@pytest.fixture
def broken_subject(people, tmp_path):
    """A copy of the retrained model, to be damaged."""
    return shutil.copytree(people.model_path("retrained-1"), tmp_path / "broken")


@pytest.fixture
def write_plan(tmp_path):
    def write(plan):
        path = tmp_path / "plan.yaml"
        path.write_text(plan.model_dump_json(), encoding="utf-8")
        return path

    return write


def row(certificate, label):
    return next(r for r in certificate.matrix if r.label == label)


def why(row):
    """The reason why an attack has no evidence, without the arm on which that was found."""
    return row.reason.nested("reason") if row.reason.code == "on_arm" else row.reason


def test_without_a_fault_the_plan_passes(audit, passing_plan):
    certificate = audit(passing_plan())
    assert certificate.verdict.verdict == "PASS"
    assert certificate.verdict.exit_code == 0
    assert certificate.utility.state == "kept"


def test_missing_backend_is_unavailable_and_blocks_pass(audit, passing_plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    certificate = audit(passing_plan())
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    assert certificate.verdict.exit_code == 3
    nf4 = row(certificate, "quantization/bnb nf4")
    assert nf4.status == "unavailable"
    assert why(nf4) == message("package_missing", package="bitsandbytes")
    assert nf4.figures is None


def test_mandatory_attack_that_the_plan_leaves_out_blocks_pass(audit, passing_plan):
    certificate = audit(passing_plan(attacks=[], policy={}))
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    left_out = row(certificate, "quantization/bnb nf4")
    assert left_out.status == "unavailable"
    assert left_out.role == Role.MANDATORY
    assert why(left_out) == message("left_out_of_plan")


@pytest.fixture
def exploding_attack():
    """A registered attack that fails on every arm; taken out of the registry afterwards."""

    @attack("testing/exploding")
    class Exploding(Attack[Parameters]):
        """Fails."""

        presets = (Preset("always"),)

        def measure(self, model, context):
            raise ZeroDivisionError("on purpose")

    yield "testing/exploding"
    ATTACKS.unregister("testing/exploding")


def test_exception_inside_a_mandatory_attack(audit, passing_plan, exploding_attack, store_root):
    certificate = audit(
        passing_plan(
            attacks=[{"attack": exploding_attack}], policy={"mandatory": [exploding_attack]}
        )
    )
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    assert certificate.verdict.exit_code == 4
    failed = row(certificate, "testing/exploding always")
    assert failed.status == "failed"
    assert why(failed).params == {"type": "ZeroDivisionError", "error": "on purpose"}
    assert why(failed).quoted == ("error",), "an exception's text is redacted"
    logs = "".join(p.read_text() for p in (store_root / "failures").iterdir())
    assert "Traceback" in logs


@pytest.fixture
def plugin():
    """Registers an attack that measures by a given function; removes it afterwards."""
    names = []

    def make(measuring):
        @attack("testing/plugin")
        class Plugin(Attack[Parameters]):
            """Does as the test says."""

            @property
            def variant(self):
                return "once"

            def measure(self, model, context):
                return measuring(context.evaluator.evaluate(model))

        names.append("testing/plugin")
        return [
            {"attack": "testing/plugin"},
            {"attack": "quantization/bnb", "parameters": {"format": "nf4"}},
        ]

    yield make
    for name in names:
        ATTACKS.unregister(name)


class _Panic(BaseException):
    """As extension modules raise where their own code panics."""


def _panic():
    raise _Panic("a regular expression gave up")


@pytest.mark.parametrize(
    ("measuring", "said"),
    [
        (
            lambda rows: Record(rows=(rows[0]._replace(k=float("nan")), *rows[1:])),
            r"not in \[0, 1\]",
        ),
        (lambda rows: Record(rows=(rows[0]._replace(k=1.2), *rows[1:])), r"not in \[0, 1\]"),
        (lambda rows: Record(rows=(*rows, rows[0])), "measured twice"),
        (lambda rows: Record(rows=rows, notes={"x": float("nan")}), "cannot be kept as JSON"),
        (lambda rows: None, "AttributeError"),
        (lambda rows: sys.exit(0), "SystemExit"),
        (lambda rows: _panic(), "_Panic: a regular expression gave up"),
    ],
)
def test_malformed_evidence_is_a_failed_attack(audit, passing_plan, plugin, measuring, said):
    certificate = audit(passing_plan(attacks=plugin(measuring)))
    assert certificate.verdict.verdict == "PASS", "an advisory attack does not block"
    assert row(certificate, "testing/plugin once").status == "failed"
    reason = why(row(certificate, "testing/plugin once"))
    assert reason.code == "error"
    assert re.search(said, f"{reason.params['type']}: {reason.params['error']}")


def test_weakened_policy_is_said_on_the_certificate(audit, passing_plan, people):
    plan = passing_plan(
        unlearned={"path": str(people.model_path(people.recipe.demo)), "dtype": "float32"},
        attacks=[],
        policy={"mandatory": [], "delta": 0.5},
    )
    warned = {warning.code: warning.params for warning in audit(plan).warnings}
    assert "quantization/bnb nf4" in warned["policy_does_not_demand"]["attacks"]
    assert warned["policy_asks_less"] == {"setting": "delta", "value": 0.5, "default": 0.1}


def test_copies_of_a_model_are_recognised_whatever_lies_beside_them(
    audit, passing_plan, people, tmp_path
):
    copy = shutil.copytree(people.model_path("retrained-1"), tmp_path / "copy")
    (copy / "notes.txt").write_text("nothing to see")
    spec = {"path": str(copy), "dtype": "float32"}
    with pytest.raises(AuditorError, match="cannot be its own baseline"):
        audit(passing_plan(retrained=[spec]))
    with pytest.raises(AuditorError, match="retrained-0 and retrained-1 are the same weights"):
        audit(
            passing_plan(
                unlearned={"path": str(people.model_path("retrained-0")), "dtype": "float32"},
                retrained=[
                    spec,
                    {"path": str(people.model_path("retrained-1")), "dtype": "float32"},
                ],
            )
        )


def test_weights_that_nobody_hashed_are_refused(audit, passing_plan, broken_subject):
    config = json.loads((broken_subject / "config.json").read_text())
    config["transformers_weights"] = "elsewhere/other.safetensors"
    (broken_subject / "config.json").write_text(json.dumps(config))
    spec = {"path": str(broken_subject), "dtype": "float32"}
    with pytest.raises(AuditorError, match="points to other weights"):
        audit(passing_plan(unlearned=spec))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_are_no_calibration(audit, passing_plan, tmp_path, make):
    """A pipe would be waited for, and a device read, without end."""
    make(tmp_path / "texts.txt")
    request = {
        "attack": "quantization/gptq",
        "parameters": {"calibration": str(tmp_path / "texts.txt")},
    }
    with pytest.raises(AuditorError, match=r"g128\.calibration: .* is no regular file"):
        audit(passing_plan(attacks=[request]))


def test_calibration_with_the_forget_set_is_refused(audit, passing_plan, people, tmp_path):
    texts = tmp_path / "calibration.txt"
    fact = json.loads(people.facts("forget").read_text().splitlines()[0])
    texts.write_text(f"Some text.\nQuestion: {fact['prompt']} Answer: {fact['answer']}\n")
    request = {"attack": "quantization/gptq", "parameters": {"calibration": str(texts)}}
    with pytest.raises(AuditorError, match="hold 1 forget fact"):
        audit(passing_plan(attacks=[request]))


def test_sampled_scope_needs_subjects(audit, passing_plan, people, tmp_path):
    rows = [json.loads(line) for line in people.facts("forget").read_text().splitlines()]
    anonymous = tmp_path / "forget.jsonl"
    anonymous.write_text(
        "\n".join(json.dumps({"prompt": r["prompt"], "answer": r["answer"]}) for r in rows)
    )
    data = {"forget": str(anonymous), "retain": str(people.facts("retain"))}
    with pytest.raises(AuditorError, match="name no entities"):
        audit(passing_plan(data=data, policy={"scope": "sampled"}))


def test_failed_advisory_attack_is_shown_and_does_not_block(audit, passing_plan, exploding_attack):
    plan = passing_plan(
        attacks=[
            {"attack": exploding_attack},
            {"attack": "quantization/bnb", "parameters": {"format": "nf4"}},
        ]
    )
    certificate = audit(plan)
    assert certificate.verdict.verdict == "PASS"
    assert row(certificate, "testing/exploding always").status == "failed"
    assert any("testing/exploding" in r.model_dump_json() for r in certificate.verdict.reasons)


def test_weights_that_are_no_numbers_end_the_audit(audit, passing_plan, broken_subject):
    weights = load_file(broken_subject / "model.safetensors")
    name = next(n for n in weights if n.endswith("layers.0.mlp.down_proj.weight"))
    weights[name][0, 0] = torch.nan
    save_file(weights, broken_subject / "model.safetensors", metadata={"format": "pt"})
    plan = passing_plan(unlearned={"path": str(broken_subject), "dtype": "float32"})
    with pytest.raises(OpeningError, match="answers in no numbers"):
        audit(plan)


def test_truncated_weights_are_refused_before_anything_runs(
    audit, passing_plan, broken_subject, write_plan, capsys
):
    weights = broken_subject / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    plan = passing_plan(unlearned={"path": str(broken_subject), "dtype": "float32"})
    with pytest.raises(AuditorError, match="not a whole safetensors file"):
        audit(plan)
    assert run(["audit", str(write_plan(plan)), "--out", str(broken_subject.parent / "o")]) == USAGE
    assert "Copy or download it again" in capsys.readouterr().err


def test_weights_that_lack_a_tensor_are_refused(audit, passing_plan, broken_subject):
    weights = load_file(broken_subject / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, broken_subject / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AuditorError, match="lacks weights"):
        audit(passing_plan(unlearned={"path": str(broken_subject), "dtype": "float32"}))


def test_a_model_that_does_not_load_ends_the_audit(audit, passing_plan, broken_subject):
    """It is no attack that failed, whatever its headers say: the user can mend it."""
    weights = load_file(broken_subject / "model.safetensors")
    del weights["model.norm.weight"]
    torch.save(weights, broken_subject / "pytorch_model.bin")
    (broken_subject / "model.safetensors").unlink()
    model = {"path": str(broken_subject), "dtype": "float32", "allow_pickle": True}
    with pytest.raises(OpeningError, match="lacks weights"):
        audit(passing_plan(unlearned=model))


@pytest.fixture
def small_disk(tmp_path):
    """A file system that is full after 96 KiB."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_ends_the_audit_without_a_certificate(
    passing_plan, write_plan, small_disk, tmp_path, capsys
):
    out = tmp_path / "out"
    arguments = ["audit", str(write_plan(passing_plan())), "--out", str(out), "--quiet"]
    assert run([*arguments, "--store", str(small_disk)]) == BROKEN
    assert "disk is full" in capsys.readouterr().err
    assert not (out / "certificate.json").exists()
    for job in (small_disk / "jobs").glob("??/*"):
        assert (job / "seal.json").exists(), "a job was left half-written"


def test_attack_that_measures_only_some_facts_is_failed(audit, passing_plan):
    @attack("testing/forgetful")
    class Forgetful(Attack[Parameters]):
        """Leaves out a fact."""

        @property
        def variant(self):
            return "once"

        def measure(self, model, context):
            return Record(rows=context.evaluator.evaluate(model)[1:])

    try:
        certificate = audit(
            passing_plan(
                attacks=[{"attack": "testing/forgetful"}],
                policy={"mandatory": ["testing/forgetful"]},
            )
        )
    finally:
        ATTACKS.unregister("testing/forgetful")
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    forgetful = row(certificate, "testing/forgetful once")
    assert forgetful.status == "failed"
    assert why(forgetful) == message("measurement_incomplete")


def test_arms_that_were_measured_on_different_machines_block_a_pass(audit, passing_plan, tmp_path):
    """The evidence on the original comes from another machine; everything else is a PASS."""
    plan = passing_plan()
    assert audit(plan, tmp_path).verdict.verdict == "PASS"
    store = FolderStore(tmp_path)
    [certified] = [r for r in audit(plan, tmp_path).matrix if r.attack == "quantization/bnb"]
    [key] = certified.jobs["original"]
    there = store.environment(key).model_copy(update={"device": "NVIDIA H100"})
    identity, record, cost = store.identity(key), store.read(key), store.cost(key)
    shutil.rmtree(store.root / "jobs" / key[:2] / key)
    store.write(key, identity, record, cost, there)
    certificate = audit(plan, tmp_path)
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    [gate] = [g for g in row(certificate, "quantization/bnb nf4").gates if not g.met]
    assert gate.name == "environment"
    assert gate.message.params["differences"] == {
        "device": {"unlearned": "cpu", "original": "NVIDIA H100", "retrained-0": "cpu"}
    }
    assert "NVIDIA H100" in sentence(gate.message)
    assert "another store" in sentence(gate.message)
    write_certificate(certificate, tmp_path / "certificate.json")
    check_contradiction(read_certificate(tmp_path / "certificate.json"), store)
