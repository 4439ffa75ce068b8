"""Ways to a PASS for a model that knows; none may lead there without a word.

    python -m benchmarks.abuse [--only baseline] [--cache FOLDER] [--dry-run] [--render]

Every way is an audit under `release-gate` with one thing changed that a submitter controls, then
`gate` under `release-gate`. Writes a row each to ``--rows`` and renders ``benchmarks/ABUSE.md``;
ways that have a row of the same code are not tried again.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import auditor
from auditor.core.errors import AuditorError
from auditor.core.quiet import quiet_libraries
from auditor.core.wording import sentence
from benchmarks.abuse.ways import WAYS, Way
from benchmarks.abuse.workspace import POLICY, workspace
from benchmarks.truth_table.__main__ import commit

FOLDER = Path(__file__).parents[1]
_SHOWN = 150
"""Characters of what held a way back."""
_ABOVE = """\
# Ways to a PASS for a model that knows

`python -m benchmarks.abuse`; what each way does stands in `benchmarks/abuse/ways.py`. One of the
models answers 20 of its 80 facts outright, the other gives everything back in NF4. Each way is an
audit under `release-gate` with one thing changed that a submitter controls, then `gate` under
`release-gate`. [The threat model](../docs/threat-model.md) says what rests on trust."""


@dataclass(frozen=True)
class Row:
    """Outcome of one way.

    Attributes:
        way: Its name.
        commit: Of the code.
        verdict: Of the gate under the policy of a release, or ``refused``.
        code: Exit code of what refused it, or of the verdict.
        by: What held it back: the sentence of a refusal, or the verdict's first reasons.
        warnings: Codes of the warnings of the audit.
        seconds: Time that it took.
    """

    way: str
    commit: str
    verdict: str
    code: int
    by: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the model got its PASS."""
        return self.verdict == "PASS"


def tried(way: Way, cache: Path | None, out: Path, code: str) -> Row:
    """Try a way, and put what comes of it before the gate."""
    began = time.monotonic()
    place = workspace(cache, out, str(list(WAYS).index(way.name)))
    try:
        path = way.attempt(place)
        gated = auditor.gate(path, POLICY, store=place.store)
    except AuditorError as error:
        said = " ".join(str(error).split())
        return Row(
            way.name, code, "refused", error.exit_code, (said,), (), time.monotonic() - began
        )
    verdict = gated.verdict
    return Row(
        way.name,
        code,
        verdict.verdict,
        verdict.exit_code,
        tuple(sentence(reason) for reason in verdict.reasons),
        tuple(sorted({warning.code for warning in gated.certificate.warnings})),
        round(time.monotonic() - began, 1),
    )


def read(file: Path) -> list[Row]:
    """Read the rows of earlier runs."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Row(**(line | {key: tuple(line[key]) for key in ("by", "warnings")})) for line in lines]


def render(rows: Sequence[Row], code: str) -> str:
    """Render the table of one code."""
    of = {row.way: row for row in rows if row.commit == code}
    trusted = [name for name, way in WAYS.items() if way.trust and name in of and of[name].passed]
    wrong = [name for name in of if of[name].passed and name not in trusted]
    lines = [
        *_ABOVE.splitlines(),
        "",
        f"Code {code}: {len(of)} of {len(WAYS)} ways tried, **{len(wrong)} wrong PASS**, "
        f"{len(trusted)} that rest on trust.",
        "",
        "| in the submitter's hands | way | gate | code | held back by |",
        "| --- | --- | --- | --: | --- |",
    ]
    for name, way in WAYS.items():
        if row := of.get(name):
            by = _cell(row.by[0]) if row.by else ""
            if row.passed and way.trust:
                by = f"nothing: it rests on {way.trust}"
            shown = f"**{row.verdict}**" if row.passed else row.verdict
            lines.append(f"| {way.controls} | {name} | {shown} | {row.code} | {by} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN].rsplit(' ', 1)[0]} …"


def main() -> None:
    """Try the ways and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="a way, or what is controlled")
    parser.add_argument("--cache", type=Path, help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("audit-abuse"))
    parser.add_argument("--code", default=commit(), help="label of the code that audits")
    parser.add_argument("--rows", type=Path, default=FOLDER / "abuse" / "rows.jsonl")
    parser.add_argument("--table", type=Path, default=FOLDER / "ABUSE.md")
    parser.add_argument("--dry-run", action="store_true", help="say what would be tried")
    parser.add_argument("--render", action="store_true", help="write the table, try nothing")
    given = parser.parse_args()
    quiet_libraries()
    rows = read(given.rows)
    done = {row.way for row in rows if row.commit == given.code}
    waiting = [
        way
        for name, way in WAYS.items()
        if name not in done and (not given.only or {name, way.controls} & set(given.only))
    ]
    if given.dry_run:
        print("\n".join(f"{way.controls}: {way.name}" for way in waiting))
        return
    for number, way in enumerate([] if given.render else waiting, 1):
        row = tried(way, given.cache, given.out, given.code)
        rows.append(row)
        with given.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
        print(
            f"{number}/{len(waiting)} {way.name}: {row.verdict} ({row.code}), {row.seconds:.0f} s; "
            f"{_cell(row.by[0]) if row.by else ''}",
            flush=True,
        )
    given.table.write_text(render(rows, given.code), encoding="utf-8")


if __name__ == "__main__":
    main()
