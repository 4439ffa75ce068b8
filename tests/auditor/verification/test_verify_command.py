"""`auditor keygen`, `sign` and `verify`: each way to be refused has its own message and code."""

import base64
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import run
from auditor.core.hashing import canonical_json


@pytest.fixture
def signed(copied, tmp_path):
    """A folder with keys, a signed certificate, its evidence and its model."""

    def make(name="fail", edit=None):
        path, _ = copied(name)
        if edit is not None:
            content = json.loads(path.read_text(encoding="utf-8"))
            edit(content)
            certificate = type(read_certificate(path)).model_validate(content).named()
            write_certificate(certificate, path)
        for signer in ("auditor", "owner", "stranger"):
            if not (tmp_path / f"{signer}.pem").exists():
                assert run(["keygen", str(tmp_path / signer)]) == 0
        assert run(["sign", str(path), "--key", str(tmp_path / "auditor.pem")]) == 0
        return tmp_path / "certificate.dsse.json"

    return make


@pytest.fixture
def verify(tmp_path, capsys):
    """Run `auditor verify` with the auditor's key; exit code and what it said."""

    def call(envelope, *more, key="auditor"):
        capsys.readouterr()
        arguments = ["verify", str(envelope), "--key", str(tmp_path / f"{key}.pub.pem")]
        code = run([*arguments, *map(str, more), "--quiet"])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, (shown.out + shown.err).replace("\n", " ")

    return call


def model_of(envelope):
    """Folder of the audited model, which the plan of the audit alone names."""
    plan = yaml.safe_load(envelope.with_name("plan.resolved.yaml").read_text(encoding="utf-8"))
    return plan["unlearned"]["path"]


@pytest.mark.parametrize("name", ["pass", "fail"])
def test_all_that_can_be_checked_holds(signed, verify, name):
    envelope = signed(name)
    code, said = verify(envelope, "--model", model_of(envelope))
    assert code == 0
    assert f"the certificate says: {name.upper()}" in said
    for check in ("signature: holds", "verdict: follows", "jobs in", "is the one that was audited"):
        assert check in said
    assert "not checked" not in said


def test_what_was_not_checked_is_said(signed, verify, tmp_path):
    made = signed()
    shutil.rmtree(tmp_path / "evidence")
    envelope = tmp_path / "handed on" / made.name
    envelope.parent.mkdir()
    shutil.copy(made, envelope)
    code, said = verify(envelope)
    assert code == 0
    assert said.count("not checked") == 3
    code, said = verify(envelope, "--json")
    assert json.loads(said)["checks"]["evidence"].startswith("not checked")
    assert verify(envelope, "--require-evidence")[0] == 15


def test_evidence_may_lie_one_folder_up(signed, verify):
    envelope = signed()
    audit = envelope.parent / "audit"
    audit.mkdir()
    moved = envelope.rename(audit / envelope.name)
    code, said = verify(moved, "--require-evidence")
    assert code == 0
    assert "verdict: follows" in said
    assert "NOT CHECKED" not in said


def test_swapped_evidence(signed, verify):
    envelope = signed()
    store = envelope.parent / "evidence"
    used = read_certificate(envelope.with_name("certificate.json")).evidence.jobs
    rows = sorted(p for p in (store / "jobs").glob("*/*/rows.parquet") if p.parent.name in used)
    swapped = next(p for p in rows if p.read_bytes() != rows[0].read_bytes())
    rows[0].write_bytes(swapped.read_bytes())
    code, said = verify(envelope)
    assert code == 15
    assert "evidence was changed after it was measured" in said


def test_swapped_model_file(signed, verify, tmp_path):
    envelope = signed()
    model = tmp_path / "model"
    shutil.copytree(model_of(envelope), model)
    assert verify(envelope, "--model", model)[0] == 0
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, said = verify(envelope, "--model", model)
    assert code == 16
    assert "model.safetensors was changed" in said
    weights.write_bytes(content[: len(content) // 2])
    code, said = verify(envelope, "--model", f"unlearned={model}")
    assert code == 16
    assert "not a whole safetensors file" in said
    code, said = verify(envelope, "--model", f"original={model}")
    assert code == 16
    assert "not the original model" in said


@pytest.mark.parametrize("name", ["pytorch_model.bin", "original/model.gguf", "qwen.tiktoken"])
def test_files_that_came_afterwards(signed, verify, tmp_path, name):
    """Weights in another form are a model that was not audited, whoever would load them."""
    envelope = signed()
    model = tmp_path / "model"
    shutil.copytree(model_of(envelope), model)
    (model / "README.md").write_text("said of the model", encoding="utf-8")
    assert verify(envelope, "--model", model)[0] == 0
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"another model")
    code, said = verify(envelope, "--model", model)
    assert code == 16
    assert f"{name} is new" in said


def test_another_model_cannot_be_listed_under_the_digest_of_the_audited_one(signed, verify):
    """Whoever may sign puts the files of a better model into the list."""

    def swap(content):
        arms = {arm["arm"]: arm for arm in content["identity"]["arms"]}
        arms["unlearned"]["files"] = arms["retrained-0"]["files"]

    code, said = verify(signed(edit=swap))
    assert code == 14
    assert "lists for unlearned do not have the digest" in said


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c["reproduction"]["plan"].update(seeds=[9]), "plan does not have the digest"),
        (lambda c: c["reproduction"]["plan"]["retrained"].pop(), "not those of its plan"),
    ],
)
def test_another_plan_than_was_run(signed, verify, edit, said):
    code, shown = verify(signed(edit=edit))
    assert code == 14
    assert said in shown


def test_edited_verdict_in_a_signed_file(signed, verify):
    envelope = signed()
    data = json.loads(envelope.read_bytes())
    payload = json.loads(base64.b64decode(data["payload"]))
    payload["predicate"]["verdict"].update(verdict="PASS", exit_code=0)
    data["payload"] = base64.b64encode(canonical_json(payload)).decode()
    envelope.write_bytes(canonical_json(data))
    code, said = verify(envelope)
    assert code == 11
    assert "was changed after" in said


def test_a_verdict_that_its_own_auditor_made_up(signed, verify):
    """Valid JSON, a valid id, a valid signature: only the evidence tells."""

    def pass_it(content):
        content["verdict"].update(verdict="PASS", exit_code=0, reasons=[{"code": "passed"}])

    code, said = verify(signed(edit=pass_it))
    assert code == 14
    assert "the verdict does not follow from the evidence" in said


def test_an_unsigned_certificate_that_was_edited(signed, copied, tmp_path, capsys):
    path, _ = copied("fail")
    content = json.loads(path.read_text(encoding="utf-8"))
    content["verdict"]["verdict"] = "PASS"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert run(["verify", str(path), "--unsigned", "--quiet"]) == 11
    assert "was edited" in capsys.readouterr().err
    assert run(["keygen", str(tmp_path / "k")]) == 0
    assert run(["sign", str(path), "--key", str(tmp_path / "k.pem")]) == 11


def test_wrong_key_and_too_few(signed, verify, tmp_path):
    envelope = signed()
    code, said = verify(envelope, key="stranger")
    assert code == 12
    assert "0 of the trusted keys" in said
    both = ["--key", tmp_path / "owner.pub.pem", "--threshold", "2"]
    assert verify(envelope, *both)[0] == 12
    assert run(["sign", str(envelope), "--key", str(tmp_path / "owner.pem")]) == 0
    assert verify(envelope, *both)[0] == 0


def test_replayed_signature(signed, verify, tmp_path):
    envelope = signed("pass")
    passed = json.loads(envelope.read_bytes())
    envelope = signed("fail")
    failed = json.loads(envelope.read_bytes())
    envelope.write_bytes(canonical_json(failed | {"signatures": passed["signatures"]}))
    code, said = verify(envelope)
    assert code == 13
    assert "made for something else" in said


def test_expired_certificate_and_expired_waiver(signed, verify):
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()

    def expire(content):
        content["timing"]["expires"] = past

    code, said = verify(signed(edit=expire))
    assert code == 17
    assert re.search(r"the certificate was issued on .* and expired on", said)

    def waive(content):
        content["policy"]["waivers"] = [
            {"attack": "quantization/bnb nf4", "reason": "r", "by": "A. B.", "until": past[:10]}
        ]

    code, said = verify(signed(edit=waive))
    assert code == 17
    assert "the waiver of quantization/bnb nf4 by A. B. expired" in said


@pytest.mark.parametrize("field", ["issued", "expires"])
def test_a_date_that_is_none(signed, verify, field):
    code, said = verify(signed(edit=lambda content: content["timing"].update({field: "soon"})))
    assert code == 10
    assert "'soon' as a date" in said


def test_what_is_no_certificate(signed, verify, tmp_path):
    envelope = signed()
    envelope.write_text("{}")
    assert verify(envelope)[0] == 10
    assert verify(tmp_path / "certificate.json")[0] == 10, "nobody signed this one"
    assert verify(tmp_path / "nonesuch.json")[0] == 2


def test_a_key_must_be_given(signed, capsys):
    envelope = signed()
    capsys.readouterr()
    assert run(["verify", str(envelope)]) == 2
    assert "--unsigned" in capsys.readouterr().err


def test_a_redacted_certificate_is_recomputed_with_the_stores_key(copied, capsys):
    from auditor.certificate.redaction import redact
    from auditor.store.folder_store import FolderStore

    path, store = copied("fail")
    plain = read_certificate(path)
    key = FolderStore(store.root).redaction_key()
    write_certificate(redact(plain, key), path)
    assert plain.worst_facts[0].prompt not in path.read_text(encoding="utf-8")
    assert run(["verify", str(path), "--unsigned", "--quiet"]) == 0
    (store.root / "redaction.key").write_bytes(b"x" * 32)
    assert run(["verify", str(path), "--unsigned", "--quiet"]) == 14
    (store.root / "redaction.key").unlink()
    assert run(["verify", str(path), "--unsigned", "--quiet"]) == 2
    assert "redaction.key is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fail", "pass"])
def test_a_certificate_says_nothing_of_the_machine_that_it_was_made_on(finished, people, name):
    """Its plan is in its folder with whole paths; what is passed on has names alone."""
    folder = finished / name
    said = (folder / "certificate.json").read_text(encoding="utf-8")
    assert str(finished) in (folder / "plan.resolved.yaml").read_text(encoding="utf-8")
    for place in (finished, people.root, Path.home()):
        assert str(place) not in said
    certificate = json.loads(said)
    arms = {arm["arm"]: arm["path"] for arm in certificate["identity"]["arms"]}
    assert arms["original"] == "original"
    assert certificate["reproduction"]["plan"]["data"]["forget"]["path"] == "forget.jsonl"
    assert certificate["about"] == certificate["reproduction"]["plan"]["about"]
    assert set(certificate["identity"]["set_digests"]) == {"forget", "retain"}
    worst = certificate["worst_facts"]
    assert all("said_as_released" in fact for fact in worst)
