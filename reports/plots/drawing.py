"""Matplotlib figures as SVG inside a page.

The bytes are the same every time, and the colours are those of the page.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

# Colours by role. The stylesheet sets each for light, dark and print; the value here is what a
# viewer without the stylesheet sees. No two may be equal.
INK = "#1c1b19"
SOFT = "#5c5850"
LINE = "#c9c4b8"
LEAK = "#a3261b"
WITHIN = "#1d6b3f"
OPEN = "#6b5200"
UNLEARNED = "#a8431f"
ORIGINAL = "#22508f"
BASELINE = "#2b6f77"
HEAT = "#8a3ffc"
PAPER = "#ffffff"

ROLES = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    LEAK: "leak",
    WITHIN: "within",
    OPEN: "open",
    UNLEARNED: "unlearned",
    ORIGINAL: "original",
    BASELINE: "baseline",
    HEAT: "heat",
    PAPER: "card",
}

WIDTH = 264.0
"""Width in points: that of the figure on a telephone, so that its text keeps its size there."""

LABEL, SMALL = 9.5, 8.5
"""Sizes of text in points."""

HATCH = 8.0
"""Distance in points between two lines of a hatched cell."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "auditor",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "axes.unicode_minus": True,
    "path.simplify": False,
}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NUMBER = re.compile(r"-?[0-9]+\.[0-9]{3,}")
_FONT = re.compile(r"font(-family|-weight|-style)?:[^;]*(;|$)")


@contextmanager
def canvas(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """Yields a figure and axes that fill it.

    Units are points from the top left corner.

    Whatever settings the machine's own matplotlib has, these are the library's defaults.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # The reader's own fonts draw the text, not the one that is measured here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width / 72.0, height / 72.0))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0.0, width)
        axes.set_ylim(height, 0.0)
        yield figure, axes


def segments(
    axes: Axes, lines: Sequence[tuple[float, float, float, float]], color: str, lw: float
) -> None:
    """Draws many straight lines (x, y to x, y) as one element.

    A page can bear few elements.
    """
    gap = math.nan
    axes.plot(
        [x for a, _, b, _ in lines for x in (a, b, gap)],
        [y for _, a, _, b in lines for y in (a, b, gap)],
        color=color,
        lw=lw,
        solid_capstyle="butt",
    )


def boxes(
    axes: Axes, areas: Sequence[tuple[float, float, float, float]], color: str, alpha: float
) -> None:
    """Fills many rectangles of one shade as one element.

    Each area is left, right, top, bottom.
    """
    if alpha <= 0:
        return
    corners = [
        point
        for left, right, top, bottom in areas
        for point in ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    ]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(areas)
    axes.add_patch(PathPatch(Path(corners, codes), facecolor=color, alpha=alpha, lw=0))


def hatched(axes: Axes, area: tuple[float, float, float, float]) -> None:
    """Draws slanted lines in a cell without a number.

    The area is left, right, top, bottom.
    """
    left, right, top, bottom = area
    height = bottom - top
    slants = []
    foot = left - height + HATCH / 2
    while foot < right:
        start, end = max(foot, left), min(foot + height, right)
        slants.append((start, bottom - (start - foot), end, bottom - (end - foot)))
        foot += HATCH
    segments(axes, slants, LINE, 0.5)
    edge = Rectangle((left, top), right - left, height, facecolor="none", edgecolor=LINE, lw=0.8)
    axes.add_patch(edge)


def inline_svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Returns a figure as an SVG element for a page.

    Args:
        figure: from `canvas`, inside its context.
        name: prefix that keeps the ids of two figures apart; our own word, not a label.
        title: what it is, for those who do not see it.
        description: what it shows.
    """
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    root = ET.fromstring(written.getvalue())  # noqa: S314 - matplotlib wrote it just now
    _drop_namespaces(root)
    _strip(root)
    _own_names_and_colours(root, name)
    view_box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": view_box,
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
            "class": "plot",
        }
    )
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{name}-{'title' if tag == 'title' else 'description'}"})
        element.text = text
        root.insert(position, element)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - an escaped tree


def _drop_namespaces(root: ET.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
        for key in [key for key in element.attrib if "}" in key]:
            element.attrib[key.rsplit("}", 1)[-1]] = element.attrib.pop(key)


def _strip(element: ET.Element) -> None:
    """Removes what does nothing inside a page.

    It is half of what matplotlib writes: groups without attributes, white space, paths without ink,
    the clip at the figure's edge (the page cuts there itself), and style elements, whose rules
    would hold for the whole page.
    """
    kept: list[ET.Element] = []
    for child in element:
        _strip(child)
        empty = child.tag in ("defs", "g") and len(child) == 0
        if child.tag in ("metadata", "style", "clipPath") or empty or _unseen(child):
            continue
        child.attrib.pop("clip-path", None)
        child.tail = None
        if child.tag == "g" and not set(child.attrib) - {"id"}:
            kept.extend(child)
        else:
            kept.append(child)
    element[:] = kept
    if element.tag != "text":
        element.text = None
    elif element.get("transform", "").startswith("rotate(-0 "):
        element.attrib.pop("transform")


def _unseen(element: ET.Element) -> bool:
    """Returns whether an element is a path that draws nothing.

    It is a path of one point, as below a lone marker, or the background of the figure.
    """
    if element.tag != "path":
        return False
    return not re.search("[LCQ]", element.get("d", "")) or element.get("style") == "fill: none"


def _own_names_and_colours(root: ET.Element, name: str) -> None:
    referred = {element.get("href", "").removeprefix("#") for element in root.iter()}
    for element in root.iter():
        if element.get("id") not in referred:
            element.attrib.pop("id", None)
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == "href":
                element.set(key, f"#{name}-{value.removeprefix('#')}")
            elif key in ("d", "x", "y", "transform"):
                element.set(key, _NUMBER.sub(_rounded, value))
            elif key == "style":
                if element.tag == "text":
                    value = _only_size(value)
                element.set(key, _COLOUR.sub(_variable, value))


def _only_size(style: str) -> str:
    size = re.search(r"([0-9.]+)px", style)
    rest = _FONT.sub("", style.replace("font-size", "size")).strip("; ")
    rest = re.sub(r"size:[^;]*;?", "", rest).strip("; ")
    return f"font-size: {size.group(1) if size else SMALL}px; {rest}"


def _rounded(written: re.Match[str]) -> str:
    """Returns a number rounded to two decimals.

    A hundredth of a point is below what any screen or paper shows.
    """
    return f"{float(written.group(0)):.2f}".rstrip("0").rstrip(".")


def _variable(colour: re.Match[str]) -> str:
    role = ROLES.get(colour.group(0))
    return f"var(--{role}, {colour.group(0)})" if role else colour.group(0)
