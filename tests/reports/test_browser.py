"""The certificate in a real browser."""

import re
from importlib.resources import files

import pytest
from hand_made_pictures import pictured_certificate
from hostile_texts import HOSTILE, MARKER

from auditor.report import Signatures

pytestmark = pytest.mark.slow

OURS = files("reports").joinpath("templates", "search.js").read_text("utf-8")
A4 = 688 + 15
"""Pixels of an A4 page between the margins of the style sheet, and of the bar that scrolls it."""

STICKING_OUT = """[...document.querySelectorAll('main *')].filter(part =>
    !part.closest('.scroller > *, svg, details:not([open]) > :not(summary), .label, .skip')
    && !part.closest('table.stack:not(.sortable) thead')
    && part.getBoundingClientRect().right > document.documentElement.clientWidth + 1
).map(part => part.outerHTML.slice(0, 120))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ROWS = "document.querySelectorAll('table[data-search={}] tbody tr:not([hidden])').length"
TABLE = "document.querySelector('table[data-search=facts]')"

PRINTED = 10
"""Rows of a table of facts that a sheet of paper shows."""


def settle(tab):
    """Waits until two frames were drawn, so that whatever was to be loaded has been asked for."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "media"), [(360, "screen"), (1280, "screen"), (A4, "print")], ids=str
)
@pytest.mark.parametrize("policy", [True, False], ids=["as it is", "without its policy"])
def test_hostile_text_is_inert(tab, saved, hostile, width, scheme, media, policy):
    page = saved(hostile, Signatures((HOSTILE,), False))
    tab.view(width, scheme=scheme, media=media)
    tab.open(page, policy=policy)  # without it, escaping alone has to hold
    settle(tab)
    assert tab.scripts() == [OURS]
    assert tab.requests() == [page.as_uri()]
    assert tab.happened("Page.javascriptDialogOpening") == []
    assert tab.happened("Runtime.exceptionThrown") == []
    assert tab.happened("Log.entryAdded") == [], "nothing was refused, for nothing was tried"
    assert MARKER not in tab.evaluate("document.title")
    assert (
        tab.evaluate("document.querySelectorAll('img, iframe, object, a[href^=http]').length") == 0
    )
    assert (
        tab.evaluate(
            "[...document.querySelectorAll('*')].flatMap(part => part.getAttributeNames())"
            ".filter(name => name.startsWith('on')).length"
        )
        == 0
    )
    assert tab.evaluate("document.querySelectorAll('h1').length") == 1
    assert tab.evaluate(OVERFLOW) == 0
    if media == "screen":
        assert tab.evaluate(STICKING_OUT) == []


def test_the_browser_would_have_told(tab, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(f"<!doctype html><title>x</title><p>{HOSTILE}</p><script>alert(1)</script>")
    tab.view(1280)
    tab.open(page)
    settle(tab)
    assert MARKER in tab.evaluate("document.title")
    assert len(tab.requests()) > 1
    assert "alert(1)" in tab.scripts()
    assert len(tab.happened("Page.javascriptDialogOpening")) == 1


def test_the_policy_of_the_page_stops_any_other_script(tab, saved, certificate):
    page = saved(certificate("FAIL"))
    foreign = f"<script>document.title = '{MARKER}'</script><img src='https://evil.example/x'>"
    page.write_text(page.read_text("utf-8").replace("<footer>", f"{foreign}<footer>"), "utf-8")
    tab.view(1280)
    tab.open(page)
    settle(tab)
    assert MARKER not in tab.evaluate("document.title")
    assert len(tab.happened("Log.entryAdded")) == 2, "the script and the picture were refused"
    assert [told["blockedReason"] for told in tab.happened("Network.loadingFailed")] == ["csp"]
    tab.open(page, policy=False)
    assert tab.evaluate("document.title") == MARKER


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE", "pictures"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_sticks_out_of_the_page(tab, saved, certificate, width, verdict):
    tab.view(width)
    tab.open(saved(pictured_certificate() if verdict == "pictures" else certificate(verdict)))
    tab.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert tab.evaluate(OVERFLOW) == 0
    assert tab.evaluate(STICKING_OUT) == []


@pytest.fixture
def searched(tab, saved, certificate):
    """A page on which the search field of the facts has the focus."""
    tab.view(1280)
    tab.open(saved(certificate("FAIL")))
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    tab.evaluate("document.querySelectorAll('.tools input')[1].focus()")
    return tab


def status(tab):
    return tab.evaluate(
        "document.querySelectorAll('.tools [role=status][aria-live]')[1].textContent"
    )


def test_search_shows_what_holds_every_word_and_says_how_many(searched, certificate):
    facts = certificate("FAIL").worst_facts
    searched.type("basil leeds")
    found = [f for f in facts if "Basil" in f.entity and "Leeds" in f.answer]
    assert 0 < len(found) < len(facts)
    assert searched.evaluate(ROWS.format("facts")) == len(found)
    assert status(searched) == f"{len(found)} of {len(facts)} facts shown"
    assert searched.evaluate(ROWS.format("entities")) == len(certificate("FAIL").worst_entities)
    searched.type(" nobody at all")
    assert searched.evaluate(ROWS.format("facts")) == 0
    assert status(searched).startswith("0 of")
    searched.evaluate("document.activeElement.select()")
    searched.press("Backspace", 8)
    assert searched.evaluate(ROWS.format("facts")) == len(facts)


def test_what_is_typed_is_never_markup(searched):
    before = searched.evaluate("document.querySelectorAll('*').length")
    searched.type(HOSTILE)
    settle(searched)
    assert searched.evaluate("document.querySelectorAll('*').length") == before
    assert searched.scripts() == [OURS]
    assert len(searched.requests()) == 1


def test_a_click_on_a_heading_sorts_and_tells(searched, certificate):
    facts = certificate("FAIL").worst_facts
    entities = f"[...{TABLE}.tBodies[0].rows].map(row => row.cells[0].firstChild.textContent)"
    known = f"[...{TABLE}.tBodies[0].rows].map(row => Number(row.cells[3].dataset.value))"
    state = f"[...{TABLE}.tHead.rows[0].cells].map(head => head.getAttribute('aria-sort'))"
    click = TABLE + ".tHead.rows[0].cells[{}].querySelector('button').click()"
    assert searched.evaluate(state) == [None] * 6
    searched.evaluate(click.format(0))
    assert searched.evaluate(state) == ["ascending", *[None] * 5]
    assert searched.evaluate(entities) == sorted(fact.entity for fact in facts)
    assert status(searched) == f"{len(facts)} facts; sorted by Entity and fact, ascending"
    searched.evaluate(click.format(0))
    assert searched.evaluate(state)[0] == "descending"
    assert searched.evaluate(entities) == sorted((f.entity for f in facts), reverse=True)
    searched.evaluate(click.format(3))
    assert searched.evaluate(state) == [None, None, None, "descending", None, None]
    assert searched.evaluate(known) == sorted((f.k["unlearned"] for f in facts), reverse=True)
    assert searched.evaluate(f"{TABLE}.tHead.querySelectorAll('th[scope=col]').length") == 6


def test_the_keyboard_sorts(searched):
    searched.evaluate(f"{TABLE}.tHead.querySelector('button').focus()")
    searched.press("Enter", 13, "\r")
    assert searched.evaluate(f"{TABLE}.tHead.querySelector('th').ariaSort") == "ascending"
    assert searched.evaluate("document.activeElement.tagName") == "BUTTON", "it keeps the focus"


def test_what_is_missing_is_sorted_last(tab, saved, certificate):
    worst = [w.model_dump() for w in certificate("FAIL").worst_entities]
    worst[2]["k"] = {}
    tab.view(1280)
    tab.open(saved(certificate("FAIL", worst_entities=worst)))
    for _ in range(2):
        last = tab.evaluate(
            "(table => { table.tHead.rows[0].cells[1].querySelector('button').click();"
            "return [...table.tBodies[0].rows].at(-1).cells[0].textContent; })"
            "(document.querySelector('table[data-search=entities]'))"
        )
        assert last == worst[2]["entity"]


def test_without_scripts_all_is_there_and_nothing_is_dead(tab, saved, certificate):
    shown = certificate("FAIL")
    tab.view(1280)
    tab.open(saved(shown), scripts=False)
    document = tab.call("DOM.getDocument", depth=1)["root"]["nodeId"]

    def count(selector):
        return len(tab.call("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"])

    assert count("table[data-search=facts] tbody tr:not([hidden])") == len(shown.worst_facts)
    assert count("table[data-search=entities] tbody tr:not([hidden])") == len(shown.worst_entities)
    assert count("button, input, [role=status]") == 0


def test_two_hundred_facts_stay_fluent(tab, saved, certificate):
    shown = certificate("FAIL")
    facts = [shown.worst_facts[i % 24].model_dump() for i in range(200)]
    for position, fact in enumerate(facts):
        fact["fact"] = f"fact-{position}"
    tab.view(1280)
    tab.open(saved(certificate("FAIL", worst_facts=facts)))
    milliseconds = tab.evaluate(
        """(() => {
            const field = document.querySelectorAll('.tools input')[1];
            const button = document.querySelector('table[data-search=facts] th button');
            const started = performance.now();
            for (const text of ['b', 'ba', 'bas', '']) {
                field.value = text;
                field.dispatchEvent(new Event('input'));
                document.body.getBoundingClientRect();
            }
            for (let click = 0; click < 4; click++) {
                button.click();
                document.body.getBoundingClientRect();
            }
            return (performance.now() - started) / 8;
        })()"""
    )
    assert milliseconds < 500, "one key or click, with the layout that follows"


def pages(pdf):
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_prints_on_paper(tab, saved, certificate):
    tab.view(1280, scheme="dark")
    tab.open(saved(certificate("FAIL")))
    printed = tab.pdf()
    assert printed.startswith(b"%PDF")
    assert 5 <= pages(printed) <= 26
    boxes = set(re.findall(rb"/MediaBox\s*\[([0-9. ]+)\]", printed))
    [box] = [[float(edge) for edge in box.split()] for box in boxes]
    assert box[2:] == pytest.approx([595, 842], abs=2), "A4, in points"


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE"])
def test_front_page_is_one_sheet(tab, saved, certificate, verdict):
    tab.view(A4, media="print")
    tab.open(saved(certificate(verdict), Signatures(("a" * 64, "b" * 64), True)))
    height = tab.evaluate("document.querySelector('.front').getBoundingClientRect().height")
    assert 300 < height < (297 - 17 - 18) / 25.4 * 96, "pixels between the margins of the sheet"


def test_dark_screens_print_light_and_a_search_takes_nothing_from_the_paper(searched, certificate):
    searched.view(1280, scheme="dark")
    colour = "getComputedStyle(document.body).color"
    drawn = f"[...{TABLE}.tBodies[0].rows].filter(row => row.getClientRects().length).length"
    assert searched.evaluate(colour) == "rgb(236, 234, 228)"
    searched.type("basil")
    assert searched.evaluate(ROWS.format("facts")) == 3
    searched.view(1280, scheme="dark", media="print")
    assert searched.evaluate(colour) == "rgb(0, 0, 0)"
    assert len(certificate("FAIL").worst_facts) > PRINTED
    assert searched.evaluate(drawn) == PRINTED
    assert searched.evaluate("document.querySelector('.tools').getClientRects().length") == 0


def test_no_row_is_cut_by_the_end_of_a_page(tab, saved, certificate):
    tab.view(1280, media="print")
    tab.open(saved(certificate("FAIL")))
    breakable = tab.evaluate(
        """[...document.querySelectorAll('tr, figure, .facts > div, .glance > div, li')]
            .filter(part => getComputedStyle(part).breakInside !== 'avoid').length"""
    )
    assert breakable == 0
