"""Tables of the ways to a PASS, and of honest models."""

from collections.abc import Sequence

from benchmarks.abuse.honest import HONEST
from benchmarks.abuse.rows import Honest, Row, Tried
from benchmarks.abuse.ways import WAYS

_SHOWN = 150
"""Characters of what held a way back."""
_ABOVE = """\
# Ways to a PASS for a model that knows

`python -m benchmarks.abuse`; what each way does stands in `benchmarks/abuse/ways.py`. One of the
models answers 20 of its 80 facts outright, the other gives everything back in NF4. Each way is an
audit under `release-gate` with one thing changed that a submitter controls, then `gate` under
`release-gate`. [The threat model](../docs/threat-model.md) says what rests on trust."""
_HONEST = """\
## Honest models and files

The same checks on models and files of the kinds that are published: each is a plan under
`release-gate` that opens and compares the models and asks the original in several formats
(`benchmarks/abuse/honest.py`). None may be refused."""


def render(rows: Sequence[Row], code: str) -> str:
    """Render the tables of one code."""
    tried = {row.name: row for row in rows if isinstance(row, Tried) and row.commit == code}
    honest = {row.name: row for row in rows if isinstance(row, Honest) and row.commit == code}
    passed = [name for name, row in tried.items() if row.passed]
    trusted = [name for name in passed if WAYS[name].trust]
    refused = [name for name, row in honest.items() if row.refused is not None]
    lines = [
        *_ABOVE.splitlines(),
        "",
        f"Code {code}: {len(tried)} of {len(WAYS)} ways tried, **{len(passed) - len(trusted)} "
        f"wrong PASS**, {len(trusted)} that rest on trust.",
        "",
        "| in the submitter's hands | way | gate | code | held back by |",
        "| --- | --- | --- | --: | --- |",
        *(_tried(tried[name]) for name in WAYS if name in tried),
        "",
        *_HONEST.splitlines(),
        "",
        f"Code {code}: {len(honest)} of {len(HONEST)} tried, **{len(refused)} refused**.",
        "",
        "| models or files | refused | warnings |",
        "| --- | --- | --- |",
        *(_honest(honest[name]) for name in HONEST if name in honest),
    ]
    return "\n".join(lines) + "\n"


def shortened(text: str) -> str:
    """Cut a sentence for a cell of a table."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN].rsplit(' ', 1)[0]} …"


def _tried(row: Tried) -> str:
    way = WAYS[row.name]
    by = shortened(row.by[0]) if row.by else ""
    if row.passed and way.trust:
        by = f"nothing: it rests on {way.trust}"
    verdict = f"**{row.verdict}**" if row.passed else row.verdict
    return f"| {way.controls} | {row.name} | {verdict} | {row.code} | {by} |"


def _honest(row: Honest) -> str:
    refused = "no" if row.refused is None else f"**{shortened(row.refused)}**"
    return f"| {row.name} | {refused} | {', '.join(row.warnings)} |"
