"""The HTML certificate, as a parser sees it."""

import base64
import hashlib
import json
import re
from importlib.resources import files
from itertools import pairwise

import pytest
from hand_made_certificates import honest_certificate
from hand_made_rows import NO_READING
from pages import page_of, parsed, part
from parsed_page import Page

from auditor.certificate.schema import Certificate
from auditor.core.messages import message
from auditor.core.text_safety import excerpt, inline, visible
from reports.html import render
from reports.messages import sentence
from reports.number_format import MISSING, number, share, span

FRONT = {"beside", "in-short", "example", "picture", "next", "rests", "unsaid"}
VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")


@pytest.fixture(params=[*VERDICTS, "hostile"])
def page(request):
    return parsed(request.param)


def test_nothing_of_others_runs_and_nothing_is_fetched(page):
    assert len(page.named("script")) == 1
    assert not {"iframe", "object", "embed", "form", "link", "base"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
                assert value.startswith("#"), f"{tag} {name}={value}"
            if name == "style":
                assert "url(" not in value
    policy = next(m["content"] for m in page.named("meta") if "http-equiv" in m)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    [script] = page.scripts
    digest = hashlib.sha256(script.encode()).digest()
    assert rules["script-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert script == files("reports").joinpath("templates", "search.js").read_text("utf-8")


def test_the_script_handles_text_as_text_alone():
    script = files("reports").joinpath("templates", "search.js").read_text("utf-8")
    for way_in in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "eval",
        "Function(",
        "document.write",
    ):
        assert way_in not in script


def test_every_element_is_closed_where_it_should_be(page):
    assert page.depth_errors == []
    assert page.open == []


def test_page_can_be_read_aloud(page):
    assert page.named("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    tables = len(page.named("table"))
    assert tables == len(page.named("caption"))
    assert all("scope" in th for th in page.named("th"))
    pictures = [svg for svg in page.named("svg") if svg.get("role") == "img"]
    assert pictures
    assert all("aria-labelledby" in svg or "aria-label" in svg for svg in pictures)
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.named("a")}
    assert targets <= set(ids)
    sections = {attributes["id"] for attributes in page.named("h2")}
    assert sections - targets <= FRONT, "those of the front page"


@pytest.mark.parametrize("verdict", VERDICTS)
def test_verdict_is_said_in_words(certificate, verdict):
    page = parsed(verdict)
    assert f"Verdict: {verdict}" in page.said
    assert sentence(certificate(verdict).verdict.claim) in page.said
    for other in set(VERDICTS) - {verdict}:
        assert f"Verdict: {other} " not in page.said


def test_missing_knowledge_is_missing_in_the_tables_of_the_worst(certificate):
    worst = json.loads(certificate("FAIL").model_dump_json())["worst_entities"][:1]
    worst[0]["k"] = {"unlearned": 0.5}
    text = part("worst_facts", certificate("FAIL", worst_entities=worst))
    body = text.split('id="entities"')[1].split("<tbody")[1].split("</tbody")[0]
    assert body.count('data-value=""') == 3
    assert Page(body).said.count(MISSING) == 3


def test_distances_between_weights_are_shown_where_they_were_compared(certificate):
    pair = {"one": "unlearned", "other": "original", "shared": 20, "compared": 20, "equal": 6}
    sampled = {"one": "unlearned", "other": "retrained-0", "shared": 290, "compared": 31}
    pairs = [
        {**pair, "change": 0.0316, "flips": 0.049},
        {**sampled, "equal": 0, "change": None, "flips": None},
    ]
    text = part(
        "identity", certificate("FAIL", weights={"budget": 9, "job": "0" * 64, "pairs": pairs})
    )
    said = " ".join(Page(text.split("Weights of the models, compared")[-1]).said.split())
    assert "unlearned , original 0.032 4.9 % 6 of 20" in said
    assert f"unlearned , retrained-0 {MISSING} {MISSING} 0 of 31 read, of 290" in said
    assert "Weights of the models" not in page_of("FAIL")


def test_equal_certificates_give_equal_bytes(certificate):
    assert render(certificate("FAIL")) == page_of("FAIL")


def test_the_order_of_keys_changes_nothing(certificate):
    def backwards(value):
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(value)}
        return [backwards(v) for v in value] if isinstance(value, list) else value

    straight = certificate("FAIL")
    turned = Certificate.model_validate(backwards(json.loads(straight.model_dump_json())))
    assert turned == straight
    assert render(turned) == page_of("FAIL")


def test_every_attack_is_shown_and_what_did_not_run_has_passed_nothing(certificate):
    shown = certificate("FAIL")
    text = page_of("FAIL")
    bodies = re.findall(r'<tbody class="row (\w+)">(.*?)</tbody>', text, re.DOTALL)
    assert len(bodies) == len(shown.matrix)
    for row, (outcome, body) in zip(shown.matrix, bodies, strict=True):
        said = Page(body).said
        assert row.attack in said
        assert row.variant in said
        if row.status != "measured":
            assert outcome == row.status
            assert sentence(row.reason) in said
            assert MISSING in said
            assert "within margin" not in said


PASS_READINGS = honest_certificate("PASS").matrix[0].readings


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (NO_READING, "undecided"),
        ({"readings": (*PASS_READINGS, *NO_READING["readings"])}, "undecided"),
        ({"readings": (*PASS_READINGS, *PASS_READINGS)}, "within"),
        (
            {"readings": tuple(r.model_copy(update={"gates": ()}) for r in PASS_READINGS)},
            "undecided",
        ),
        (
            {
                "status": "failed",
                "reason": message("error", type="OSError", error="lost the device"),
            },
            "failed",
        ),
        ({"status": "unavailable", "reason": None}, "unavailable"),
        ({"named": True}, "leak"),
        ({}, "within"),
    ],
)
def test_only_a_measured_row_with_figures_and_met_gates_is_within(certificate, change, outcome):
    row = certificate("PASS").matrix[0].model_copy(update=change)
    text = part("attacks", certificate("FAIL", matrix=[row.model_dump()]))
    [(found, body)] = re.findall(r'<tbody class="row (\w+)">(.*?)</tbody>', text, re.DOTALL)
    assert found == outcome
    if outcome in ("failed", "unavailable"):
        assert not re.search(r"0\.\d{3}", body), "figures left on such a row are not shown"


def test_hostile_text_is_shown_and_is_inert():
    text, page = page_of("hostile"), parsed("hostile")
    for raw in ("<img", "</script", "<svg onload", "</style><style", "<a href='http"):
        assert raw not in text.split("<script>")[0], raw
    assert "&lt;/script&gt;" in text
    assert "{{7*7}}" in text, "a template inside a text is not a template"
    for code in ("\x00", "\x1b", "\u202e", "\u202c", "\u2028", "\ufeff"):
        assert code not in text, repr(code)
    assert "␛" in page.said
    assert "⟨U+202E⟩" in page.said
    assert len(text) < 2_000_000, "a hundred thousand letters are cut, wherever they stand"
    assert "the first 400 of 100,2" in page.said, "and it is said that they were"


def test_missing_numbers_are_missing():
    assert number(None) == MISSING
    assert share(None) == MISSING
    assert number(0.0) == number(-0.0) == "0.000"
    assert number(0.0001) == "< 0.001"
    assert share(0.99999) == "> 99.9 %"
    assert number(float("nan")) == "not a number"
    assert span(0.92, None) == "at least 0.92"
    assert span(None, 0.06) == "at most 0.06"
    assert span(None, None) == "not bounded"


def test_absent_measurements_are_said_to_be_absent(certificate):
    text = part("utility", certificate("FAIL", utility=None))
    assert Page(text).said.count(MISSING) >= 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\x00b", "a␀b"),
        ("\x1b[31m", "␛[31m"),
        ("\u202egnp", "⟨U+202E⟩gnp"),
        ("e\u0301", "e\u0301"),
        ("two\nlines", "two↵lines"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_unseen_characters_become_visible(text, shown):
    assert visible(text) == shown


def test_long_texts_are_cut_and_say_so():
    cut = excerpt("w" * 1000, 10)
    assert str(cut.text) == "w" * 10
    assert "10 of 1,000" in cut.note
    assert excerpt("short").note is None
    assert inline("w" * 1000, 10).endswith("[cut: 10 of 1,000 characters]")
