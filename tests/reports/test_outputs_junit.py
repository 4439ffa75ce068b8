"""The JUnit XML, as the library and the rules of junit-10.xsd have it."""

import xml.etree.ElementTree as ET

import pytest
from hand_made_certificates import honest_certificate
from hand_made_rows import NO_READING
from hostile_texts import hostile_certificate
from junitparser import Error, Failure, JUnitXml, Skipped

from auditor.core.messages import message, written
from auditor.core.roles import Role, Status
from auditor.report import Signatures
from reports.junit import render

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")
EVERY = [*map(honest_certificate, VERDICTS), hostile_certificate()]
NAMES = [*VERDICTS, "hostile"]

# what junit-10.xsd of the Jenkins xUnit plugin allows of what is used here
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped", "system-out"},
}
ATTRIBUTES = {
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message", "type"},
}
REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors"},
    "property": {"name", "value"},
    "testcase": {"name"},
}


def suite(certificate):
    (found,) = JUnitXml.fromstring(render(certificate))
    return found


def cases(certificate):
    """Result of each test case by its name and class; the verdict's is among them."""
    found = {}
    for case in suite(certificate):
        assert len(case.result) <= 1
        found[f"{case.classname} {case.name}"] = case.result[0] if case.result else None
    return found


def changed_row(verdict="PASS", index=1, **changes):
    """An otherwise honest certificate, one attack of which is different."""
    certificate = honest_certificate(verdict)
    row = certificate.matrix[index].model_copy(update=changes)
    rows = (*certificate.matrix[:index], row, *certificate.matrix[index + 1 :])
    return certificate.model_copy(update={"matrix": rows}), row.label


@pytest.mark.parametrize("certificate", EVERY, ids=NAMES)
def test_form_is_that_of_the_schema(certificate):
    root = ET.fromstring(render(certificate))  # noqa: S314 - made two lines above
    assert root.tag == "testsuites"
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        assert set(element.attrib) <= ATTRIBUTES.get(element.tag, set())
        assert set(element.attrib) >= REQUIRED.get(element.tag, set())


@pytest.mark.parametrize("certificate", EVERY, ids=NAMES)
def test_equal_certificates_give_equal_text(certificate):
    again = type(certificate).model_validate_json(certificate.model_dump_json())
    assert render(certificate) == render(again)


@pytest.mark.parametrize("certificate", EVERY, ids=NAMES)
def test_counts_are_those_of_the_cases(certificate):
    found = suite(certificate)
    results = [r for case in found for r in case.result]
    assert found.tests == len(certificate.matrix) + 1
    assert found.failures == sum(isinstance(r, Failure) for r in results)
    assert found.errors == sum(isinstance(r, Error) for r in results)
    assert found.skipped == sum(isinstance(r, Skipped) for r in results)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_only_a_pass_is_green(verdict):
    result = cases(honest_certificate(verdict))["auditor verdict"]
    assert (result is None) == (verdict == "PASS")
    if result is not None:
        assert result.type == verdict
    found = suite(honest_certificate(verdict))
    assert (found.failures + found.errors == 0) == (verdict == "PASS")


def test_a_broken_audit_is_an_error():
    broken = honest_certificate("INCONCLUSIVE")
    broken = broken.model_copy(
        update={"verdict": broken.verdict.model_copy(update={"exit_code": 4})}
    )
    assert isinstance(cases(broken)["auditor verdict"], Error)


@pytest.mark.parametrize("role", Role)
def test_result_of_each_outcome_and_role(role):
    part, mandatory = {"role": role}, role is Role.MANDATORY
    gone = {**NO_READING, "reason": message("gpu_missing")}
    expected = {
        "leak": ({"named": True}, Failure),
        "failed": ({"status": "failed", **gone}, Error),
        "unavailable": ({"status": "unavailable", **gone}, Error if mandatory else Skipped),
        "undecided": (NO_READING, Failure if mandatory else type(None)),
    }
    for kind, (changes, result) in expected.items():
        certificate, label = changed_row(**part, **changes)
        found = cases(certificate)[label]
        assert type(found) is result, kind
        if found is not None:
            assert found.type == kind


def test_an_open_attack_says_that_it_is_no_pass():
    certificate, label = changed_row(role=Role.ADVISORY, **NO_READING)
    (case,) = [c for c in suite(certificate) if f"{c.classname} {c.name}" == label]
    assert "not a pass" in case.system_out


def test_properties_say_which_certificate():
    certificate = honest_certificate("FAIL")
    found = {p.name: p.value for p in suite(certificate).properties()}
    assert found["verdict"] == "FAIL"
    assert found["certificate_id"] == certificate.certificate_id
    assert found["signatures"] == "Not signed."
    signed = ET.fromstring(render(certificate, Signatures(("abc",), checked=False)))  # noqa: S314
    said = signed.find(".//property[@name='signatures']").get("value")
    assert "abc" in said
    assert "NOT checked" in said


@pytest.mark.parametrize("code", [0, 1, 8, 11, 0x1B, 0x7F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF, 0x202E])
def test_what_xml_cannot_hold_is_shown(code):
    certificate, _ = changed_row(
        variant=f"a{chr(code)}b", reason=written(chr(code)), status=Status.FAILED
    )
    (case,) = [c for c in suite(certificate) if c.name.startswith("a") and c.name.endswith("b")]
    assert chr(code) not in case.name
    assert len(case.name) > 2
