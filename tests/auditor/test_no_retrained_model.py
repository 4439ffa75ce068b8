import json
import shutil

import pytest

import auditor
from auditor.cli.main import OK, UNDECIDED, USAGE, run
from auditor.core.baselines import Baseline
from auditor.statistics import Verdict

CLAIMS = {
    Baseline.NEVER_SEEN_FACTS: "no_more_than_never_seen_facts",
    Baseline.OWN_NULL: "no_more_than_exchanged_answers",
    Baseline.REFERENCE: "no_more_extractable",
}
ASKED = {"name": "own", "mandatory": ["none/as-is"], "minimum_baseline": "own-null"}


@pytest.fixture(scope="module")
def parts(people):
    return {
        "original": str(people.model_path("original")),
        **{name: str(people.facts(name)) for name in ("forget", "retain", "holdout")},
        "profile": None,
        "policy": ASKED,
        "reports": ("html", "markdown"),
    }


def audited(parts, people, model, store_root, folder, **more):
    return auditor.audit(
        **(parts | {"unlearned": str(people.model_path(model))} | more),
        out=folder,
        store=store_root,
    )


@pytest.mark.parametrize(
    ("baseline", "verdict"),
    [
        (Baseline.NEVER_SEEN_FACTS, Verdict.PASS),
        (Baseline.OWN_NULL, Verdict.PASS),
        (Baseline.REFERENCE, Verdict.PASS),
    ],
)
def test_a_model_that_forgot_passes_under_each_baseline(
    baseline, verdict, parts, people, store_root, tmp_path
):
    more = {"baseline": baseline.value}
    if baseline is Baseline.REFERENCE:
        more = {"reference": [str(people.model_path("retrained-2"))]}
    result = audited(parts, people, "retrained-0", store_root, tmp_path / "out", **more)
    stated = result.certificate.verdict
    assert (result.verdict, stated.baseline) == (verdict, baseline)
    title = f"PASS ({baseline.replace('-', ' ')})"
    assert stated.title == title
    assert stated.claim.code == CLAIMS[baseline]
    assert title in (tmp_path / "out" / "certificate.html").read_text(encoding="utf-8")
    assert title in (tmp_path / "out" / "certificate.md").read_text(encoding="utf-8")
    certificate = str(tmp_path / "out" / "certificate.json")
    here = ["--evidence", str(store_root), "--unsigned"]
    assert run(["verify", certificate, *here]) == OK
    assert run(["gate", certificate, "--policy", "release-gate", *here]) == UNDECIDED


@pytest.mark.parametrize("baseline", [Baseline.NEVER_SEEN_FACTS, Baseline.OWN_NULL])
def test_a_plan_says_of_which_baseline_a_policy_takes_a_pass(baseline, parts, people, tmp_path):
    given = parts | {"unlearned": str(people.model_path("npo_gdr")), "baseline": baseline.value}
    given.pop("reports")

    def said(policy):
        planned = auditor.plan(**(given | {"policy": policy}), pilot=False, out=tmp_path)
        return {warning.code: warning.params for warning in planned.warnings}

    assert said("quick")["baseline_too_weak"] == {
        "policy": "quick",
        "baseline": baseline.value,
        "demanded": "retrained",
    }
    own = said(ASKED)
    assert not own.keys() & {"baseline_too_weak", "too_few_retrained_models"}


def test_another_baseline_in_the_certificate_does_not_verify(parts, people, store_root, tmp_path):
    audited(parts, people, "retrained-0", store_root, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "certificate.json").read_text(encoding="utf-8"))
    assert content["verdict"].pop("baseline") == "never-seen-facts"
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(content), encoding="utf-8")
    assert run(["verify", str(forged), "--evidence", str(store_root), "--unsigned"]) >= 10


def test_the_original_fails_against_facts_that_it_never_saw(parts, people, store_root, tmp_path):
    known = tmp_path / "known"
    shutil.copytree(people.model_path("original"), known)
    result = audited(
        parts | {"unlearned": str(known)}, people, "original", store_root, tmp_path / "out"
    )
    assert result.certificate.verdict.title == "FAIL (never seen facts)"


def test_without_anything_to_compare_with_a_plan_says_what_would_do(parts, people, capsys):
    given = [f"--{name}={parts[name]}" for name in ("original", "forget", "retain")]
    given += [f"--unlearned={people.model_path('retrained-0')}", "--no-pilot"]
    assert run(["plan", *given]) == USAGE
    said = capsys.readouterr().err
    for way_out in ("retrained", "data.holdout", "reference", "auditor baseline build"):
        assert way_out in said
    assert run(["plan", *given, "--baseline=own-null"]) == USAGE
    assert "check it" in capsys.readouterr().err
