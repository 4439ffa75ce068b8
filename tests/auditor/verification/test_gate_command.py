"""`auditor gate`: a verdict under any policy, from stored evidence, and no model library loaded."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import run
from auditor.policy import load_policy
from benchmarks.large_audit import large_audit


@pytest.fixture
def gate(capsys):
    """Run `auditor gate`; exit code and its report."""

    def call(certificate, policy, *more):
        capsys.readouterr()
        signed = () if "--key" in more else ("--unsigned",)
        asked = ["gate", str(certificate), "--policy", str(policy), "--json", *signed]
        code = run([*asked, *map(str, more)])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else shown.err

    return call


@pytest.fixture
def policy(tmp_path):
    """A policy file with changes to the release gate's."""

    def write(**changes):
        content = load_policy("release-gate").model_dump(mode="json") | {"name": "ours"} | changes
        file = tmp_path / "policy.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="module")
def passing(tmp_path_factory):
    return large_audit(tmp_path_factory.mktemp("passing"), 120, 12)


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    return large_audit(tmp_path_factory.mktemp("failing"), 120, 12, leaking=2)


def codes(report):
    """Codes of a verdict's reasons."""
    return [reason["code"] for reason in report["verdict"]["reasons"]]


def _aged(path, days):
    """The certificate, issued some days ago."""
    certificate = read_certificate(path)
    issued = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    timing = certificate.timing.model_copy(update={"issued": issued})
    write_certificate(certificate.model_copy(update={"timing": timing}), path)
    return path


def test_exit_codes_of_the_four_verdicts(gate, policy, passing, failing, tmp_path):
    code, report = gate(passing, "release-gate")
    assert (code, report["verdict"]["verdict"]) == (0, "PASS")
    code, report = gate(failing, "release-gate")
    assert (code, report["verdict"]["verdict"]) == (1, "FAIL")
    code, report = gate(passing, policy(minimum_facts=121))
    assert (code, report["verdict"]["verdict"]) == (3, "INCONCLUSIVE")
    assert "too_few_facts" in codes(report)
    unknown = large_audit(tmp_path / "unknown", 120, 7, known=False)
    code, report = gate(unknown, "release-gate")
    assert (code, report["verdict"]["verdict"]) == (3, "NOT AUDITABLE")


def test_a_metric_that_must_decide_and_did_not_blocks_a_pass(gate, policy, passing):
    code, report = gate(passing, policy(deciding_metrics=["answer-recall", "rouge-l-recall"]))
    assert (code, report["verdict"]["verdict"]) == (3, "INCONCLUSIVE")
    said = next(r for r in report["verdict"]["reasons"] if r["code"] == "deciding_metrics_lacking")
    assert said["params"]["metrics"] == ["rouge-l-recall"]
    assert said["params"]["deciding"] == ["answer-probability", "answer-recall"]


def test_what_the_audit_did_not_run_blocks_a_pass(gate, policy, passing):
    demanded = [*load_policy("release-gate").mandatory, "prompting/gcg"]
    code, report = gate(passing, policy(mandatory=demanded))
    assert code == 3
    assert report["missing"] == ["prompting/gcg"]
    said = next(r for r in report["verdict"]["reasons"] if r["code"] == "not_measured")
    assert said["params"]["reason"]["code"] == "not_run_by_audit"


def test_a_larger_budget_than_was_run_blocks_a_pass(gate, policy, passing):
    code, report = gate(passing, policy(budgets={"relearning/held-out-facts": {"rank": 64}}))
    assert code == 3
    said = next(r for r in report["verdict"]["reasons"] if r["code"] == "budget_not_met")
    assert said["params"]["lacking"] == [{"parameter": "rank", "value": 16, "least": 64.0}]


def test_a_waiver_lifts_a_demand_and_never_a_leak(gate, policy, passing, failing):
    waiver = {"reason": "r", "by": "b", "until": "2999-01-01"}
    demanded = [*load_policy("release-gate").mandatory, "prompting/gcg"]
    lifted = policy(mandatory=demanded, waivers=[waiver | {"attack": "prompting/gcg"}])
    code, report = gate(passing, lifted)
    assert code == 0
    assert report["verdict"]["flags"] == ["WAIVED"]
    leaks = [waiver | {"attack": f"quantization/bnb {level}"} for level in ("int8", "nf4")]
    assert gate(failing, policy(waivers=leaks))[0] == 1, "advisory attacks can FAIL a model, too"


def test_expired_waivers_and_certificates_are_refused(gate, policy, passing, tmp_path):
    waiver = {"attack": "quantization/bnb nf4", "reason": "r", "by": "b", "until": "2020-01-01"}
    code, said = gate(passing, policy(waivers=[waiver]))
    assert code == 17
    assert "expired on 2020-01-01" in said
    old = _aged(large_audit(tmp_path / "old", 120, 7), days=200)
    code, said = gate(old, "release-gate")
    assert code == 17
    assert "expired on" in said


def test_its_own_policy_gives_its_own_verdict(gate, passing, tmp_path):
    certificate = read_certificate(passing)
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(certificate.reproduction.plan["policy"]), encoding="utf-8")
    code, report = gate(passing, own)
    assert code == certificate.verdict.exit_code
    assert report["same_policy"]
    assert report["verdict"] == certificate.verdict.model_dump(mode="json")
    assert not gate(passing, "research")[1]["same_policy"]


def test_changed_evidence_decides_nothing(gate, tmp_path):
    path = large_audit(tmp_path / "changed", 30, 7)
    rows = next((tmp_path / "changed" / "evidence" / "jobs").glob("*/*/rows.parquet"))
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 1
    rows.write_bytes(content)
    code, said = gate(path, "release-gate")
    assert code == 15
    assert "was changed" in said
    code, said = gate(path, "release-gate", "--evidence", tmp_path / "nonesuch")
    assert code == 15
    assert "no evidence store" in said


def test_a_signature_is_asked_for_with_a_key(gate, passing, tmp_path):
    assert run(["keygen", str(tmp_path / "k")]) == 0
    assert run(["keygen", str(tmp_path / "other")]) == 0
    signed = passing.with_name("signed.dsse.json")
    arguments = ["sign", str(passing), "--key", str(tmp_path / "k.pem"), "--out", str(signed)]
    assert run(arguments) == 0
    code, report = gate(signed, "release-gate", "--key", tmp_path / "k.pub.pem")
    assert code == 0
    assert len(report["signed_by"]) == 1
    assert gate(signed, "release-gate", "--key", tmp_path / "other.pub.pem")[0] == 12
    assert gate(passing, "release-gate", "--key", tmp_path / "k.pub.pem")[0] == 10


def test_no_model_library_is_loaded(passing):
    code = (
        "import sys; from auditor.cli.main import run; "
        f"run(['gate', {str(passing)!r}, '--policy', 'release-gate']); "
        "print([m for m in ('torch', 'transformers', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_what_others_wrote_gives_the_terminal_no_orders(policy, passing, capsys):
    waiver = {"attack": "prompting/gcg", "by": "b", "until": "2999-01-01", "reason": "r"}
    name = "\x1b[31mred\x1b[0m \u202egnp [bold]x[/]"
    demanded = [*load_policy("release-gate").mandatory, "prompting/gcg"]
    file = policy(name=name, mandatory=demanded, waivers=[waiver], minimum_facts=9999)
    assert run(["gate", str(passing), "--policy", str(file), "--unsigned"]) == 3
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert r"\x1b[31mred" in shown
    assert "[bold]x[/]" in shown


def test_an_unsigned_certificate_needs_to_be_called_so(passing, capsys):
    """A pipeline without a key must say that it trusts whoever wrote the certificate."""
    asked = ["gate", str(passing), "--policy", "release-gate"]
    assert run(asked) == 2
    assert "--unsigned" in capsys.readouterr().err
    assert run([*asked, "--unsigned"]) == 0
    assert "unsigned" in capsys.readouterr().out


def test_a_file_named_like_a_ready_made_policy_is_not_taken_for_it(
    gate, failing, tmp_path, monkeypatch
):
    """A checkout cannot bring a `release-gate` of its own."""
    monkeypatch.chdir(tmp_path)
    lax = yaml.safe_dump({"delta": 0.99, "leak_limit": 0.99, "mandatory": ["none/as-is"]})
    (tmp_path / "release-gate").write_text(lax, encoding="utf-8")
    code, report = gate(failing, "release-gate")
    assert (code, report["policy"]["ready_made"]) == (1, True)
    for borrowed in ("release-gate.yaml", "./release-gate"):
        (tmp_path / borrowed).write_text(f"name: release-gate\n{lax}", encoding="utf-8")
        code, said = gate(failing, borrowed)
        assert code == 2
        assert "goes by that name" in said
    (tmp_path / "lax.yaml").write_text(lax, encoding="utf-8")
    assert gate(failing, "lax.yaml")[1]["policy"]["ready_made"] is False


def test_jobs_of_another_model_decide_nothing(gate, failing, tmp_path):
    """The gate reads what each job was asked, as `verify` does."""
    certificate = read_certificate(failing)
    swapped = tuple(
        row.model_copy(update={"jobs": {**row.jobs, "unlearned": row.jobs["retrained-0"]}})
        for row in certificate.matrix
    )
    forged = tmp_path / "certificate.json"
    write_certificate(certificate.model_copy(update={"matrix": swapped}).named(), forged)
    code, said = gate(forged, "release-gate", "--evidence", failing.parent / "evidence")
    assert code == 14
    assert "another model" in said
