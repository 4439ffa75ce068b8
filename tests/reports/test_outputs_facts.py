"""Which form names facts: their ids may be names of people."""

import pytest
from hand_made_certificates import honest_certificate, told

from auditor.certificate.schema import Certificate
from auditor.cli.console import OUT, print_verdict
from auditor.report import REPORTS
from reports.messages import counted

LEAKED = [f"ada-quill/{n}" for n in range(96)]
WITHOUT_NAMES = ("markdown", "junit", "sarif", "model-card", "test-result")

WITH_AN_EXAMPLE = ("html", "full", "summary", "text", "pdf")


def leaking(verdict, **baseline):
    found = honest_certificate(verdict)
    said = told(
        "facts_leak", leaked=96, facts=96, ids=LEAKED, attacks=["quantization/bnb nf4"], **baseline
    )
    said["quoted"] = ["ids"]
    part = found.verdict.model_dump(mode="json")
    content = found.model_dump(mode="json")
    content["verdict"] = part | {"reasons": [*part["reasons"], said]}
    return Certificate.model_validate(content)


def named(certificate):
    yield from (fact.fact for fact in certificate.worst_facts)
    yield from (fact.entity for fact in certificate.worst_facts)
    yield from (fact.prompt for fact in certificate.worst_facts)
    yield from (entity.entity for entity in certificate.worst_entities)


@pytest.mark.parametrize("form", WITHOUT_NAMES)
@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_other_forms_than_the_page_name_no_fact(form, verdict):
    certificate = leaking(verdict)
    text = REPORTS.get(form).render(certificate, None)
    assert "ada-quill" not in text
    assert not [name for name in named(certificate) if name in text]


def test_every_form_is_looked_at():
    assert {*WITHOUT_NAMES, *WITH_AN_EXAMPLE} == set(REPORTS.names())


def test_they_count_them():
    certificate = leaking("FAIL")
    count = "96 of 96 facts leak whole (under quantization/bnb nf4)."
    assert count in REPORTS.get("markdown").render(certificate, None)
    assert count in REPORTS.get("junit").render(certificate, None)


@pytest.mark.parametrize(("verdict", "most", "on_page"), [("PASS", 96, 96), ("FAIL", 3, 12)])
def test_a_pass_names_every_one_and_another_verdict_some(verdict, most, on_page):
    certificate = leaking(verdict)
    with OUT.capture() as shown:
        print_verdict(certificate.verdict)
    said = shown.get()
    assert sum(f"“{name}”" in said for name in LEAKED) == most
    assert ("and 93 more" in said) == (most == 3)
    assert "cut:" not in said
    page = REPORTS.get("html").render(certificate, None)
    assert sum(f"“{name}”" in page for name in LEAKED) == on_page


@pytest.mark.parametrize(
    ("baseline", "words"),
    [(None, "a second retrained model would show"), (3, "up to 3 facts do so")],
)
def test_beside_the_leaks_stands_what_chance_does(baseline, words):
    *_, said = counted(leaking("PASS", baseline=baseline).verdict.reasons)
    assert words in str(said)
