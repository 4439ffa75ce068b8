"""A figure as a parser sees it: where its texts, marks and lines lie, in which colours."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

NEAR = 0.02
"""Points; places are written with two decimals."""

NUMBERS = re.compile(r"-?[0-9.]+(?:e-?[0-9]+)?")


@dataclass(frozen=True)
class Shape:
    """A path or a mark.

    Attributes:
        color: its role in the stylesheet (``leak``, ``line``).
        parts: its corners by stroke of the pen; of a mark the one place where it lies.
        opacity: of a filled path.
        style: as written.
    """

    color: str | None
    parts: tuple[tuple[tuple[float, float], ...], ...]
    opacity: float
    style: str

    @property
    def points(self):
        return tuple(point for part in self.parts for point in part)

    @property
    def box(self):
        xs, ys = zip(*self.points, strict=True)
        return min(xs), max(xs), min(ys), max(ys)

    @property
    def segments(self):
        """Its parts that are one straight line between two points."""
        return [part for part in self.parts if len(part) == 2]


class Figure:
    """The texts, paths and marks of an SVG."""

    def __init__(self, svg):
        self.root = ET.fromstring(str(svg))  # noqa: S314 - drawn just now
        self.width, self.height = map(float, self.root.get("viewBox").split()[2:])
        inside = {id(p) for defs in self.root.iter("defs") for p in defs.iter("path")}
        self.texts = [
            (e.text, float(e.get("x")), float(e.get("y")), e.get("style"))
            for e in self.root.iter("text")
        ]
        self.paths = [_path(e) for e in self.root.iter("path") if id(e) not in inside]
        self.marks = [_mark(e) for e in self.root.iter("use")]

    def x_of(self, text, nth=-1):
        """Where a text stands; the last of equal ones, for scales stand below."""
        return [x for said, x, _, _ in self.texts if said == text][nth]

    def between(self, low, high, part):
        """The place of a part of the way between two numbers of the scale."""
        return self.x_of(low) + part * (self.x_of(high) - self.x_of(low))

    def y_of(self, text):
        return [y for said, _, y, _ in self.texts if said == text][-1]

    def says(self, part):
        return any(part in said for said, *_ in self.texts)

    def filled(self, color):
        return [p for p in self.paths if p.color == color and f"fill: var(--{color}" in p.style]

    def lines(self, color):
        return [p for p in self.paths if f"stroke: var(--{color}" in p.style]

    def marked(self, color):
        return [mark.points[0] for mark in self.marks if mark.color == color]


def _path(element):
    strokes = [NUMBERS.findall(stroke) for stroke in element.get("d").split("M")[1:]]
    return _shape(
        element.get("style"),
        tuple(tuple(zip(map(float, s[::2]), map(float, s[1::2]), strict=True)) for s in strokes),
    )


def _mark(element):
    place = (float(element.get("x")), float(element.get("y")))
    return _shape(element.get("style"), ((place,),))


def _shape(style, parts):
    names = re.findall(r"var\(--(\w+)", style)
    opacity = re.search(r"opacity: ([0-9.]+)", style)
    return Shape(
        next((name for name in names if name != "card"), None),
        parts,
        float(opacity.group(1)) if opacity else 1.0,
        style,
    )
