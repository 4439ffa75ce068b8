"""Template environment, in which all text is escaped.

Only what our own code drew is not.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from auditor.certificate.schema import Certificate
from auditor.core import text_safety
from auditor.core.arms import Arm
from reports import arms, messages, number_format
from reports.image_examples import shot
from reports.phrases import Phrase
from reports.plain_names import has_plain_name, plain_name

PLAN_LIMIT = 20_000
"""Most characters of the plan that are shown."""
PRINTED = 10
"""Rows of the tables of facts and entities that are on paper."""
NAMED = 12
"""Leaked facts that the front page names where the verdict is no PASS; the JSON names all."""

_HEADING = re.compile('<h2 id="([a-z-]+)">([^<]+)</h2>')
"""Heading of a section. Only our templates write one: foreign text has no ``<`` left by then."""


def finalize(value: object) -> object:
    """Returns what the template prints in place of a value.

    Every string that is printed passes here, so that none can be forgotten: it is made visible and
    cut. A float must have been formatted before, so that none is shown with 17 digits.

    Raises:
        TypeError: a value that has no one way of being shown.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return number_format.MISSING
    if isinstance(value, Phrase):
        return excerpt(value).text
    if isinstance(value, str):
        return text_safety.inline(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"the template prints {type(value).__name__} {value!r}: format it first")


@cache
def environment() -> Environment:
    """Returns the environment of the templates of this package."""
    page = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(
        number=number_format.number,
        share=number_format.share,
        plain=number_format.plain,
        percent=number_format.percent,
        exact=number_format.exact,
        count=number_format.count,
        seconds=number_format.seconds,
        span=lambda ends: number_format.span(*ends),
        bounds=lambda ends: number_format.interval(*ends),
        excerpt=excerpt,
        block=text_safety.block,
        commands=commands,
        plain_name=plain_name,
        known_plainly=has_plain_name,
        as_yaml=as_yaml,
        as_json=as_json,
        naturally=naturally,
        measured_arms=measured_arms,
        in_order=arms.in_order,
        baseline_mean=arms.baseline_mean,
        above_baseline=arms.above_baseline,
        script_hash=script_hash,
        shot=shot,
        phrase=messages.phrase,
        remark=messages.remark,
        figure_name=messages.figure_name,
        figure_arms=messages.figure_arms,
        curve_name=messages.curve_name,
        measure_name=messages.measure_name,
        gate_name=messages.gate_name,
        headings=headings,
        arms_in_order=lambda parts: sorted(parts, key=lambda part: Arm(part.arm).place),
        meaning=arms.meaning,
    )
    page.globals.update(
        FLAGS=messages.FLAGS,
        MEASURED_AGAINST=messages.MEASURED_AGAINST,
        PLAN_LIMIT=PLAN_LIMIT,
        PRINTED=PRINTED,
        PICTURE=messages.PICTURE,
        AS_STATED=messages.AS_STATED,
        ABOUT_NAMES=messages.ABOUT_NAMES,
        NAMED=NAMED,
    )
    return page


def excerpt(text: str | Phrase, limit: int = text_safety.LIMIT) -> text_safety.Excerpt:
    """Return the first ``limit`` characters, escaped, with quotations marked as such."""
    if isinstance(text, str):
        return text_safety.excerpt(text, limit)
    quotation = Markup('<q dir="auto">{}</q>')
    shown = Markup().join(
        quotation.format(said) if quoted else said
        for said, quoted in (
            (escape(text_safety.visible(span.marked)), span.quoted)
            for span in text.shortened(limit).spans
        )
    )
    return text_safety.Excerpt(shown, text_safety.excerpt(text.text, limit).note)


def commands(text: str) -> Markup:
    """Returns a sentence of our own, what stands between backticks as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(text.split("`"))
    )
    return Markup().join(parts)


@cache
def stylesheet() -> Markup:
    """Returns our own stylesheets, sorted by name.

    They go into the page unescaped.
    """
    return Markup("\n").join(own(name) for name in _names(".css"))


@cache
def script() -> Markup:
    """Returns our own script, which goes into the page as it is."""
    return own("search.js")


def script_hash(text: str) -> str:
    """Returns the source expression that lets a Content-Security-Policy run this script alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def running_head(certificate: Certificate) -> Markup:
    """Returns the style of the line above every printed page.

    The line shows the verdict and the certificate's id.

    The id goes into a stylesheet, where escaping does not reach; whatever is not a digest is left
    out.
    """
    name = certificate.certificate_id
    shown = f", id {name[:16]}…" if re.fullmatch("[0-9a-f]{64}", name) else ""
    text = f"Unlearning certificate, {certificate.verdict.title}{shown}"
    return Markup(f'@media print {{ @page {{ @top-left {{ content: "{text}"; }} }} }}')  # noqa: S704


def _names(suffix: str) -> list[str]:
    folder = files("reports").joinpath("templates")
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(suffix))


def own(name: str) -> Markup:
    """Returns a file of our own that goes into a page unescaped.

    Raises:
        ValueError: it holds what would end its own element.
    """
    text = files("reports").joinpath("templates", *name.split("/")).read_text(encoding="utf-8")
    if "</" in text or "<!--" in text:
        raise ValueError(f"{name} would end its own element")
    return Markup(text)  # noqa: S704 - a file of this package


def headings(sections: Markup) -> list[tuple[str, Markup]]:
    """Returns id and text of every section's heading, in page order."""
    return [(name, Markup(text)) for name, text in _HEADING.findall(sections)]  # noqa: S704


def as_yaml(value: object) -> str:
    """Returns plain data as YAML with sorted keys.

    Equal data gives equal text.
    """
    text: str = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, width=88)
    return text.rstrip("\n")


def as_json(value: object) -> str:
    """Returns plain data as one line of JSON, with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def measured_arms(certificate: Certificate) -> list[str]:
    """Returns every arm with a mean K anywhere in the matrix.

    The mean may be of any set, under any attack, by any metric.
    """
    rows = certificate.matrix
    means = [
        by_arm
        for row in rows
        for known in (row.forget, row.retain, row.holdout)
        for by_arm in known.values()
    ]
    return arms.in_order({arm for by_arm in means for arm in by_arm})


def naturally(table: Mapping[str, object]) -> list[tuple[str, object]]:
    """Returns the entries of a table, ``layers.2`` before ``layers.10``."""
    return sorted(table.items(), key=lambda entry: arms.natural(entry[0]))
