"""The page against the axe-core rules, in a real browser."""

import json
from importlib.resources import files

import pytest
from hand_made_pictures import pictured_certificate

pytestmark = pytest.mark.slow

CASES = ("PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE", "hostile", "pictures")
AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found))"
PLAIN_EDGES = """document.head.append(Object.assign(document.createElement('style'),
    {textContent: '.scroller { background: none !important }'}))"""
"""The shade at the edge of a wide table keeps axe from judging any contrast inside."""
SERIOUS = ("serious", "critical")


def violations(tab):
    """Everything that axe finds, with all that can be unfolded unfolded."""
    tab.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    tab.evaluate(PLAIN_EDGES)
    tab.evaluate(AXE)
    found = json.loads(tab.evaluate(RUN))
    assert len(found["passes"]) > 15, "axe ran its rules"
    return [
        (rule["id"], rule["impact"], node["target"], node["failureSummary"][:300])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.fixture
def opened(tab, saved, certificate, hostile):
    def open_(case, width, scheme):
        tab.view(width, scheme=scheme)
        if case == "pictures":
            shown = pictured_certificate()
        else:
            shown = hostile if case == "hostile" else certificate(case)
        tab.open(saved(shown))
        return tab

    return open_


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("case", CASES)
def test_axe_finds_nothing_serious(opened, case, scheme):
    found = violations(opened(case, 1280, scheme))
    assert [v for v in found if v[1] in SERIOUS] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("case", ["FAIL", "pictures"])
def test_axe_finds_nothing_serious_on_a_telephone(opened, case, scheme):
    found = violations(opened(case, 360, scheme))
    assert [v for v in found if v[1] in SERIOUS] == []


@pytest.mark.parametrize("wish", ["prefers-contrast: more", "forced-colors: active"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_more_contrast_is_wanted(opened, scheme, wish):
    tab = opened("FAIL", 1280, scheme)
    name, value = wish.split(": ")
    features = {"prefers-color-scheme": scheme, name: value}
    tab.call(
        "Emulation.setEmulatedMedia",
        features=[{"name": name, "value": value} for name, value in features.items()],
    )
    assert tab.evaluate(f"matchMedia('({wish})').matches")
    assert [v for v in violations(tab) if v[1] in SERIOUS] == []


def test_nothing_moves(opened):
    tab = opened("FAIL", 1280, "light")
    moving = """[...document.querySelectorAll('*')].filter(part => {
        const style = getComputedStyle(part);
        return style.animationName !== 'none' || style.scrollBehavior !== 'auto'
            || style.transitionDuration.split(', ').some(time => time !== '0s');
    }).length"""
    assert tab.evaluate(moving) == 0
    assert tab.evaluate("document.getAnimations().length") == 0


def test_axe_would_have_noticed(opened):
    tab = opened("FAIL", 1280, "light")
    tab.evaluate("document.querySelector('h1').innerHTML = '<img src=\"data:,\"><button></button>'")
    assert {"image-alt", "button-name"} <= {v[0] for v in violations(tab) if v[1] in SERIOUS}


def test_tables_stay_tables_on_a_telephone(opened):
    tab = opened("FAIL", 360, "light")
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    rows = tab.evaluate("document.querySelectorAll('table.stack tbody tr').length")
    assert rows > 20
    assert roles.count("rowheader") >= rows
    assert roles.count("columnheader") >= 13


def test_everything_that_takes_the_focus_shows_it_and_can_be_hit(opened):
    tab = opened("FAIL", 360, "light")
    tab.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    small = tab.evaluate(
        """[...document.querySelectorAll('nav a, button, input, summary')].map(part => {
            const box = part.getBoundingClientRect();
            return [part.textContent.trim(), box.width, box.height];
        }).filter(([_, width, height]) => Math.min(width, height) < 24)"""
    )
    assert small == []
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    for _ in range(6):
        tab.press("Tab", 9)
        style = tab.evaluate(
            "(s => [s.outlineStyle, s.outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "3px"]
