"""Pictures of a certificate, as the page shows them."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from auditor.certificate.media import ImageExamplePart, ViewPart, content_of
from auditor.certificate.schema import Certificate
from reports.arms import above_baseline, in_order

COARSE = 32
"""Pixels of the longer side up to which each pixel is drawn as a sharp square."""


@dataclass(frozen=True)
class Pair:
    """Pictures of one fact, before and under its strongest attack.

    The strongest attack is the one that brings out most of the fact. Either picture may be missing.
    """

    fact: ImageExamplePart
    before: ViewPart | None
    after: ViewPart | None


@dataclass(frozen=True)
class Gallery:
    """Pictures of a certificate, as the page shows them.

    Attributes:
        arms: all that drew anything, in the order of the comparison.
        pairs: each fact before and after, worst first.
        attacks: label of an attack to the facts under it, the worst first; so are the attacks.
        pictured: facts of which the evidence holds pictures.
        left_out: views that are in the evidence only.
    """

    arms: tuple[str, ...]
    pairs: tuple[Pair, ...]
    attacks: tuple[tuple[str, tuple[tuple[ImageExamplePart, ViewPart], ...]], ...]
    pictured: int
    left_out: int


@dataclass(frozen=True)
class Shot:
    """A picture that is fit for a page."""

    source: Markup
    """Data URL of the picture."""
    width: int
    height: int

    @property
    def coarse(self) -> bool:
        """Whether it has so few pixels that a browser would blur it."""
        return max(self.width, self.height) <= COARSE


def gallery(certificate: Certificate) -> Gallery | None:
    """Returns the pictures in the order of the page.

    None means that the certificate has no pictures.
    """
    examples = certificate.image_examples
    if examples is None or not examples.facts:
        return None
    references = {row.label for row in certificate.matrix if row.attack.startswith("none/")}
    arms = {arm for fact in examples.facts for view in fact.views for arm in view.pictures}
    under: dict[str, list[tuple[ImageExamplePart, ViewPart]]] = {}
    for fact in examples.facts:
        for view in fact.views:
            if view.attack not in references:
                under.setdefault(view.attack, []).append((fact, view))
    for facts in under.values():
        facts.sort(key=lambda shown: _rank(shown[1]))
    return Gallery(
        arms=tuple(in_order(arms)),
        pairs=tuple(_pairs(examples.facts, references)),
        attacks=tuple(
            (label, tuple(facts))
            for label, facts in sorted(under.items(), key=lambda entry: _rank(entry[1][0][1]))
        ),
        pictured=examples.pictured,
        left_out=examples.left_out,
    )


def shot(picture: str) -> Shot | None:
    """Returns a picture for a page, or None if it is invalid.

    The certificate may come from anywhere, so the picture is checked.

    The address holds nothing but base64 of our own making, so it needs no escaping.
    """
    try:
        content = content_of(picture)
    except ValueError:
        return None
    source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))  # of its first part
    return Shot(Markup(source), width, height)  # noqa: S704


def _pairs(facts: tuple[ImageExamplePart, ...], references: set[str]) -> Iterator[Pair]:
    for fact in facts:
        before = [view for view in fact.views if view.attack in references]
        attacked = [view for view in fact.views if view.attack not in references]
        yield Pair(
            fact,
            before[0] if before else None,
            min(attacked, key=_rank) if attacked else None,
        )


def _rank(view: ViewPart) -> float:
    """Returns the sort key of an attack's picture.

    Pictures further above the retrained models come earlier; those of unknown K come last.
    """
    above = above_baseline(view.k)
    return 2.0 if above is None else -above
