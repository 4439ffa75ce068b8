"""Positive controls in audits: what is found and blocked, and that a kill changes nothing."""

import json
import signal
import time

import pytest
from click.testing import CliRunner

from auditor.api.auditing import audit as audit_to_files
from auditor.attack import ATTACKS, Attack, attack
from auditor.certificate.build import NO_CONTROLS
from auditor.cli.plan import command as plan_command
from auditor.cli.plan_options import plan_from
from auditor.core.errors import ContradictedError, MeasurementError
from auditor.core.progress import SilentProgress
from auditor.core.quiet import quiet_libraries
from auditor.core.records import Record
from auditor.positive_controls.control_models import ControlModels
from auditor.store.folder_store import FolderStore
from auditor.verification.evidence import check_changed
from auditor.verification.recompute import check_contradiction


def run(plan, out, store=None):
    return audit_to_files(plan, out=out, store=store).certificate


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store for the audits of this module: nothing is made or measured twice."""
    return tmp_path_factory.mktemp("kept")


def outcomes(certificate):
    """Label to whether its attack found its control, and the parameters of the message."""
    for part in certificate.positive_controls:
        assert part.message.code == f"positive_control_{'found' if part.found else 'missed'}"
    return {
        part.attack: (part.found, part.message.params) for part in certificate.positive_controls
    }


@pytest.mark.slow
@pytest.mark.nightly
def test_all_find_their_control_and_a_retrained_model_still_passes(passing_plan, tmp_path):
    formats = {"format": ["int8", "nf4", "fp4"]}
    plan = passing_plan(
        attacks=[
            {"attack": "quantization/bnb", "parameters": formats},
            {"attack": "tampering/graft"},
        ],
        policy={"mandatory": ["none/as-is", "quantization/bnb", "tampering/graft interfaces"]},
        metrics={"reported": []},
        controls=True,
    )
    certificate = run(plan, tmp_path)
    found = outcomes(certificate)
    assert certificate.verdict.verdict == "PASS"
    assert {label: passed for label, (passed, _) in found.items()} == {
        "none/as-is full precision": True,
        "quantization/bnb int8": True,
        "quantization/bnb nf4": True,
        "quantization/bnb fp4": True,
        "tampering/graft interfaces": True,
    }
    held_to = found["none/as-is full precision"][1]["held_to"]
    assert held_to["kind"] == "wording"
    assert held_to["left"] <= 0.05, "by the primary metric nothing is left"
    assert held_to["rho"] > 0.5, "and yet it is said"
    assert found["quantization/bnb int8"][1]["held_to"]["kind"] == "visible"
    for format_ in ("nf4", "fp4"):
        held_to = found[f"quantization/bnb {format_}"][1]["held_to"]
        assert (held_to["kind"], held_to["grid"]) == ("obfuscated", format_)
        assert held_to["rho"] == pytest.approx(1.0, abs=0.005)
    held_to = found["tampering/graft interfaces"][1]["held_to"]
    assert held_to["kind"] == "head"
    assert held_to["left"] <= 0.05
    assert held_to["rho"] > 0.9
    check_contradiction(certificate, FolderStore(tmp_path / "evidence", read_only=True))


def test_controls_follow_from_the_evidence_on_their_models(blind, small_plan, tmp_path, kept):
    """Both a control that passed and one that did not are worked out again."""
    policy = {"mandatory": ["none/as-is", "test/blind"]}
    certificate = run(small_plan(attacks=[{"attack": "test/blind"}], policy=policy), tmp_path, kept)
    store = FolderStore(kept, read_only=True)
    assert [p.required for p in certificate.positive_controls] == ["wording", "visible"]
    check_contradiction(certificate, store)
    assert check_changed(certificate, store, SilentProgress()) == len(certificate.evidence.jobs)
    parts = tuple(part.model_copy(update={"found": True}) for part in certificate.positive_controls)
    forged = certificate.model_copy(update={"positive_controls": parts})
    with pytest.raises(ContradictedError, match=r"positive_controls\.\d+\.found: it says True"):
        check_contradiction(forged, store)
    kept_one = tuple(part for part in certificate.positive_controls if part.found)
    forged = certificate.model_copy(update={"positive_controls": kept_one})
    with pytest.raises(ContradictedError, match="other attacks than were held to one: test/blind"):
        check_contradiction(forged, store)
    unasked = {"positive_controls": (), "positive_controls_missing": NO_CONTROLS.missing}
    with pytest.raises(ContradictedError, match="the plan asks for them"):
        check_contradiction(certificate.model_copy(update=unasked), store)
    visible = certificate.positive_controls[0].visible.model_copy(update={"kind": "obfuscated"})
    part = certificate.positive_controls[0].model_copy(update={"visible": visible})
    forged = certificate.model_copy(
        update={"positive_controls": (part, *certificate.positive_controls[1:])}
    )
    with pytest.raises(ContradictedError, match=r"positive_controls\.0\."):
        check_contradiction(forged, store)


TRIED = 2
"""Formats of prompts that are tried on the original before the audit."""


@pytest.fixture
def blind():
    """An attack that sees a whole set of facts or nothing: what is half there, it misses."""

    @attack("test/blind")
    class Blind(Attack):
        """Call everything known where most is known, and nothing where it is not."""

        @property
        def variant(self):
            return "all or nothing"

        def measure(self, model, context):
            rows = context.evaluator.evaluate(model, ("forget",))
            known = float(sum(row.k for row in rows) / len(rows) > 0.6)
            return Record(rows=tuple(row._replace(k=known) for row in rows))

    yield Blind
    ATTACKS.unregister("test/blind")


def test_an_attack_that_does_not_find_its_control_blocks_a_pass(blind, small_plan, tmp_path, kept):
    policy = {"mandatory": ["none/as-is", "test/blind"]}
    metrics = {"deciding": [], "reported": []}  # so few facts are not enough for two metrics
    plan = small_plan(attacks=[{"attack": "test/blind"}], policy=policy, metrics=metrics)
    certificate = run(plan, tmp_path, kept)
    found, params = outcomes(certificate)["test/blind all or nothing"]
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    assert certificate.verdict.exit_code == 3
    assert outcomes(certificate)["none/as-is full precision"][0] is True
    assert found is False
    assert params["held_to"]["kind"] == "visible"
    assert params["held_to"]["rho"] == pytest.approx(0.0, abs=0.005)
    reasons = [r.params for r in certificate.verdict.reasons if r.code.startswith("positive_")]
    assert reasons == [params]
    row = next(row for row in certificate.matrix if row.attack == "test/blind")
    unmet = [gate.name for gate in row.gates if not gate.met]
    assert unmet == ["positive_control"], "nothing else tells that it is blind"

    again = run(plan.model_copy(update={"controls": False}), tmp_path, kept)
    assert again.verdict.verdict == "PASS", "without controls nobody would know"


@pytest.mark.nightly
def test_an_attack_that_fails_on_its_control_has_not_found_it(blind, small_plan, tmp_path):
    def measure(self, model, context):
        if "positive-controls" in str(model.location.model):
            raise MeasurementError("it breaks")
        return blind.whole(self, model, context)

    blind.whole, blind.measure = blind.measure, measure
    policy = {"mandatory": ["none/as-is", "test/blind"]}
    plan = small_plan(attacks=[{"attack": "test/blind"}], policy=policy)
    found, params = outcomes(run(plan, tmp_path))["test/blind all or nothing"]
    assert found is False
    assert params["held_to"]["rho"] is None
    reason = params["held_to"]["reason"]["params"]["reason"]
    assert reason["params"] == {"type": "MeasurementError", "error": "it breaks"}


def test_what_cannot_be_obfuscated_is_said_and_the_visible_control_decides(
    small_plan, tmp_path, kept, monkeypatch
):
    whole = ControlModels.make_control_model

    def make(self, kind, grid=None):
        if grid is not None:
            raise MeasurementError("no room in these cells.")
        return whole(self, kind, grid)

    monkeypatch.setattr(ControlModels, "make_control_model", make)
    found, params = outcomes(run(small_plan(), tmp_path, kept))["quantization/bnb nf4"]
    assert found is True
    assert params["held_to"]["kind"] == "visible"
    assert params["missing"]["params"]["error"] == "no room in these cells."


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"controls": None}, "positive_controls_not_asked"),
        ({"controls": False, "profile": None}, "positive_controls_not_asked"),
        ({"data": "forget"}, "retain_set_missing"),
        ({"original": "retrained-1", "unlearned": "original"}, "nothing_known_to_suppress"),
    ],
)
def test_not_run_and_why(changes, code, small, small_plan, tmp_path):
    def spec(name):
        return {"path": str(small.model_path(name)), "dtype": "float32"}

    if "data" in changes:
        changes = {"data": {"forget": str(small.facts("forget"))}}
    changes = {k: spec(v) if k in ("original", "unlearned") else v for k, v in changes.items()}
    changes = {"attacks": [], "policy": {"mandatory": ["none/as-is"]}, **changes}
    certificate = run(small_plan(**changes), tmp_path)
    assert certificate.positive_controls == ()
    assert certificate.positive_controls_missing.code == code
    assert not (tmp_path / "evidence" / "positive-controls").exists()


def test_the_profile_exhaustive_runs_controls_unless_told_otherwise(small_plan):
    for profile, controls, runs in (
        ("exhaustive", None, True),
        ("standard", None, False),
        ("quick", True, True),
        ("exhaustive", False, False),
    ):
        assert small_plan(profile=profile, controls=controls).runs_controls == runs


def test_the_option_may_stand_beside_a_plan_file(small_plan, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(json.dumps(small_plan(controls=None).model_dump(mode="json")))
    for given in (True, False, None):
        assert plan_from({"plan_file": file, "controls": given, "policy": None}).controls is given


def test_plan_says_what_the_controls_cost(small_plan, tmp_path):
    for controls in (True, False):
        file = tmp_path / "plan.yaml"
        file.write_text(json.dumps(small_plan(controls=controls).model_dump(mode="json")))
        arguments = [str(file), "--out", str(tmp_path), "--no-pilot", "--quiet", "--json"]
        shown = CliRunner().invoke(plan_command, arguments, catch_exceptions=False)
        cost = json.loads(shown.stdout)["controls"]
        assert (cost is not None) == controls
        if cost:  # visible: both attacks; in other words: as it is; within NF4's cells: both
            assert cost["label"] == "positive controls (3 models)"
            assert cost["jobs"] == 5
            assert cost["forward_tokens"] > 0


def _audit(plan, out):
    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    run(plan, out)


def _content(out):
    certificate = json.loads((out / "certificate.json").read_text())
    del certificate["timing"]
    return certificate


@pytest.mark.slow
@pytest.mark.nightly
def test_killed_between_controls_the_certificate_is_the_same(small_plan, tmp_path, server):
    plan = small_plan(attacks=[], policy={"mandatory": ["none/as-is"]})
    out, whole = tmp_path / "out", tmp_path / "whole"

    def audit_alone():
        """In a process like those that are killed: another one may round sums otherwise."""
        process = server.Process(target=_audit, args=(plan, out))
        process.start()
        process.join()
        assert process.exitcode == 0

    audit_alone()
    out.rename(whole)

    def finished(folder):
        return len(list((out / "evidence" / folder).glob("??/*")))

    for reached in (
        lambda: finished("jobs") == TRIED + 3,  # the audit is done, the first control is not
        lambda: finished("jobs") == TRIED + 4,  # the first is measured, the second is not made
    ):
        process = server.Process(target=_audit, args=(plan, out))
        process.start()
        while not reached():
            assert process.exitcode is None, "it was over before it could be killed"
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not (out / "certificate.json").exists()
    audit_alone()
    content = _content(out)
    assert content == _content(whole)
    jobs = {folder.name: folder for folder in (whole / "evidence" / "jobs").glob("??/*")}
    said = content["evidence"]["jobs"].keys()
    assert said == jobs.keys(), "those on controls, formats and weights are under the digest, too"
    asked = [json.loads((folder / "job.json").read_text()) for folder in jobs.values()]
    assert len({json.dumps(job["format"]) for job in asked if "format" in job}) == TRIED
    assert finished("jobs") == len(jobs) == TRIED + 6
