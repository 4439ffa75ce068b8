"""The SARIF log, as the library reads it and as the standard's schema has it."""

import json
import re

import pytest
from hand_made_certificates import honest_certificate
from hostile_texts import hostile_certificate
from sarif_pydantic import Sarif

from auditor.core.roles import Role
from reports.sarif import render
from reports.threats import threats

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")
EVERY = [*map(honest_certificate, VERDICTS), hostile_certificate()]
EACH = pytest.mark.parametrize("certificate", EVERY, ids=[*VERDICTS, "hostile"])

# what the standard requires of each object used here, and all that it has a name for
REQUIRED = {
    "log": {"version", "runs"},
    "run": {"tool"},
    "rule": {"id"},
    "result": {"message"},
    "invocation": {"executionSuccessful"},
    "notification": {"message"},
}
NAMED = {
    "run": {"tool", "invocations", "artifacts", "results", "properties"},
    "rule": {"id", "shortDescription", "help"},
    "result": {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"},
    "invocation": {"executionSuccessful", "exitCode", "startTimeUtc", "endTimeUtc"}
    | {"toolExecutionNotifications"},
    "notification": {"associatedRule", "level", "message"},
    "artifact": {"location", "roles", "description", "properties"},
}


def log(certificate):
    return json.loads(render(certificate))


def run(certificate):
    (found,) = log(certificate)["runs"]
    return found


def messages(value):
    if isinstance(value, dict):
        if set(value) == {"text"}:
            yield value["text"]
        for item in value.values():
            yield from messages(item)
    elif isinstance(value, list):
        for item in value:
            yield from messages(item)


@EACH
def test_the_library_reads_back_what_was_written(certificate):
    text = render(certificate)
    again = Sarif.model_validate_json(text).model_dump_json(
        by_alias=True, exclude_none=True, indent=2
    )
    assert again + "\n" == text
    assert render(type(certificate).model_validate_json(certificate.model_dump_json())) == text


@EACH
def test_objects_hold_what_the_standard_names(certificate):
    content, found = log(certificate), run(certificate)
    assert content["version"] == "2.1.0"
    assert "sarif-schema-2.1.0" in content["$schema"]
    (invocation,) = found["invocations"]
    objects = {
        "run": [found],
        "rule": found["tool"]["driver"]["rules"],
        "result": found["results"],
        "invocation": [invocation],
        "notification": invocation["toolExecutionNotifications"],
        "artifact": found["artifacts"],
    }
    for kind, each in objects.items():
        for item in each:
            assert set(item) >= REQUIRED.get(kind, set())
            assert set(item) <= NAMED[kind]
    rules = objects["rule"]
    assert len({json.dumps(rule, sort_keys=True) for rule in rules}) == len(rules)
    for result in objects["result"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning")
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert found["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
        assert re.fullmatch(r"[A-Za-z0-9_.~/%-]+", place["uri"])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_log_without_results_is_a_pass(verdict):
    certificate = honest_certificate(verdict)
    found = run(certificate)
    assert (found["results"] == []) == (verdict == "PASS")
    assert found["properties"]["verdict"] == verdict
    assert found["properties"]["certificateId"] == certificate.certificate_id


def test_a_leak_is_an_error_and_an_open_mandatory_attack_a_warning():
    certificate = honest_certificate("FAIL")
    levels = {r["message"]["text"].split(" (")[0]: r["level"] for r in run(certificate)["results"]}
    for row in certificate.matrix:
        if row.named:
            assert levels[row.label] == "error"
        elif row.role is Role.MANDATORY and not all(gate.met for gate in row.gates):
            assert levels[row.label] == "warning"
        else:
            assert row.label not in levels


def test_rules_have_the_help_of_the_threats():
    certificate = honest_certificate("FAIL")
    rules = {rule["id"]: rule for rule in run(certificate)["tool"]["driver"]["rules"]}
    assert set(rules) == {row.attack for row in certificate.matrix} | {"auditor/verdict"}
    described = {threat.attack: threat.described for threat in threats(certificate)}
    assert described["none/as-is"] is not None
    assert described["membership/min-k-plus-plus"] is None, "it is not installed"
    for name, threat in described.items():
        if threat is not None:
            text = rules[name]["help"]["text"]
            assert threat.summary in text
            assert f"Threat model: {threat.threat_model}" in text


def test_fingerprints_tell_attacks_apart_and_outlive_a_run():
    one, other = run(honest_certificate("FAIL")), run(honest_certificate("INCONCLUSIVE"))
    prints = [r["partialFingerprints"]["attackAndVariant/v1"] for r in one["results"]]
    assert len(set(prints)) == len(prints)
    assert set(prints) & {r["partialFingerprints"]["attackAndVariant/v1"] for r in other["results"]}


@pytest.mark.parametrize(("code", "successful"), [(0, True), (1, True), (3, True), (4, False)])
def test_invocation_says_whether_the_audit_ran(code, successful):
    certificate = honest_certificate("INCONCLUSIVE")
    verdict = certificate.verdict.model_copy(update={"exit_code": code})
    (found,) = run(certificate.model_copy(update={"verdict": verdict}))["invocations"]
    assert found["executionSuccessful"] is successful
    assert found["exitCode"] == code
    assert found["endTimeUtc"] == certificate.timing.issued


@EACH
def test_no_message_is_a_link_or_a_placeholder(certificate):
    for text in messages(log(certificate)):
        assert "](" not in text
        assert not re.search(r"(?<!\{)(\{\{)*\{[0-9]", text)
    row = certificate.matrix[0].model_copy(
        update={"named": True, "attack": "[x](https://evil.example) {0}"}
    )
    texts = list(messages(log(certificate.model_copy(update={"matrix": (row,)}))))
    assert any("[x] (https" in text and "{{0}}" in text for text in texts)
