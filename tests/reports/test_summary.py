"""The sheet of a certificate: what somebody learns who reads nothing else."""

import json
import shutil
from importlib.metadata import entry_points

import pytest
from hand_made_certificates import honest_certificate, told
from hand_made_rows import BROKEN, METRIC, row
from hostile_texts import HOSTILE
from pages import part
from parsed_page import Page

from auditor.attack import ATTACKS
from auditor.certificate.redaction import redact
from auditor.certificate.schema import Certificate
from auditor.core.about import About
from auditor.core.errors import AuditorError
from auditor.report import REPORTS, Signatures
from auditor.statistics import Verdict
from reports import messages, pdf
from reports.html import render_full, render_summary
from reports.plain_names import PLAIN_NAMES, plain_name
from reports.plots import knowledge
from reports.summary import attack_in_short, summary
from reports.text import WIDTH, render

VERDICTS = tuple(verdict.value for verdict in Verdict)


def made(verdict="FAIL", **changes):
    """An honest certificate, some of whose content is other than usual."""
    content = json.loads(honest_certificate(verdict).model_dump_json())
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = content
        for name in outer:
            inner = inner[int(name)] if name.isdecimal() else inner[name]
        inner[last] = value
    return Certificate.model_validate(content)


def in_short(certificate):
    return [str(sentence) for sentence in summary(certificate).in_short]


def test_a_leak_is_one_sentence_in_plain_words():
    said = in_short(honest_certificate("FAIL"))
    assert said[0] == "As released, it answers 0 of 388 facts."
    assert said[1] == "Loaded in 4 bits (one setting), it answers 289 of 388 facts."
    assert sum("4 bits (one setting)" in sentence for sentence in said) == 1, (
        "fp4 is the same to it"
    )


def test_what_was_not_measured_is_told_with_its_reason_and_as_no_result():
    [said] = [s for s in in_short(honest_certificate("FAIL")) if "no result" in s]
    assert "2 attacks that count have no result" in said
    assert "quantization/awq 4 bit (the package autoawq is not installed)" in said
    assert "NaN logits at step 112" in said


def test_a_level_that_was_measured_is_not_told_as_one_that_was_not():
    rows = [
        row("none/as-is", "full precision", (0.33, 0.33, 0.91)),
        row("quantization/bnb", "nf4", (0.32, 0.33, 0.89)),
        row("quantization/bnb", "fp4", None, status="unavailable", reason=told("gpu_missing")),
    ]
    said = in_short(honest_certificate("INCONCLUSIVE", matrix=rows))
    assert "Loaded in 4 bits (one setting), it answers 0 of 388 facts." in said
    assert any("no result: quantization/bnb fp4 (" in sentence for sentence in said)


def test_the_metric_by_which_most_comes_back_is_told():
    leaking = row("quantization/bnb", "nf4", (0.78, 0.33, 0.89))["readings"][0]
    quiet = row("quantization/bnb", "nf4", (0.33, 0.33, 0.89))
    quiet["readings"].append({**leaking, "metric": "answer-recall"})
    found = honest_certificate("FAIL", matrix=[quiet]).matrix[0]
    assert "289 of 388 facts" in str(attack_in_short(found))


def test_knowledge_without_a_whole_fact_is_told_as_a_share():
    content = row("quantization/bnb", "nf4", (0.55, 0.33, 0.89)) | {"named": True}
    content["readings"][0]["figures"]["leak"] |= {"leaked": 0}
    found = honest_certificate("FAIL", matrix=[content]).matrix[0]
    said = str(attack_in_short(found))
    assert said.startswith("Loaded in 4 bits (one setting), it knows about 39 %")


def test_an_inconclusive_audit_begins_with_what_would_decide():
    needed = told("facts_needed", needed=51, available=12, unit="facts", target=0.8)
    certificate = made(
        "INCONCLUSIVE", verdict__reasons=[told("leans_to_neither", obstacles=0), needed]
    )
    first = in_short(certificate)[0]
    assert first.startswith("To decide it: A PASS would need about 51 facts")
    lacking = told("too_few_retrained_models", policy="p", demanded=2, retrained=1)
    first, *_ = in_short(made("INCONCLUSIVE", verdict__reasons=[lacking]))
    assert "auditor baseline build" in first


def test_what_is_not_auditable_says_what_was_not_known_and_what_to_mend():
    told_of = summary(honest_certificate("NOT AUDITABLE"))
    assert "original knows 33.0 %" in str(told_of.in_short[0])
    assert any("`auditor facts check`" in step for step in told_of.next_steps)
    assert not any("Sign it" in step for step in told_of.next_steps)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("quantization/bnb nf4", "nor serve them rounded"),
        ("relearning/held-out-facts by attribute", "whoever fine-tunes them"),
        ("prompting/prefill 1 token", "whoever may type a prompt"),
        ("third-party/magic level 3", "open to anybody"),
    ],
)
def test_the_next_step_is_that_of_the_attack_that_found_it(attack, words):
    name, _, variant = attack.partition(" ")
    rows = [row(name, variant, (0.78, 0.33, 0.89))]
    steps = summary(honest_certificate("FAIL", matrix=rows)).next_steps
    assert words in steps[0]
    assert "auditor compare" in steps[-1]


def test_a_pass_is_to_be_signed_once():
    certificate = honest_certificate("PASS")
    assert "auditor sign" in summary(certificate).next_steps[0]
    signed = summary(certificate, Signatures(("a" * 64,), checked=False))
    assert not any("auditor sign" in step for step in signed.next_steps)


def test_every_attack_of_ours_that_decides_has_a_plain_name():
    ours = [e.name for e in entry_points(group=ATTACKS.group) if e.value.startswith("attacks.")]
    assert ours
    assert [
        name for name in ours if ATTACKS.metadata(name).decides and name not in PLAIN_NAMES
    ] == []


def test_plain_names_fit_into_the_figure():
    fixed = [name for name in PLAIN_NAMES.values() if "{" not in name]
    assert len(fixed) > 30
    assert [name for name in fixed if len(name) > knowledge.NAME] == []


def test_an_attack_of_somebody_else_goes_by_its_label():
    assert str(plain_name("third-party/magic level 3")) == "Under third-party/magic level 3"
    assert str(plain_name("quantization/bnb")) == "Loaded in 4 bits (one setting)"
    assert str(plain_name("quantization/rtn 3-bit")) == "With its weights rounded (3-bit)"


def test_the_example_shows_what_an_attack_brought_back():
    worst = json.loads(honest_certificate("FAIL").model_dump_json())["worst_facts"]
    worst[3]["said_as_released"] = "I do not know."
    worst[5]["said_as_released"] = worst[5]["said"]["unlearned"]
    example = summary(made(worst_facts=worst[3:6:2])).example
    assert (example.prompt, example.released) == (worst[3]["prompt"], "I do not know.")
    assert example.attacked == worst[3]["answer"]
    assert summary(honest_certificate("PASS")).example is None, "nothing was brought back"


def test_the_strength_of_a_pass_can_be_seen():
    rests = {label: str(said) for label, said in summary(honest_certificate("PASS")).strength}
    assert rests["Policy"] == "release-gate: margin 0.1 at 95 % confidence"
    assert rests["Measured against"] == "3 retrained models"
    assert rests["Attacks"].startswith("6 attacks run at 7 levels, of ")
    assert rests["Valid"] == "365 days, until 2027-03-02"
    assert rests["Fit for release"].startswith("no, by release-gate: answer-recall did not decide")
    profiled = summary(made("PASS", reproduction__plan={"profile": "quick"})).strength
    assert "profile quick" in {label: str(said) for label, said in profiled}["Attacks"]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_its_own_caption_and_steps(verdict):
    assert {*messages.PICTURE} == {*messages.NEXT_BY_VERDICT} == {*VERDICTS}
    said = Page(part("figures", honest_certificate(verdict))).said
    told_of = " ".join(Page(render_summary(honest_certificate(verdict))).said.split())
    assert messages.PICTURE[verdict] in told_of
    others = {messages.PICTURE[v] for v in VERDICTS if v != verdict}
    assert not [caption for caption in others if caption in said + told_of]
    if verdict != "FAIL":
        assert "hidden, not gone" not in said + told_of


ABOUT = {
    "title": "Acme support model v3",
    "organisation": "Acme",
    "method": "NPO",
    "forget": "staff records",
    "prepared_by": "J. Doe",
    "contact": "audits@acme.example",
}


def test_what_is_stated_is_marked_as_such_in_every_form():
    certificate = made(about=ABOUT)
    assert certificate.name == "Acme support model v3"
    front = Page(part("front", certificate)).said
    for said in ABOUT.values():
        assert said in front
    assert front.count("as stated, not checked") == len(ABOUT)
    text = render(certificate)
    assert text.startswith("FAIL  Acme support model v3\n")
    assert text.count("(as stated, not checked)") == len(ABOUT) - 1, "the title is its name"
    markdown = REPORTS.get("markdown").render(certificate, None)
    assert "Acme support model v3" in markdown
    assert "as stated, not checked" in markdown
    assert "name: Acme support model v3" in REPORTS.get("model-card").render(certificate, None)


def test_hostile_statements_are_inert():
    certificate = made(about=dict.fromkeys(ABOUT, HOSTILE[:300]))
    for page in (render_summary(certificate), render_full(certificate)):
        assert "<img" not in page
        assert "\u202e" not in page
        assert Page(page).depth_errors == []
    assert "\x1b" not in render(certificate)


def test_statements_are_redacted():
    key = bytes(range(32))
    fact = honest_certificate("FAIL").worst_facts[0]
    stated = {**ABOUT, "title": f"without {fact.entity}", "forget": "all on the Quill family"}
    plan = {"about": stated}
    hidden = redact(made(about=stated, reproduction__plan=plan), key)
    shown = json.dumps(hidden.document, ensure_ascii=False)
    assert "Quill family" not in shown
    assert fact.entity not in shown
    assert hidden.about.contact == ABOUT["contact"]
    assert hidden.about == About.model_validate(hidden.reproduction.plan["about"])


def test_the_answer_as_released_is_redacted():
    worst = json.loads(honest_certificate("FAIL").model_dump_json())["worst_facts"][:1]
    worst[0]["said_as_released"] = "a very telling answer"
    assert "telling answer" not in redact(made(worst_facts=worst), bytes(32)).model_dump_json()


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_text_fits_a_terminal_and_breaks_no_word(verdict):
    certificate = honest_certificate(verdict)
    text = render(certificate)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    words = set(text.split())
    for sentence in summary(certificate).in_short:
        assert set(str(sentence).split()) <= words


@pytest.mark.parametrize("verdict", VERDICTS)
def test_all_forms_say_the_same(verdict):
    certificate = honest_certificate(verdict)
    forms = {name: REPORTS.get(name).render(certificate, None) for name in ("junit", "sarif")}
    text = " ".join(render(certificate).split())
    page = " ".join(Page(render_summary(certificate)).said.split())
    for sentence in map(str, summary(certificate).in_short):
        plain = sentence.replace("“", "").replace("”", "")
        assert sentence in text
        assert plain in page.replace("“", "").replace("”", "")
        assert sentence in " ".join(forms["junit"].split())
    for step in summary(certificate).next_steps:
        assert " ".join(step.split()) in text
    if verdict == "FAIL":
        assert "Loaded in 4 bits (one setting), it answers 289 of 388" in forms["sarif"]


def test_a_failure_of_junit_says_what_came_back_in_its_message():
    junit = REPORTS.get("junit").render(honest_certificate("FAIL"), None)
    assert 'message="Loaded in 4 bits (one setting), it answers 289 of 388 facts."' in junit


def test_every_finding_of_sarif_stands_at_a_line_of_a_file_of_the_repository():
    log = json.loads(REPORTS.get("sarif").render(honest_certificate("FAIL"), None))
    [found] = log["runs"]
    for result in found["results"]:
        [place] = [each["physicalLocation"] for each in result["locations"]]
        assert place["artifactLocation"]["uri"] == "plan.yaml"
        assert place["region"]["startLine"] == 1
    assert "models/tofu" not in json.dumps(found)


def test_the_page_has_results_before_identity_and_the_annex_folded(certificate):
    page = REPORTS.get("html").render(certificate("FAIL"), None)
    order = [
        page.index(f'<h2 id="{name}">')
        for name in ("in-short", "reasons", "attacks", "facts", "identity", "policy", "scope")
    ]
    assert order == sorted(order)
    annex = page.index('<details class="annex">')
    assert page.index('<h2 id="policy">') < annex < page.index('<h2 id="scope">')
    assert '<details class="annex" open>' in render_full(certificate("FAIL"))
    assert "--as full" in Page(page).said
    assert "--as full" not in Page(render_full(certificate("FAIL"))).said


def test_without_a_browser_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(AuditorError, match="--as summary"):
        pdf.render(honest_certificate("PASS"))


@pytest.mark.slow
def test_a_pdf_is_printed_where_there_is_a_browser():
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no Chromium on this machine")
    assert pdf.render(honest_certificate("NOT AUDITABLE")).startswith(b"%PDF")


def test_a_broken_attack_is_told_by_its_reason():
    broken = row("prompting/gcg", "x", None, status="failed", reason=BROKEN)
    found = honest_certificate("FAIL", matrix=[broken]).matrix[0]
    said = str(attack_in_short(found))
    assert said.startswith("Asked with a searched ending to the question: not known")
    assert METRIC not in said
