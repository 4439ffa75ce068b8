"""`auditor import` and `auditor certify`: what logs of other tools show, as a certificate."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import written_logs
import yaml
from written_logs import Known

from auditor.api.certificates import gate, load_certificate, verify
from auditor.api.logs import certify, import_logs
from auditor.core.errors import AuditorError, ContradictedError
from auditor.data.logs.layouts import LAYOUTS
from auditor.data.logs.log import Tasks
from auditor.report import REPORTS
from auditor.statistics import forget_quality

BARE = """
import sys
from importlib.abc import MetaPathFinder

class Bare(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "pandas", "transformers", "rouge_score", "datasets"}:
            raise ModuleNotFoundError(name, name=name.partition(".")[0])

sys.meta_path.insert(0, Bare())
from auditor.cli.main import run
for words in (line.split() for line in sys.argv[1:]):
    print(run(words), file=sys.stderr)
"""
"""Runs commands where nothing is installed that opens a model."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    made = {"original": (True, 0), "knows": (True, 1), "retrained": (False, 2), "clean": (False, 3)}
    return {
        name: written_logs.tofu(folder / name / "eval_log_aggregated.json", Known(knows=k, seed=s))
        for name, (k, s) in made.items()
    }


def certified(logs, unlearned, out, policy="logs"):
    import_logs(
        "tofu",
        unlearned=logs[unlearned],
        original=logs["original"],
        retrained=logs["retrained"],
        out=out / "logs",
    )
    return certify(out / "logs", policy=policy, out=out)


class TestTofu:
    def test_a_model_that_knows_fails(self, logs, tmp_path):
        found = certified(logs, "knows", tmp_path)
        assert found.verdict.verdict == "FAIL"
        assert found.verdict.claim.code == "more_in_logs"
        assert found.limitations[0].code == "evidence_is_logs"
        assert {w.code for w in found.warnings} >= {"logs_stand_for_models"}
        assert all(name.startswith("log/") for arm in found.identity.arms for name in arm.files)
        checked = verify(tmp_path / "certificate.json", models={"unlearned": logs["knows"]})
        assert checked.jobs == 3

    def test_a_retrained_one_passes_where_the_policy_accepts_logs(self, logs, tmp_path):
        found = certified(logs, "clean", tmp_path)
        assert found.verdict.verdict == "PASS"
        assert found.verdict.claim.code == "no_more_in_logs"
        assert verify(tmp_path / "certificate.json").jobs == 3
        gated = gate(tmp_path / "certificate.json", "release-gate")
        assert gated.verdict.verdict == "INCONCLUSIVE"
        assert "quantization/bnb int8" in gated.missing
        for name in ("markdown", "html", "junit", "model-card"):
            page = REPORTS.get(name).render(load_certificate(tmp_path / "certificate.json"), None)
            assert "As the logs have it" in page
            assert name != "html" or "They name no file of a model." in page

    @pytest.mark.parametrize(
        "policy", ["release-gate", pytest.param(None, marks=pytest.mark.nightly)]
    )
    def test_attacks_that_are_demanded_are_listed_as_not_run(self, logs, tmp_path, policy):
        found = certified(logs, "clean", tmp_path, policy)
        assert found.verdict.verdict == "INCONCLUSIVE"
        missing = [row for row in found.matrix if row.attack != "none/as-is"]
        assert {row.status for row in missing} == {"unavailable"}
        assert {row.reason.code for row in missing} == {"models_are_not_there"}
        assert {row.role for row in missing} == {"mandatory"}
        assert "prompting/original-tokenizer" in {row.attack for row in missing}
        assert "policy_wants_models" in {reason.code for reason in found.verdict.reasons}
        assert verify(tmp_path / "certificate.json").jobs == 3

    def test_nothing_passes_where_the_text_around_the_question_differs(self, logs, tmp_path):
        file = tmp_path / "eval_log_aggregated.json"
        file.write_text(logs["clean"].read_text().replace('"Question: ', '"[INST] '))
        found = certified(logs | {"clean": file}, "clean", tmp_path)
        assert found.verdict.verdict == "INCONCLUSIVE"
        assert "asked_in_other_tokens" in {reason.code for reason in found.verdict.reasons}
        assert found.reproduction.prompts.shown[0].text.startswith("Question: ")
        assert verify(tmp_path / "certificate.json").jobs == 3

    def test_a_plan_may_not_leave_out_what_was_evaluated(self, logs, tmp_path):
        certified(logs, "clean", tmp_path)
        plan, facts = tmp_path / "logs" / "plan.yaml", tmp_path / "logs" / "facts" / "forget.jsonl"
        facts.write_text("\n".join(facts.read_text().splitlines()[:40]))
        with pytest.raises(AuditorError, match="20 of the facts in the logs are in no set"):
            certify(plan, policy="logs", out=tmp_path)
        assert not (tmp_path / "certificate.json").exists()
        content = yaml.safe_load(plan.read_text())
        other = {"retrained": [], "reference": content["retrained"]}
        plan.write_text(yaml.safe_dump(content | other))
        with pytest.raises(AuditorError, match="no log of a retrained model"):
            certify(plan, policy="logs", out=tmp_path)

    def test_a_certificate_that_hides_the_logs_is_refused(self, logs, tmp_path):
        found = certified(logs, "clean", tmp_path)
        limitations = found.limitations[1:]
        hidden = found.model_copy(update={"limitations": limitations}).named()
        file = tmp_path / "hidden.json"
        file.write_text(json.dumps(hidden.document))
        with pytest.raises(ContradictedError, match="limitations"):
            verify(file, store=tmp_path / "evidence")

    def test_nothing_that_opens_models_is_needed(self, logs, tmp_path):
        arms = f"--unlearned {logs['knows']} --original {logs['original']}"
        commands = [
            f"import tofu {arms} --retrained {logs['retrained']} --out {tmp_path}/logs",
            f"certify {tmp_path}/logs --policy logs --out {tmp_path} --json -q",
            f"verify {tmp_path}/certificate.json --unsigned",
        ]
        done = subprocess.run(
            [sys.executable, "-c", BARE, *commands], capture_output=True, text=True, check=True
        )
        assert [line for line in done.stderr.splitlines() if line.isdigit()] == ["0", "1", "0"]


OTHERS = {
    "open-unlearning": (written_logs.open_unlearning, {}),
    "open-unlearning muse": (written_logs.open_unlearning_muse, {}),
    "muse": (written_logs.muse, {}),
    "rwku": (written_logs.rwku, {}),
    "lm-eval": (
        partial(written_logs.lm_eval, facts=100),
        {"forget_tasks": ["wmdp_made_up"], "retain_tasks": ["mmlu_made_up"]},
    ),
}


@pytest.mark.parametrize(
    ("name", "knows", "verdict"),
    [
        ("open-unlearning", True, "FAIL"),
        ("open-unlearning", False, "PASS"),
        ("muse", False, "PASS"),
        ("rwku", True, "FAIL"),
        ("lm-eval", True, "FAIL"),
        pytest.param("open-unlearning muse", True, "FAIL", marks=pytest.mark.nightly),
        pytest.param("open-unlearning muse", False, "PASS", marks=pytest.mark.nightly),
        pytest.param("muse", True, "FAIL", marks=pytest.mark.nightly),
        pytest.param("rwku", False, "PASS", marks=pytest.mark.nightly),
        pytest.param("lm-eval", False, "PASS", marks=pytest.mark.nightly),
    ],
)
def test_logs_of_other_tools(tmp_path, name, knows, verdict):
    write, options = OTHERS[name]
    arms = {"unlearned": knows, "original": True, "retrained": False}
    paths = {
        arm: write(tmp_path / arm, Known(knows=known, seed=seed))
        for seed, (arm, known) in enumerate(arms.items())
    }
    import_logs(name.split()[0], **paths, out=tmp_path / "logs", **options)
    found = certify(tmp_path / "logs", policy="logs", out=tmp_path)
    assert found.verdict.verdict == verdict
    assert verify(tmp_path / "certificate.json").jobs == 3
    hazardous = name == "lm-eval"
    assert found.redaction == ("keyed digests" if hazardous else "none")
    asked = written_logs.question("forget", 0)
    for page in ("certificate.json", "certificate.html"):
        assert (asked in (tmp_path / page).read_text(encoding="utf-8")) is not hazardous
    privleak = {f.params["attack"]: f for f in found.matrix[0].side_figures if f.against}
    if name == "open-unlearning":
        expected = 125 if knows else 0
        assert privleak["mia_min_k"].value == pytest.approx(expected)
        assert found.uncertainty.forget_quality
    if name == "muse":
        assert privleak["forget_holdout_Min-40%"].value == pytest.approx(60 if knows else 0)


class TestPublishedLogs:
    """Phi-1.5, as TOFU published it."""

    @pytest.fixture(scope="class")
    def published(self, shared_data):
        return {
            name: shared_data / "logs" / f"ft_epoch5_lr2e-05_phi_{name}.json"
            for name in ("full_wd0.01", "full_wd0", "retain90_wd0.01", "retain90_wd0")
        }

    @pytest.mark.parametrize(
        ("unlearned", "verdict"), [("full_wd0.01", "FAIL"), ("retain90_wd0", "PASS")]
    )
    def test_full_fails_and_retrained_does_not(self, published, tmp_path, unlearned, verdict):
        arms = {"original": "full_wd0.01", "retrained": "retain90_wd0.01", "clean": unlearned}
        found = certified({arm: published[name] for arm, name in arms.items()}, "clean", tmp_path)
        assert found.verdict.verdict == verdict
        quality = found.uncertainty.forget_quality[0].p_value
        if verdict == "FAIL":
            assert quality == pytest.approx(2.194e-16, rel=5e-4)
            figures = {f.of: f.value for f in found.matrix[0].side_figures if "truth" not in str(f)}
            assert figures["retrained-0"] == pytest.approx(0.532, abs=5e-4)
        else:
            assert quality > 0.99

    def test_the_other_pair_has_the_other_forget_quality(self, published):
        ratios = [
            np.array([f.k["truth-ratio"] for f in read(published[name]).of("forget")])
            for name in ("full_wd0", "retain90_wd0")
        ]
        assert forget_quality(*ratios).p_value == pytest.approx(5.100e-17, rel=5e-4)


def read(file, layout="tofu"):
    return LAYOUTS[layout].read({file.name: file}, Tasks())
