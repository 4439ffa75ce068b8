"""The page of evidence in a real browser: from a disk, and from the server."""

import json
import time
from importlib.resources import files

import numpy as np
import pytest
from chromium import EXECUTABLE, chromium
from hand_made_pictures import drawn
from hostile_texts import HOSTILE, LONG, MARKER
from measured_audit import (
    ATTACKS,
    FACTS,
    LEAKING,
    MeasuredAudit,
    framed,
    large_audit,
    level,
)
from served_folder import serving

from auditor.core.progress import SilentProgress
from auditor.viewer.bundle import write_bundle
from reports.evidence import evidence_script

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN_AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found))"
SERIOUS = ("serious", "critical")
PATIENCE = 30.0
"""Seconds that the page has to come to something, on a busy machine."""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
STICKING_OUT = """[...document.querySelectorAll('main *')].filter(part => {
    if (part.closest('#scroller, dialog:not([open]), .scroller')) return false;
    const box = part.getBoundingClientRect();
    return box.width > 0 && box.right > document.documentElement.clientWidth + 1;
}).map(part => part.outerHTML.slice(0, 80))"""
SECONDS = 2.0
"""Seconds after which a page of 5,000 facts by 40 attacks is of use."""
KEYS = {"ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
KEYS |= {"Enter": 13, "Escape": 27, "PageDown": 34}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if EXECUTABLE is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield opened


def site_of(root, audit):
    audit.write_certificate()
    write_bundle(audit.root, root / "site", SilentProgress())
    [page] = (root / "site").rglob("evidence.html")
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page on the disk; of the first fact the unlearned model drew something under attack."""
    root = tmp_path_factory.mktemp("browsed")
    tokens = {
        "alone/tokens": np.full(FACTS, 2),
        "alone/log_probability": np.log(np.full(2 * FACTS, 0.5)),
    }
    audit = MeasuredAudit(
        root / "viewed",
        k=lambda arm, attack, n: None if (n, attack) == (5, ATTACKS[2]) else level(arm, attack, n),
        picture=lambda arm, attack, n: drawn("square") if n == 0 else None,
        arrays=lambda arm, attack: tokens if attack == ATTACKS[2] else {},
        notes={"suffix": "in other words"},
    )
    return site_of(root, audit)


def until(tab, condition):
    """Wait until an expression holds."""
    deadline = time.monotonic() + PATIENCE
    while not tab.evaluate(condition):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {condition}"
        time.sleep(0.02)


DRAWN = "performance.getEntriesByName('drawn').length > 0"
OPENED = "document.querySelector('#panel[open] table.answers') !== null"
ROWS = """[...document.querySelectorAll('#rows .row .of')].map(
    part => part.textContent.split(' · ')[1])"""
STATUS = "document.getElementById('status').textContent"
ACTIVE = (
    "(part => [Number(part.dataset.row ?? 0), Number(part.dataset.column)])(document.activeElement)"
)
PANEL = "document.getElementById('panel').innerText"


def opened(tab, page, width=1280, scheme="light", fragment=""):
    tab.view(width, scheme=scheme)
    tab.call("Page.navigate", url="about:blank")
    if fragment:
        tab.call("Page.navigate", url=f"{page.as_uri()}#{fragment}")
    else:
        tab.open(page)
    until(tab, DRAWN)
    return tab


def press(tab, key):
    tab.press(key, KEYS[key], "\r" if key == "Enter" else "")


def quiet(tab):
    """Nothing was refused or thrown, and nothing asked for but on the disk."""
    assert tab.happened("Log.entryAdded") == []
    assert tab.happened("Runtime.exceptionThrown") == []
    assert [
        address for address in tab.requests() if not address.startswith(("file:", "data:"))
    ] == []


def choose(tab, name, value):
    tab.evaluate(
        f"(field => {{ field.value = {json.dumps(value)};"
        f"field.dispatchEvent(new Event('change')); }})(document.getElementById('{name}'))"
    )


def test_what_leaks_comes_first_and_is_marked(tab, page):
    opened(tab, page)
    assert set(tab.evaluate(ROWS)[: len(LEAKING)]) == {f"forget-{n:04d}" for n in LEAKING}
    marked = tab.evaluate(
        "[...document.querySelectorAll('#rows .leak')].map(c => [c.textContent, c.ariaLabel])"
    )
    assert marked == [["\u25c6.90", "quantization/bnb nf4, unlearned: 0.900, leaks"]] * len(LEAKING)
    assert tab.evaluate("document.getElementById('leaked-count').textContent") == str(len(LEAKING))
    absent = "[...document.querySelectorAll('#rows .absent')].map(cell => cell.ariaLabel)"
    assert tab.evaluate(absent) == ["prompting/prefill 1 token, unlearned: not measured"]
    quiet(tab)


def test_search_filter_and_sort(tab, page):
    opened(tab, page)
    tab.evaluate("document.getElementById('search').focus()")
    tab.type("person 7")
    until(tab, f"({ROWS}).length === 1")
    assert tab.evaluate(ROWS) == ["forget-0007"]
    assert tab.evaluate(STATUS).startswith(f"1 of {FACTS} facts shown")
    tab.evaluate("document.getElementById('search').value = ''")
    tab.evaluate("document.getElementById('search').dispatchEvent(new Event('input'))")
    until(tab, f"({ROWS}).length === {FACTS}")
    tab.evaluate("document.getElementById('leaked').click()")
    assert set(tab.evaluate(ROWS)) == {f"forget-{n:04d}" for n in LEAKING}
    tab.evaluate("document.getElementById('leaked').click()")
    choose(tab, "sort", "fact")
    assert tab.evaluate(ROWS) == [f"forget-{n:04d}" for n in range(FACTS)]
    choose(tab, "family", "prompting")
    assert tab.evaluate("document.querySelectorAll('#head .num').length") == 1
    tab.evaluate("document.querySelector('#head .num').click()")
    assert tab.evaluate(ROWS)[-1] == "forget-0005", "what is missing goes last"
    tab.evaluate("document.querySelector('#head .num').click()")
    assert tab.evaluate(ROWS)[-1] == "forget-0005"
    sorted_by = "document.querySelector('#head .num').getAttribute('aria-sort')"
    assert tab.evaluate(sorted_by) == "ascending"
    choose(tab, "family", "")
    choose(tab, "show", "all")
    assert tab.evaluate("document.querySelectorAll('#head .num').length") == 9
    choose(tab, "set", "retain")
    until(tab, f"({ROWS}).length === 4")
    assert tab.evaluate("document.querySelectorAll('#rows .leak').length") == 0
    quiet(tab)


def test_the_keyboard_goes_everywhere(tab, page):
    opened(tab, page)
    tab.evaluate("document.querySelector('#grid [tabindex=\"0\"]').focus()")
    assert tab.evaluate("document.querySelectorAll('#grid [tabindex=\"0\"]').length") == 1
    for key, place in (
        ("Home", [1, 0]),
        ("ArrowDown", [2, 0]),
        ("ArrowRight", [2, 1]),
        ("ArrowRight", [2, 2]),
        ("End", [2, 4]),
        ("ArrowRight", [2, 4]),
        ("PageDown", [11, 4]),
        ("PageDown", [FACTS, 4]),
        ("ArrowDown", [FACTS, 4]),
        ("Home", [FACTS, 0]),
        *(("ArrowUp", [row, 0]) for row in range(FACTS - 1, -1, -1)),
    ):
        press(tab, key)
        assert tab.evaluate(ACTIVE) == place, key
    press(tab, "Enter")
    assert tab.evaluate("document.querySelector('#head .name').getAttribute('aria-sort')")
    for _ in range(3):
        press(tab, "ArrowRight")
    press(tab, "ArrowDown")
    press(tab, "Enter")
    until(tab, OPENED)
    assert tab.evaluate("document.activeElement.id") == "panel-title"
    assert tab.evaluate("document.getElementById('under').selectedOptions[0].value") == "1"
    press(tab, "Escape")
    until(tab, "!document.getElementById('panel').open")
    assert tab.evaluate(ACTIVE) == [1, 3], "the focus is back where it was"
    style = tab.evaluate(
        "(s => [s.outlineStyle, s.outlineWidth])(getComputedStyle(document.activeElement))"
    )
    assert style == ["solid", "3px"]
    quiet(tab)


def test_a_cell_shows_all_answers_beside_those_as_released(tab, page):
    opened(tab, page)
    tab.evaluate("document.querySelector('#rows .leak').click()")
    until(tab, OPENED)
    text = tab.evaluate(PANEL)
    for said in ("Where was person 0 of forget born?", "Town 0", "Person 0", "It leaks"):
        assert said in text
    cells = tab.evaluate(
        "[...document.querySelectorAll('.answers tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText))"
    )
    assert [row[0].split("\n")[0] for row in cells] == ["unlearned", "original", "retrained-0"]
    assert [".10" in cells[0][1], ".90" in cells[0][2]] == [True, True]
    assert all("says Town 0" in cell for row in cells for cell in row[1:])
    loaded = "[...document.querySelectorAll('.drawn')].map(i => i.complete && i.naturalWidth)"
    until(tab, f"({loaded}).every(width => width === 16)")
    assert tab.evaluate(loaded) == [16] * 6
    assert "in other words" in tab.evaluate("document.querySelector('#panel pre').textContent")
    choose(tab, "under", "2")
    until(tab, "document.querySelector('.tokens') !== null")
    assert tab.evaluate("document.querySelector('.tokens .swatch').textContent") == ".50"
    tab.evaluate("document.getElementById('next').click()")
    until(tab, f"({PANEL}).includes('person 4') || ({PANEL}).includes('person 8')")
    quiet(tab)


def test_a_link_leads_to_a_fact(tab, page):
    fragment = "set=retain&fact=retain-0002&attack=quantization%2Fbnb+nf4"
    opened(tab, page, fragment=fragment)
    until(tab, OPENED)
    assert "Where was person 2 of retain born?" in tab.evaluate(PANEL)
    assert tab.evaluate("location.hash") == f"#{fragment}"
    assert tab.evaluate("document.querySelector('#panel .facts a').hash") == f"#{fragment}"
    opened(tab, page, fragment="fact=nonesuch")
    until(tab, f"({STATUS}).includes('not in this evidence')")
    tab.evaluate("history.replaceState(null, '', location.pathname)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_sticks_out_and_axe_finds_nothing_serious(tab, page, width, scheme):
    opened(tab, page, width, scheme)

    def violations():
        tab.evaluate(AXE)
        found = json.loads(tab.evaluate(RUN_AXE))
        assert len(found["passes"]) > 10, "axe ran its rules"
        return [
            (rule["id"], node["target"], node["failureSummary"][:300])
            for rule in found["violations"]
            if rule["impact"] in SERIOUS
            for node in rule["nodes"]
        ]

    assert tab.evaluate(OVERFLOW) == 0
    assert tab.evaluate(STICKING_OUT) == []
    assert violations() == []
    tab.evaluate("document.querySelector('#rows .leak').click()")
    until(tab, OPENED)
    assert tab.evaluate(OVERFLOW) == 0
    assert tab.evaluate(STICKING_OUT) == []
    assert violations() == []
    modal = tab.evaluate("document.getElementById('panel').matches(':modal')")
    assert modal is (width < 1024)
    press(tab, "Escape")
    until(tab, "!document.getElementById('panel').open")
    assert tab.evaluate("document.getAnimations().length") == 0


def test_what_can_be_touched_is_large_enough(tab, page):
    opened(tab, page, 360)
    small = tab.evaluate(
        "[...document.querySelectorAll('main a, button, input, select, .cell')].filter(part => {"
        "const box = part.getBoundingClientRect();"
        "return box.width > 0 && Math.min(box.width, box.height) < 20; }).length"
    )
    assert small == 0


def test_hostile_texts_stay_texts(tab, tmp_path):
    audit = MeasuredAudit(
        tmp_path / "viewed",
        text=f"{HOSTILE} {LONG[:3000]}".replace("{", "{{").replace("}", "}}") + "{}",
        said=lambda *_: f"{HOSTILE} {LONG}",
        attacks=(*ATTACKS, ("quantization/</script><b>", HOSTILE)),
        notes={HOSTILE: HOSTILE},
    )
    opened(tab, site_of(tmp_path, audit), 360)
    tab.evaluate("document.querySelector('#rows .num').click()")
    until(tab, OPENED)
    assert tab.evaluate(OVERFLOW) == 0
    assert MARKER not in tab.evaluate("document.title")
    assert (
        tab.evaluate("document.querySelectorAll('main img, iframe, svg, main style').length") == 0
    )
    assert tab.evaluate("document.querySelectorAll('a[href^=http]').length") == 0
    assert "Cut" in tab.evaluate(PANEL) or "cut" in tab.evaluate(PANEL)
    assert "\u27e8U+202E\u27e9" in tab.evaluate(PANEL)
    quiet(tab)
    own = [text for text in tab.scripts() if not text.startswith("auditorEvidence(")]
    assert own == [str(evidence_script())]


def test_the_policy_of_the_page_stops_any_other_script(tab, page):
    changed = page.with_name("changed.html")
    foreign = f"<script>document.title = '{MARKER}'</script><script src='evil.js'></script>"
    changed.write_text(page.read_text("utf-8").replace("<footer>", f"{foreign}<footer>"), "utf-8")
    page.with_name("evil.js").write_text(f"document.title = '{MARKER}'")
    opened(tab, changed)
    assert MARKER not in tab.evaluate("document.title")
    assert len(tab.happened("Log.entryAdded")) == 2, "both were refused"


def test_the_server_gives_the_same_page(tab, tmp_path):
    audit = MeasuredAudit(tmp_path)
    audit.write_certificate()
    with serving(tmp_path) as served:
        own = json.loads(served.get("api/overview.json"))["certificates"][0]["id"]
        tab.view(1280)
        tab.events.clear()
        address = f"{served.viewer.address}certificate/{own}/evidence"
        tab.call("Page.navigate", url=address)
        until(tab, DRAWN)
        assert tab.evaluate("document.querySelectorAll('#rows .leak').length") == len(LEAKING)
        tab.evaluate("document.querySelector('#rows .leak').click()")
        until(tab, OPENED)
        first = audit.sets.forget[0]
        assert f"{framed(first)} (as the original reads it" in " ".join(tab.evaluate(PANEL).split())
        tab.evaluate("document.getElementById('next').click()")
        until(tab, f"{PANEL}.includes('put together')")
        assert tab.happened("Log.entryAdded") == []
        assert all(a.startswith(served.viewer.address) for a in tab.requests())
        tab.call("Page.navigate", url="about:blank")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Evidence of 5,000 facts under 40 attacks, with its certificate."""
    audit = large_audit(tmp_path_factory.mktemp("large") / "viewed")
    audit.write_certificate()
    return audit


def seconds_to_drawn(tab):
    return tab.evaluate("performance.getEntriesByName('drawn')[0].startTime") / 1000


@pytest.mark.nightly
def test_5000_facts_by_40_attacks_are_of_use_from_the_server_within_two_seconds(tab, large):
    """Seconds from the click on a link of the overview to the drawn grid; nothing was read yet."""
    taken = []
    for _ in range(3):
        with serving(large.root) as served:
            own = json.loads(served.get("api/overview.json"))["certificates"][0]["id"]
            tab.view(1280)
            address = f"{served.viewer.address}certificate/{own}/evidence"
            tab.call("Page.navigate", url=address)
            until(tab, DRAWN)
            taken.append(seconds_to_drawn(tab))
            tab.call("Page.navigate", url="about:blank")
    print(f"drawn by the server after {min(taken):.2f} s (of {taken})")
    assert min(taken) < SECONDS


@pytest.mark.nightly
def test_5000_facts_by_40_attacks_are_of_use_within_two_seconds(tab, large, tmp_path):
    """Seconds from the click on a link to the drawn grid, from the disk; then those of a key."""
    page = site_of(tmp_path, large)
    taken = []
    for _ in range(3):
        opened(tab, page)
        taken.append(seconds_to_drawn(tab))
    assert tab.evaluate(STATUS).startswith("5,000 of 5,000")
    assert tab.evaluate("document.querySelectorAll('#rows .row').length") < 60
    again = tab.evaluate(
        """(() => {
            const started = performance.now();
            for (const top of [20000, 100000, 200000, 0]) {
                document.getElementById('scroller').scrollTop = top;
                document.getElementById('scroller').dispatchEvent(new Event('scroll'));
                document.body.getBoundingClientRect();
            }
            for (const name of ['fact', 'leaks', 'above']) {
                const field = document.getElementById('sort');
                field.value = name;
                field.dispatchEvent(new Event('change'));
                document.body.getBoundingClientRect();
            }
            return (performance.now() - started) / 7000;
        })()"""
    )
    print(f"drawn after {min(taken):.2f} s (of {taken}), {again:.3f} s a step")
    assert min(taken) < SECONDS
    assert again < 0.5
    press(tab, "End")
    tab.evaluate("document.querySelector('#rows .leak').click()")
    until(tab, OPENED)
    quiet(tab)
