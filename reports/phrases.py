"""Phrases: text in spans, of which some are quotations of somebody else.

Sentences are templates. What a template puts in keeps where it came from: a number is formatted, a
message becomes its own phrase, and a text that somebody else wrote stays a quotation, so that each
report can mark and escape it in its own way.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from string import Formatter
from typing import Any, NamedTuple

from auditor.core.text_safety import cut_note, visible
from reports import number_format

OPEN, CLOSE = "“", "”"
"""Quotation marks around foreign text; those inside of it become straight ones."""

_STRAIGHT = str.maketrans({OPEN: '"', CLOSE: '"'})


class Span(NamedTuple):
    """Piece of a phrase."""

    text: str
    quoted: bool = False
    """Whether somebody else wrote the text: an exception, a model or a file."""

    @property
    def marked(self) -> str:
        """The text, in quotation marks if it is quoted."""
        return f"{OPEN}{self.text.translate(_STRAIGHT)}{CLOSE}" if self.quoted else self.text


class Quoted(str):
    """Text that somebody else wrote, as the value of a parameter."""

    __slots__ = ()


@dataclass(frozen=True)
class Phrase:
    """Text in spans, in their order."""

    spans: tuple[Span, ...] = ()

    def __str__(self) -> str:
        """Return the text, with quotation marks around what is quoted."""
        return "".join(span.marked for span in self.spans)

    def __len__(self) -> int:
        """Return the number of characters, quotation marks not counted."""
        return sum(len(span.text) for span in self.spans)

    def __add__(self, other: "Phrase") -> "Phrase":
        return Phrase(self.spans + other.spans)

    def shortened(self, limit: int) -> "Phrase":
        """Return the first ``limit`` characters."""
        kept: list[Span] = []
        left = limit
        for span in self.spans:
            if left > 0:
                kept.append(Span(span.text[:left], span.quoted))
            left -= len(span.text)
        return Phrase(tuple(kept))

    def inline(self, limit: int) -> str:
        """Return the text as one shortened line, not escaped.

        Characters that cannot be seen are shown as symbols.
        """
        return visible(str(self.shortened(limit))) + cut_note(self.text, limit)

    @property
    def text(self) -> str:
        """The text without quotation marks."""
        return "".join(span.text for span in self.spans)


def plain(text: str) -> Phrase:
    """Return a text of our own as a phrase."""
    return Phrase((Span(text),))


def join(separator: str, phrases: Iterable[Phrase]) -> Phrase:
    """Return the phrases joined by a text of our own."""
    spans: list[Span] = []
    for position, phrase in enumerate(phrases):
        if position:
            spans.append(Span(separator))
        spans.extend(phrase.spans)
    return Phrase(tuple(spans))


def fill(template: str, /, **values: Any) -> Phrase:
    """Fill a template of `str.format` whose format specifications are those of `FORMATS`.

    A specification ``one|many`` writes a count with its noun: ``{facts:fact|facts}``.

    Args:
        template: our own text.
        values: JSON values, `Quoted` texts and phrases.

    Raises:
        LookupError: a value is missing.
        TypeError: a value is of another type than its specification asks for.
    """
    return Phrase(tuple(_spans(template, values)))


def _spans(template: str, values: dict[str, Any]) -> Iterator[Span]:
    for text, name, specification, _ in Formatter().parse(template):
        if text:
            yield Span(text)
        if name is not None:
            yield from shown(values[name], specification or "").spans


def shown(value: Any, specification: str = "") -> Phrase:
    """Return one value as a phrase.

    Args:
        value: a JSON value, a `Quoted` text or a phrase.
        specification: a name in `FORMATS`, or ``one|many``; empty for a text, a list or a number
            as it was set.
    """
    if isinstance(value, Phrase):
        return value
    if isinstance(value, Quoted):
        return Phrase((Span(str(value), quoted=True),))
    if "|" in specification:
        one, _, many = specification.partition("|")
        return plain(f"{number_format.count(_whole(value))} {one if value == 1 else many}")
    if specification:
        return plain(FORMATS[specification](value))
    if isinstance(value, list):
        return join(", ", (shown(item) for item in value)) if value else plain("none")
    if isinstance(value, dict):
        entries = (plain(f"{name} ") + shown(item) for name, item in value.items())
        return join(", ", entries) if value else plain("none")
    return plain(_bare(value))


def _bare(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return number_format.count(value)
    return number_format.plain(value) if math.isfinite(value) else number_format.number(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no count")
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(f"{value!r} is no number")
    return value


def _percent(value: float | None) -> str:
    return number_format.MISSING if value is None else number_format.percent(value)


def _confidence(alpha: Any) -> str:
    value = _number(alpha)
    return _percent(None if value is None else 1 - value)


FORMATS: dict[str, Callable[[Any], str]] = {
    "number": lambda value: number_format.number(_number(value)),
    "short": lambda value: number_format.number(_number(value), 2),
    "set": lambda value: number_format.plain(_number(value)),
    "share": lambda value: number_format.share(_number(value)),
    "percent": lambda value: _percent(_number(value)),
    "confidence": _confidence,
    "count": lambda value: number_format.count(_whole(value)),
    "seconds": lambda value: number_format.seconds(_number(value)),
}
"""Formats of numbers in sentences, the same as in tables.

``number`` and ``short`` have three and two decimals; ``set`` shows a number as it was set;
``seconds`` is a duration; ``share`` is in per cent, ``percent`` is a share as it was set, in per
cent; ``confidence`` is 1 - alpha in per cent."""
