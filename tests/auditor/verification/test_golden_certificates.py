"""Certificates that release 0.1 wrote still follow from their evidence, to the last digit."""

import json
import shutil
from dataclasses import asdict

import pytest
import yaml
from golden import unpack

from auditor.certificate.decision import decide_verdict
from auditor.certificate.derived import derived_parts
from auditor.certificate.files import read_certificate, write_certificate
from auditor.certificate.redaction import redact
from auditor.cli.main import run
from auditor.core.errors import ContradictedError
from auditor.core.hashing import former_digest
from auditor.report import REPORTS
from auditor.store.folder_store import FolderStore
from auditor.verification.load import load_inputs
from auditor.verification.recompute import check_contradiction

DEMOS = {
    ("demo-people", "unlearned"): ("FAIL", 1),
    ("demo-people", "retrained"): ("PASS", 0),
    ("demo-shapes", "unlearned"): ("FAIL", 1),
    ("demo-shapes", "retrained"): ("PASS", 0),
    ("small-people", "certificate"): ("INCONCLUSIVE", 3),
    ("small-shapes", "certificate"): ("NOT AUDITABLE", 3),
}
NF4 = (0.9932229210309914, 55.4037766353107, 0.9434909820556641)
"""Residual knowledge, log e-value for FAIL and lower bound of the demo under NF4."""

WHOLE = [
    ("small-people", "certificate"),
    ("small-people", "redacted"),
    ("small-shapes", "certificate"),
]


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """Folder of each golden audit."""
    root = tmp_path_factory.mktemp("golden")
    names = ("demo-people", "demo-shapes", "small-people", "small-shapes")
    return {name: unpack(name, root / name) for name in names}


def raw(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("audit", "name"), DEMOS)
def test_every_figure_is_worked_out_to_the_last_digit(golden, audit, name):
    """Verdict, residuals, bounds and e-values, as the old code printed them."""
    path = golden[audit] / f"{name}.json"
    content, certificate = raw(path), read_certificate(path)
    inputs = load_inputs(certificate, FolderStore(golden[audit] / "evidence", read_only=True))
    decision = decide_verdict(inputs)
    verdict, code = DEMOS[audit, name]
    parts = derived_parts(inputs, decision)
    assert (decision.verdict, parts["verdict"].exit_code) == (verdict, code)
    assert content["verdict"]["verdict"] == verdict
    assert [flag.value for flag in decision.flags] == content["verdict"]["flags"]
    measured = 0
    for assessment, was in zip(decision.attacks, content["matrix"], strict=True):
        assert (assessment.named, assessment.over_forgotten) == (
            was["named"],
            was["over_forgotten"],
        )
        assert [(g.name, g.met) for g in assessment.gates if g.name != "environment"] == [
            (gate["name"], gate["met"]) for gate in was["gates"]
        ]
        if was["figures"] is None:
            assert assessment.figures is None
            continue
        measured += 1
        figures = asdict(assessment.figures)
        leak = figures.pop("leak")
        figures |= {"leaked": leak["leaked"], "eligible": leak["eligible"]}
        figures |= {"leak_rate": leak["rate"], "leak_upper": leak["upper"]}
        assert {field: figures[field] for field in was["figures"]} == was["figures"]
    assert measured >= 2
    uncertainty = parts["uncertainty"].model_dump(mode="json")
    was = content["uncertainty"]
    assert (uncertainty.pop("baselines"), uncertainty.pop("facts_to_fail")) == ([], None)
    assert {n: v for n, v in uncertainty.items() if n != "facts_needed_basis"} == {
        n: v for n, v in was.items() if n != "facts_needed_basis"
    }
    utility = parts["utility"]
    assert content["utility"]["state"] == (utility.state if utility else "not measured")
    if utility:
        assert utility.log_e_kept == content["utility"]["log_e_kept"]
        assert utility.log_e_lost == content["utility"]["log_e_lost"]


def test_figures_that_the_old_code_printed(golden):
    """A few of them, written down here."""
    rows = {row["attack"] + " " + row["variant"]: row for row in raw(
        golden["demo-people"] / "unlearned.json"
    )["matrix"]}  # fmt: skip
    nf4 = rows["quantization/bnb nf4"]["figures"]
    assert (nf4["rho"], nf4["log_e_fail"], nf4["rho_lower"]) == NF4
    assert nf4["rho_upper"] is None


@pytest.mark.parametrize(("audit", "name"), WHOLE)
def test_verify_accepts_them(golden, audit, name, capsys):
    arguments = ["verify", str(golden[audit] / f"{name}.json"), "--unsigned", "--quiet"]
    assert run(arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "verdict: follows from the evidence" in said
    assert "follows schema 3.1.0" in said
    assert "sentences: not checked" in said


def test_a_signed_envelope_of_release_0_1_holds(golden, capsys):
    folder = golden["small-people"]
    key = str(folder / "auditor.pub.pem")
    assert run(["verify", str(folder / "certificate.dsse.json"), "--key", key, "--quiet"]) == 0
    assert "signature: holds" in capsys.readouterr().out


def test_one_of_schema_3_is_signed_as_it_was_written(golden, tmp_path, capsys):
    source = golden["small-shapes"] / "certificate.json"
    assert run(["keygen", str(tmp_path / "k")]) == 0
    envelope = tmp_path / "signed.dsse.json"
    sign = ["sign", str(source), "--key", str(tmp_path / "k.pem"), "--out", str(envelope)]
    assert run(sign) == 0
    evidence = ["--evidence", str(golden["small-shapes"] / "evidence")]
    key = ["--key", str(tmp_path / "k.pub.pem")]
    assert run(["verify", str(envelope), *key, *evidence, "--quiet"]) == 0
    assert "signature: holds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mandatory", "code"),
    [
        (["none/as-is", "image/quantization"], 1),
        (["none/as-is", "quantization/unet"], 1),
        (["none/as-is", "image/prompt-search"], 1),
    ],
)
def test_gate_decides_under_former_and_present_names(golden, tmp_path, capsys, mandatory, code):
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump({"name": "p", "mandatory": mandatory}))
    certificate = golden["demo-shapes"] / "unlearned.json"
    assert run(["gate", str(certificate), "--policy", str(policy), "--unsigned", "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    searched = mandatory[1] == "image/prompt-search"
    assert report["missing"] == (["prompting/adversarial-prefix"] if searched else [])


@pytest.mark.parametrize("form", sorted(REPORTS.names()))
def test_every_report_shows_them(golden, form):
    certificate = read_certificate(golden["small-people"] / "certificate.json")
    text = REPORTS.get(form).render(certificate, None)
    if isinstance(text, bytes):
        assert text.startswith(b"%PDF")
        return
    assert certificate.verdict.verdict in text or form == "test-result"
    if form in ("html", "markdown", "junit"):
        assert "could be concluded for the margin 0.1" in text, "its claim, as it was written"


def test_they_are_compared_and_ranked(golden, tmp_path, capsys):
    folder = golden["demo-people"]
    one, other = folder / "unlearned.json", folder / "retrained.json"
    assert run(["compare", str(one), str(other), "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    assert comparison["a"]["verdict"] == "FAIL"
    assert comparison["paired"]["possible"] is False
    for path in (one, other):
        shutil.copy(path, tmp_path)
    assert run(["leaderboard", str(tmp_path), "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    verdicts = [entry["verdict"] for group in groups for entry in group["entries"]]
    assert sorted(verdicts) == ["FAIL", "PASS"]


def test_redacted_today_it_follows_from_its_evidence(golden, tmp_path):
    """A certificate of schema 3 that was redacted by this release is one of schema 4."""
    store = FolderStore(golden["small-people"] / "evidence", read_only=True)
    before = read_certificate(golden["small-people"] / "certificate.json")
    write_certificate(redact(before, store.redaction_key()), tmp_path / "redacted.json")
    check_contradiction(read_certificate(tmp_path / "redacted.json"), store)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda c: c["verdict"].update(verdict="PASS", exit_code=0), "verdict does not follow"),
        (
            lambda c: c["matrix"][1]["figures"].update(rho=0.01),
            r"matrix\.1\.readings\.0\.figures\.rho",
        ),
        (lambda c: c["matrix"][4]["side_figures"][0].update(value=0.5), "side_figures"),
        (lambda c: c["matrix"][4]["curves"][0]["points"].pop(), "curves"),
        (lambda c: c["matrix"][4]["gates"][1].update(met=True), r"gates\.1\.met"),
        (lambda c: c["matrix"][5]["explanation"].update(overall=0.1), "explanation"),
        (lambda c: c["matrix"][1].update(mandatory=False), "role"),
        (lambda c: c["matrix"][1]["notes"]["unlearned"].update(probe="x"), "notes"),
        (lambda c: c["controls"][-1].update(passed=True), "found"),
        (lambda c: c["positive_controls"][0].update(must_find="hidden"), "found"),
        (lambda c: c["worst_facts"].pop(0), "worst_facts"),
        (lambda c: c["uncertainty"].update(residual_lower=0.0), "residual_lower"),
    ],
)
def test_values_are_compared(golden, tmp_path, edit, said):
    content = raw(golden["small-people"] / "certificate.json")
    edit(content)
    check(content, golden, tmp_path, said)


def check(content, golden, tmp_path, said):
    kept = {n: v for n, v in content.items() if n not in ("certificate_id", "timing")}
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(content | {"certificate_id": former_digest(kept)}))
    store = FolderStore(golden["small-people"] / "evidence", read_only=True)
    with pytest.raises(ContradictedError, match=said):
        check_contradiction(read_certificate(path), store)
