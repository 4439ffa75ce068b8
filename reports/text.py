"""The sheet of a certificate as plain text."""

from collections.abc import Iterator
from textwrap import wrap

from auditor.certificate.schema import Certificate
from auditor.core.text_safety import escape_unprintable
from auditor.report import REPORTS, Report, Signatures
from reports.messages import AS_STATED, FLAGS
from reports.number_format import MISSING
from reports.phrases import Phrase
from reports.summary import Example, Summary, quotation, summary

WIDTH = 78
"""Most characters of a line, which fits a terminal of 80 columns."""
LIMIT = 400
"""Most characters of a text that somebody else wrote."""
_LABEL = 18


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Return the sheet.

    No line is cut, and no word broken but one that is longer than a line.
    """
    told = summary(certificate, signatures)
    lines = [*_head(told), *_flags(certificate), *_body(told), *_last(told)]
    return "\n".join(lines) + "\n"


def _head(told: Summary) -> Iterator[str]:
    yield from _wrapped(f"{told.verdict}  {told.name or 'no model is named'}", "", "  ")
    yield from _wrapped(told.headline)
    for label, said in told.about:
        yield from _labelled(label, f"{_foreign(said)} ({AS_STATED})")


def _flags(certificate: Certificate) -> Iterator[str]:
    for flag in certificate.verdict.flags:
        yield from _wrapped(f"{flag}: {FLAGS[flag]}")
    if certificate.redaction != "none":
        yield "Redacted: texts of facts are replaced by keyed digests."


def _body(told: Summary) -> Iterator[str]:
    yield from _listed("In short", told.in_short)
    if told.example is not None:
        yield from _example(told.example)
    yield from ("", "What this rests on")
    for label, said in told.strength:
        yield from _labelled(label, said)
    yield from _listed("What to do next", told.next_steps)
    yield from _listed("What this does not say", told.unsaid)


def _last(told: Summary) -> Iterator[str]:
    words = told.signature.words
    yield ""
    yield from _wrapped(f"{words[0].upper()}{words[1:]}.")


def _example(example: Example) -> Iterator[str]:
    yield from ("", "For example")
    yield from _labelled("asked", quotation(example.prompt))
    yield from _labelled("true", quotation(example.answer))
    released = quotation(example.released) if example.released is not None else MISSING
    yield from _labelled("as released", released)
    how = example.how.inline(LIMIT)
    yield from _labelled(how[0].lower() + how[1:], quotation(example.attacked))


def _listed(heading: str, items: tuple[str | Phrase, ...] | tuple[str, ...]) -> Iterator[str]:
    yield from ("", heading)
    for item in items:
        yield from _wrapped(_shown(item), "- ", "  ")


def _labelled(label: str, said: str | Phrase) -> Iterator[str]:
    start = f"  {label + ':':<{_LABEL}} "
    yield from _wrapped(_shown(said), start, " " * 4)


def _wrapped(text: str, first: str = "", other: str = "") -> list[str]:
    return wrap(
        _foreign(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def _shown(said: str | Phrase) -> str:
    return said.inline(4 * LIMIT) if isinstance(said, Phrase) else said


def _foreign(text: str) -> str:
    return escape_unprintable(text)


REPORTS.register("text")(Report(render, ".txt", "One sheet as plain text."))
