"""The pages of comparisons and leaderboards."""

import base64
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from hostile_texts import HOSTILE, MARKER
from parsed_page import Page

from auditor.certificate.schema import Certificate
from auditor.comparison.collection import Collected, Rejected
from auditor.comparison.contrast import Given, compare
from auditor.comparison.ranking import rank
from auditor.comparison.sameness import obstacles
from auditor.comparison.schema import ChangedFact, PairedDifference
from auditor.report import REPORTS
from reports import comparison, leaderboard
from reports.messages import sentence
from reports.number_format import MISSING

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = "axe.run(document).then(found => JSON.stringify(found))"
PLAIN_EDGES = """document.head.append(Object.assign(document.createElement('style'),
    {textContent: '.scroller { background: none !important }'}))"""
"""The shade at the edge of a wide table keeps axe from judging any contrast inside."""
SERIOUS = {"serious", "critical"}
NOWHERE = Path("/nonexistent/certificate.json")


def compared(a, b):
    return compare(Given(NOWHERE, a), Given(NOWHERE, b))


def with_pairs(made, text):
    """The same comparison as if evidence had been at hand, with this text in every fact."""
    difference = PairedDifference(
        units=400, mean=-0.25, lower=-0.375, upper=-0.125, rose=3, fell=97, same_baseline=True
    )
    fact = ChangedFact(
        fact=text,
        entity=text,
        prompt=text,
        answer=text,
        attack=text,
        change=-0.5,
        k_a=0.75,
        k_b=0.25,
        said_a=text,
        said_b=None,
    )
    paired = made.paired.model_copy(
        update={"possible": True, "alpha": 0.05, "unit": "facts", "facts": (fact,)}
    )
    attacks = tuple(attack.model_copy(update={"paired": difference}) for attack in made.attacks)
    return made.model_copy(update={"paired": paired, "attacks": attacks})


def board_of(*certificates, **more):
    collected = [
        Collected(certificate, (f"{number}.json",), None)
        for number, certificate in enumerate(certificates)
    ]
    return rank(
        more.get("folder", "audits"), collected, more.get("bad", ()), more.get("others", ())
    )


@pytest.fixture(params=["comparison", "hostile comparison", "leaderboard", "hostile leaderboard"])
def text(request, certificate, hostile):
    bad = [Rejected(path=HOSTILE, reason=HOSTILE)]
    return {
        "comparison": lambda: comparison.render(compared(certificate("PASS"), certificate("FAIL"))),
        "hostile comparison": lambda: comparison.render(
            with_pairs(compared(hostile, certificate("FAIL")), HOSTILE)
        ),
        "leaderboard": lambda: leaderboard.render(
            board_of(*map(certificate, ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE")))
        ),
        "hostile leaderboard": lambda: leaderboard.render(
            board_of(hostile, certificate("FAIL"), folder=HOSTILE, bad=bad, others=[HOSTILE])
        ),
    }[request.param]()


def test_nothing_of_others_runs_and_nothing_is_fetched(text):
    page = Page(text)
    assert page.depth_errors == []
    assert page.open == []
    assert not {"iframe", "object", "embed", "form", "link", "base", "img"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
                assert value.startswith("#"), f"{tag} {name}={value}"
    policy = next(m["content"] for m in page.named("meta") if "http-equiv" in m)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    allowed = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in page.scripts
    ]
    assert rules["script-src"].split() == (allowed or ["'none'"])
    for code in ("\x00", "\x1b", "\u202e", "\u202c", "\u2028", "\ufeff"):
        assert code not in text, repr(code)


def test_a_page_can_be_read_aloud(text):
    page = Page(text)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert len(page.named("table")) == len(page.named("caption")) > 0
    assert all("scope" in th for th in page.named("th"))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.named("a")} <= set(ids)


def test_hostile_texts_are_inert_in_a_browser(tab, certificate, hostile, tmp_path):
    pages = {
        "a": comparison.render(with_pairs(compared(hostile, hostile), HOSTILE)),
        "b": leaderboard.render(board_of(hostile, folder=HOSTILE, others=[HOSTILE])),
    }
    for name, written in pages.items():
        file = tmp_path / f"{name}.html"
        file.write_text(written, encoding="utf-8")
        tab.view(360)
        tab.open(file)
        assert tab.requests() == [file.as_uri()]
        assert MARKER not in tab.evaluate("document.title")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.evaluate("document.querySelectorAll('img, [onload], [onerror]').length") == 0


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(tab, text, tmp_path, width, scheme):
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    tab.view(width, scheme=scheme)
    tab.open(file)
    tab.evaluate(PLAIN_EDGES)
    tab.evaluate(AXE)
    found = json.loads(tab.evaluate(RUN))
    assert len(found["passes"]) > 15, "axe ran its rules"
    assert [rule["id"] for rule in found["violations"] if rule["impact"] in SERIOUS] == []


def test_a_change_of_verdict_comes_first(certificate):
    passed = certificate("PASS")
    failed = certificate("FAIL", policy=passed.policy)
    said = Page(comparison.render(compared(passed, failed))).said
    assert "Verdict: PASS → FAIL The verdict of B is worse." in said
    assert "quantization/bnb nf4 newly finds a leak" in said
    back = Page(comparison.render(compared(failed, passed))).said
    assert "Verdict: FAIL → PASS The verdict of B is better." in back


def test_that_two_are_not_comparable_stands_on_the_front(certificate):
    a = certificate("FAIL")
    content = json.loads(a.model_dump_json())
    content["identity"]["facts_digest"] = "f" * 64
    b = Certificate.model_validate(content)
    page = comparison.render(compared(a, b))
    front = Page(page.split("</header>")[0]).said
    assert "Not comparable" in front
    [obstacle] = obstacles(a, b)
    assert sentence(obstacle.message) in front
    table = page.split('id="attacks"')[1].split("</table>")[0]
    assert table.count("not computed") == len(a.matrix), "nothing is subtracted across other facts"
    assert "Not comparable" not in Page(comparison.render(compared(a, a))).said


@pytest.mark.parametrize("change", ["facts", "policy"])
def test_no_verdict_is_better_where_they_cannot_be_compared(certificate, change):
    content = json.loads(certificate("PASS").model_dump_json())
    content["identity"][f"{change}_digest"] = "f" * 64
    made = compared(certificate("FAIL"), Certificate.model_validate(content))
    assert made.comparable == (change == "policy")
    front = Page(comparison.render(made).split("</header>")[0])
    assert "Verdict: FAIL and PASS" in front.said
    assert "better" not in front.said.replace("neither is said to be better", "")
    assert "seal" not in {a.get("class") for a in front.named("svg")}, "no mark of approval"


def test_paired_figures_are_shown_with_what_they_are(certificate):
    a = certificate("FAIL")
    page = comparison.render(with_pairs(compared(a, a), "a fact"))
    said = Page(page).said
    assert (
        "\N{MINUS SIGN}0.250 [\N{MINUS SIGN}0.375, \N{MINUS SIGN}0.125] 3 facts up, 97 down" in said
    )
    assert "at confidence 95 %" in said
    assert "not corrected for the number of attacks" in said
    assert "0.750 a fact" in said
    assert "0.250 no answer was recorded" in said


def test_without_pairs_it_is_said_why(certificate):
    a = certificate("FAIL")
    said = Page(comparison.render(compared(a, a))).said
    assert "could not be compared one by one: there is no evidence beside A" in said


def test_each_attack_is_drawn_in_both(certificate):
    a, b = certificate("PASS"), certificate("FAIL")
    page = Page(comparison.render(compared(a, b)))
    for attack in compared(a, b).attacks:
        for name, side in (("A", attack.a), ("B", attack.b)):
            if side is not None and side.rho is not None:
                assert re.search(rf"{re.escape(attack.label[:30])}[^.]*, {name}: ", page.said)


def test_the_leaderboard_shows_what_is_missing(certificate):
    page = leaderboard.render(board_of(certificate("NOT AUDITABLE", utility=None)))
    body = page.split("<tbody")[1].split("</tbody>")[0]
    assert f"{MISSING} not measured; original {MISSING}" in Page(body).said
    assert 'data-label="Utility" data-value=""' in body


def test_the_leaderboard_shows_what_was_not_read(certificate):
    bad = [Rejected(path="x/bad.json", reason="it was edited")]
    page = leaderboard.render(board_of(certificate("NOT AUDITABLE"), bad=bad, others=["plan.json"]))
    said = Page(page).said
    assert "x/bad.json it was edited" in said
    assert "plan.json" in said


def test_equal_data_gives_equal_bytes(certificate):
    a, b = certificate("PASS"), certificate("FAIL")
    assert comparison.render(compared(a, b)) == comparison.render(compared(a, b))
    assert leaderboard.render(board_of(a, b)) == leaderboard.render(board_of(a, b))


def test_forms_of_certificates_are_not_touched():
    assert REPORTS.get("html").render.__module__ == "reports.html"
