"""The figures of the page: what is drawn lies where the numbers are."""

import re
from importlib.resources import files
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from drawn_figure import NEAR, Figure
from hand_made_certificates import honest_certificate
from hand_made_rows import row
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import page_of
from parsed_page import Page

from auditor.certificate.schema import MatrixRow
from reports.html import render
from reports.matrix import attack_views, foremost
from reports.plots.attack_matrix import OTHER, RHO, STRONGEST, attack_matrix
from reports.plots.distribution import spreads
from reports.plots.knowledge import knowledge_plot
from reports.plots.residual import residual_plot

TAGS = {"svg", "title", "desc", "defs", "path", "use", "text", "g"}


@pytest.fixture
def views(certificate):
    """Makes the rows of the page from rows of the matrix."""

    def make(*rows):
        told = [r.model_dump() if isinstance(r, MatrixRow) else r for r in rows]
        return attack_views(certificate("FAIL", matrix=told))

    return make


def with_figures(told, **changes):
    [reading] = told["readings"]
    return told | {"readings": [reading | {"figures": reading["figures"] | changes}]}


def crossing(figure, left, right):
    """Slanted lines between two places: the hatching of a cell."""
    return [
        (a, b)
        for path in figure.lines("line")
        for a, b in path.segments
        if a[0] != b[0] and a[1] != b[1] and left - NEAR <= min(a[0], b[0]) <= right
    ]


class TestResidual:
    def drawn(self, views, told):
        return Figure(residual_plot(views(told), 0.1, 0.05, 1))

    @pytest.mark.parametrize("rho", [0.0, 0.25, 0.5, 0.8, 1.0])
    def test_point_and_bounds_lie_at_their_numbers(self, views, rho):
        told = row("quantization/bnb", "nf4", (0.8, 0.2, 0.9))
        told = with_figures(told, rho=rho, rho_lower=rho - 0.05, rho_upper=rho + 0.075)
        figure = self.drawn(views, told)
        [(x, _)] = figure.marked("leak")
        assert x == pytest.approx(figure.between("0", "1", rho), abs=NEAR)
        ends = max((p.box for p in figure.lines("leak")), key=lambda box: box[1] - box[0])
        assert ends[0] == pytest.approx(figure.between("0", "1", rho - 0.05), abs=NEAR)
        assert ends[1] == pytest.approx(figure.between("0", "1", rho + 0.075), abs=NEAR)

    @pytest.mark.parametrize("delta", [0.05, 0.1, 0.3])
    def test_the_margin_is_a_line_at_delta(self, views, delta):
        told = row("none/as-is", "full precision", None, status="failed", reason={"code": "lost"})
        figure = Figure(residual_plot(views(told), delta, 0.05, 1))
        places = [p.box[0] for p in figure.lines("within") if p.box[0] == p.box[1]]
        assert places == pytest.approx([figure.between("0", "1", delta)] * 2, abs=NEAR)
        assert figure.says(f"δ = {delta}")

    def test_a_bound_that_does_not_exist_is_an_arrow_at_the_edge(self, views):
        told = with_figures(row("a/b", "c", (0.5, 0.2, 0.9), role="advisory"), rho_upper=None)
        bounded = self.drawn(views, with_figures(told, rho_upper=0.9))
        figure = self.drawn(views, told)
        assert len(figure.marked("leak")) == len(bounded.marked("leak")) + 1
        assert max(x for x, _ in figure.marked("leak")) > figure.x_of("1")

    def test_what_lies_beyond_the_edge_is_not_drawn_at_the_edge(self, views):
        told = with_figures(row("a/b", "c", (0.5, 0.2, 0.9)), rho=7.0, rho_lower=6.0)
        figure = self.drawn(views, told | {"named": True})
        diamonds = [m for m in figure.marks if "stroke-width: 1.4" in m.style]
        assert diamonds == []
        assert figure.says("7.000")

    def test_gates_that_were_not_met_and_waivers_are_named(self, views):
        within = row("none/as-is", "full precision", (0.2, 0.2, 0.9))
        assert not self.drawn(views, within).says("not met")
        blind = row("quantization/rtn", "2 bit", (0.02, 0.02, 0.03))
        assert self.drawn(views, blind).says("not met: sensitivity, residual")
        waived = row("a/b", "c", None, status="failed", reason={"code": "x"}, role="waived")
        figure = self.drawn(views, waived)
        assert figure.says("waived; not met: measured")
        assert figure.says("failed")
        assert figure.marked("leak") == figure.marked("within") == []
        reported = row("a/b", "c", (0.2, 0.2, 0.9), role="reported")
        assert self.drawn(views, reported).says("only reported")


def test_knowledge_lies_at_its_numbers(views):
    told = row("quantization/bnb", "nf4", (0.75, 0.25, 0.5))
    figure = Figure(knowledge_plot(views(told), None, 1))
    for color, number in (("unlearned", 0.75), ("baseline", 0.25), ("original", 0.5)):
        x, _ = figure.marked(color)[-1]
        assert x == pytest.approx(figure.x_of(f"{number}"), abs=NEAR)
        assert x == pytest.approx(figure.between("0", "0.25", 4 * number), abs=NEAR)


class TestAttackMatrix:
    def test_every_number_stands_in_its_column(self, views):
        told = row("quantization/bnb", "nf4", (0.81, 0.23, 0.94))
        [view] = views(told)
        figure = Figure(attack_matrix([view], 1))
        for head, number in (
            ("unlearned", "0.810"),
            ("retrained", "0.230"),
            ("original", "0.940"),
            (RHO, view.rho),
        ):
            nth = 0 if head == RHO else -1
            assert figure.x_of(number) == pytest.approx(figure.x_of(head, nth), abs=NEAR)
        assert figure.says("leak found")

    def test_figures_by_another_metric_than_the_primary_one_are_marked(self, views):
        told = row("quantization/bnb", "nf4", (0.81, 0.23, 0.94))
        told["readings"][0]["metric"] = "answer-recall"
        told["forget"]["answer-recall"] = told["forget"]["rouge-l-recall"]
        [view] = views(told)
        assert view.metric == "answer-recall"
        assert Figure(attack_matrix([view], 1)).says(f"leak found {OTHER}")

    @given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
    @settings(max_examples=20, deadline=None)
    def test_the_shade_grows_with_the_number(self, numbers):
        view = bare_view(forget=numbers)
        figure = Figure(attack_matrix([view], 1))
        heads = ("unlearned", "retrained", "original")
        shades = {
            number: next(
                (p.opacity for p in figure.filled("heat") if cell(p, figure.x_of(head))), 0.0
            )
            for head, number in zip(heads, numbers, strict=True)
        }
        ordered = [shades[number] for number in sorted(shades)]
        assert ordered == sorted(ordered)
        assert max(ordered) <= 0.45, "text keeps its contrast"

    def test_a_missing_number_is_hatched_and_never_shaded_as_nought(self, views):
        lost = row(
            "quantization/awq", "4 bit", None, status="unavailable", reason={"code": "no_gpu_here"}
        )
        figure = Figure(attack_matrix(views(lost), 1))
        left, right = figure.x_of("unlearned") - 28, figure.x_of(RHO, 0) + 30
        assert len(crossing(figure, left, right)) > 20
        assert figure.says("no gpu here")
        assert figure.says("unavailable")
        assert not figure.says("0.000")
        assert not [p for p in figure.filled("heat") if cell(p, figure.x_of("unlearned"))]

    def test_nought_is_a_number_and_is_not_hatched(self, views):
        figure = Figure(attack_matrix(views(row("a/b", "c", (0.0, 0.0, 0.5))), 1))
        assert figure.says("0.000")
        assert crossing(figure, 0, figure.width) == []

    def test_one_missing_number_hatches_its_own_cell_alone(self, views):
        figure = Figure(attack_matrix(views(row("a/b", "c", (0.5, 0.5, 0.52))), 1))
        hatched = crossing(figure, 0, figure.width)
        assert hatched
        assert min(min(a[0], b[0]) for a, b in hatched) > figure.x_of("original") + 28
        assert figure.says("not measured")


def bare_view(forget):
    unlearned, retrained, original = forget
    told = row("a/b", "c", (0.5, 0.2, 0.9))
    told["forget"]["rouge-l-recall"] = {
        "unlearned": unlearned,
        "retrained-0": retrained,
        "original": original,
    }
    return attack_views(honest_certificate("FAIL", matrix=[told]))[0]


def cell(path, middle):
    left, right, top, _ = path.box
    return left < middle < right and top < 60


SHEETS = ("light", "dark", "more contrast", "dark, more contrast", "print")
"""The blocks of roles in the stylesheet, in their order."""


@pytest.mark.parametrize("scheme", SHEETS)
def test_a_number_on_the_strongest_shade_keeps_its_contrast(scheme):
    css = files("reports").joinpath("templates", "certificate.css").read_text("utf-8")
    blocks = [dict(re.findall(r"--(\w+): (#\w+)", b)) for b in re.findall(r":root \{([^}]*)", css)]
    assert len(blocks) == len(SHEETS)
    ground = blocks[1] if "dark" in scheme else {}
    roles = blocks[0] | ground | blocks[SHEETS.index(scheme)]
    for color in ("heat", "leak"):
        pairs = zip(channels(roles[color]), channels(roles["card"]), strict=True)
        shade = luminance([STRONGEST * over + (1 - STRONGEST) * card for over, card in pairs])
        ink = luminance(channels(roles["ink"]))
        assert (max(shade, ink) + 0.05) / (min(shade, ink) + 0.05) >= 4.5


def channels(color):
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    return [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]


def luminance(rgb):
    """Relative luminance of WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE", "NOT AUDITABLE"])
def test_every_figure_is_told_to_those_who_do_not_see_it(verdict):
    for svg in pictures(page_of(verdict)):
        title, desc = svg.find("title"), svg.find("desc")
        assert svg.get("role") == "img"
        assert svg.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
        assert len(title.text) > 10
        assert len(desc.text) > 10


def test_the_numbers_of_the_figures_stand_in_a_table_too(certificate):
    shown = certificate("FAIL")
    text = page_of("FAIL")
    tables = Page(" ".join(re.findall(r"<table.*?</table>", text, re.DOTALL))).said
    for view in attack_views(shown):
        for number in (view.rho, *(f"{v:.3f}" for v in (view.unlearned, view.original) if v)):
            assert number in tables
        for curve in view.row.curves:
            assert f"{curve.points[-1][1]:.3f}" in tables
    for spread in spreads(attack_views(shown)):
        assert spread.view.leaked in tables


def test_hostile_labels_stay_text():
    found = pictures(page_of("hostile"))
    assert len(found) > 10
    told = 0
    for svg in found:
        assert {element.tag for element in svg.iter()} <= TAGS
        for element in svg.iter():
            assert not [name for name in element.attrib if name.startswith("on")]
            assert "url(" not in element.get("style", "")
            if element.get("href"):
                assert element.get("href").startswith("#")
        said = "".join(svg.itertext())
        told += "</script>" in said
        assert not set("\x00\x1b\u202e") & set(said)
    assert told > 10, "the labels are there, as text"
    assert len(max(("".join(svg.itertext()) for svg in found), key=len)) < 20_000


def test_settings_of_the_machine_change_nothing(certificate):
    with mpl.rc_context(
        {"savefig.bbox": "tight", "lines.solid_joinstyle": "bevel", "font.size": 30}
    ):
        assert render(certificate("FAIL")) == page_of("FAIL")


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
            st.one_of(st.none(), st.floats(-3, 3)),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=30, deadline=None)
def test_nothing_is_drawn_outside_whatever_the_numbers(values):
    rows = []
    for known, rho, bound in values:
        told = row("a/b", "c", (known, 0.2, 0.9))
        rows.append(with_figures(told, rho=rho, rho_lower=bound, rho_upper=rho))
    views = attack_views(honest_certificate("FAIL", matrix=rows))
    for svg in (
        residual_plot(views, 0.1, 0.05, 1),
        attack_matrix(views, 1),
        knowledge_plot(views, 0.5, 1),
    ):
        figure = Figure(svg)
        for shape in figure.paths + figure.marks:
            for x, y in shape.points:
                assert -0.5 <= x <= figure.width + 0.5
                assert -0.5 <= y <= figure.height + 0.5


def test_the_foremost_are_the_leaks_then_the_mandatory_by_residual(views):
    rows = [
        row("a/within", "1", (0.2, 0.2, 0.9)),
        row("a/advisory leak", "2", (0.6, 0.2, 0.9), role="advisory"),
        row("a/leak", "3", (0.9, 0.2, 0.9)),
        row("a/lost", "4", None, status="failed", reason={"code": "x"}),
        row("a/above", "5", (0.25, 0.2, 0.9)),
    ]
    order = [view.row.variant for view in foremost(views(*rows))]
    assert order == ["3", "2", "5", "1", "4"]


def pictures(text):
    found = re.findall(r'<svg viewBox[^>]*role="img".*?</svg>', text, re.DOTALL)
    return [ET.fromstring(svg) for svg in found]  # noqa: S314 - of our own page
