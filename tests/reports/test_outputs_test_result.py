"""The in-toto Statement, as its library reads it."""

import json

import pytest
from google.protobuf.json_format import Parse, ParseDict
from hand_made_certificates import honest_certificate
from hand_made_rows import NO_READING
from hostile_texts import hostile_certificate
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from auditor.core.errors import AuditorError
from auditor.core.roles import Role
from reports.test_result import PREDICATE_TYPE, render

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")
EVERY = [*map(honest_certificate, VERDICTS), hostile_certificate()]
EACH = pytest.mark.parametrize("certificate", EVERY, ids=[*VERDICTS, "hostile"])


def predicate(certificate):
    return json.loads(render(certificate))["predicate"]


def everything_passes(certificate):
    rows = tuple(
        row for row in certificate.matrix if row.figures and all(gate.met for gate in row.gates)
    )
    return certificate.model_copy(update={"matrix": rows})


@EACH
def test_the_library_accepts_statement_and_predicate(certificate):
    text = render(certificate)
    statement = Statement.copy_from_pb(Parse(text, statement_pb2.Statement()))
    statement.validate()
    assert statement.pb.predicate_type == PREDICATE_TYPE
    found = ParseDict(json.loads(text)["predicate"], test_result_pb2.TestResult())
    assert found.result in ("PASSED", "WARNED", "FAILED")
    assert found.configuration
    again = type(certificate).model_validate_json(certificate.model_dump_json())
    assert render(again) == text


@EACH
def test_every_attack_is_in_one_list(certificate):
    found = predicate(certificate)
    lists = [found.get(f"{name}Tests", []) for name in ("passed", "warned", "failed")]
    assert sum(map(len, lists)) == len(certificate.matrix) + 1
    assert sum(names.count("verdict") for names in lists) == 1


@pytest.mark.parametrize("verdict", VERDICTS[1:])
def test_what_is_no_pass_has_failed(verdict):
    found = predicate(honest_certificate(verdict))
    assert found["result"] == "FAILED"
    assert found["failedTests"][0] == "verdict"


def test_a_pass_with_open_attacks_warns_and_one_without_passes():
    certificate = honest_certificate("PASS")
    assert predicate(certificate)["result"] == "WARNED"
    assert "quantization/rtn 2 bit" in predicate(certificate)["warnedTests"]
    clean = predicate(everything_passes(certificate))
    assert clean["result"] == "PASSED"
    assert clean["passedTests"][0] == "verdict"
    assert "warnedTests" not in clean
    assert "failedTests" not in clean


def test_a_waived_pass_is_not_plain():
    certificate = everything_passes(honest_certificate("PASS"))
    verdict = certificate.verdict.model_copy(update={"flags": ("WAIVED",)})
    found = predicate(certificate.model_copy(update={"verdict": verdict}))
    assert found["result"] == "WARNED"
    assert found["warnedTests"] == ["verdict"]


def test_a_leak_that_is_only_reported_warns():
    certificate = everything_passes(honest_certificate("PASS"))
    row = certificate.matrix[-1].model_copy(update={"named": True, "role": Role.REPORTED})
    rows = (*certificate.matrix[:-1], row)
    found = predicate(certificate.model_copy(update={"matrix": rows}))
    assert found["result"] == "WARNED"
    assert row.label in found["warnedTests"]


def test_a_mandatory_attack_without_result_fails_whatever_the_verdict_says():
    certificate = everything_passes(honest_certificate("PASS"))
    row = certificate.matrix[0].model_copy(update=NO_READING)
    rows = (row, *certificate.matrix[1:])
    found = predicate(certificate.model_copy(update={"matrix": rows}))
    assert found["result"] == "FAILED"
    assert row.label in found["failedTests"]


def test_subject_is_the_unlearned_model():
    certificate = honest_certificate("PASS")
    (subject,) = json.loads(render(certificate))["subject"]
    arm = next(arm for arm in certificate.identity.arms if arm.arm == "unlearned")
    assert subject == {"name": arm.name, "digest": {"sha256": arm.digest}}
    configuration = predicate(certificate)["configuration"]
    named = {each["name"]: each["digest"]["sha256"] for each in configuration}
    assert named["certificate"] == certificate.certificate_id
    assert named["policy"] == certificate.identity.policy_digest


def test_a_certificate_about_nothing_is_refused():
    certificate = honest_certificate("PASS")
    identity = certificate.identity.model_copy(update={"arms": certificate.identity.arms[1:]})
    with pytest.raises(AuditorError, match="no unlearned model"):
        render(certificate.model_copy(update={"identity": identity}))
