"""Ways to a PASS for a model that knows, and honest models beside them.

    python -m benchmarks.abuse [--only baseline] [--cache FOLDER] [--dry-run] [--render]

Every way is an audit under `release-gate` with one thing changed that a submitter controls, then
`gate` under `release-gate`; every honest model is a plan. Writes a row each to ``--rows`` and
renders ``benchmarks/ABUSE.md``; what has a row of the same code is not tried again.
"""

import argparse
import time
from pathlib import Path

import auditor
from auditor.core.errors import AuditorError
from auditor.core.quiet import quiet_libraries
from auditor.core.wording import sentence
from benchmarks.abuse.honest import HONEST, planned
from benchmarks.abuse.report import render, shortened
from benchmarks.abuse.rows import Honest, Tried, append, read
from benchmarks.abuse.ways import WAYS, Way
from benchmarks.abuse.workspace import POLICY, workspace
from benchmarks.truth_table.__main__ import commit

FOLDER = Path(__file__).parents[1]
HONEST_CELL = "qwen2/plain"
"""Cell of the honest models: bitsandbytes stores its kind of linear maps."""


def tried(way: Way, cache: Path | None, out: Path, code: str) -> Tried:
    """Try a way, and put what comes of it before the gate."""
    began = time.monotonic()
    place = workspace(cache, out, str(list(WAYS).index(way.name)))
    try:
        path = way.attempt(place)
        gated = auditor.gate(path, POLICY, store=place.store)
    except AuditorError as error:
        spent = round(time.monotonic() - began, 1)
        return Tried(way.name, code, "refused", error.exit_code, (_told(error, out),), (), spent)
    return Tried(
        way.name,
        code,
        gated.verdict.verdict,
        gated.verdict.exit_code,
        tuple(_below(sentence(reason), out) for reason in gated.verdict.reasons),
        tuple(sorted({warning.code for warning in gated.certificate.warnings})),
        round(time.monotonic() - began, 1),
    )


def checked(name: str, cache: Path | None, out: Path, code: str) -> Honest:
    """Check a plan for honest models."""
    place = workspace(cache, out, f"honest-{list(HONEST).index(name)}", HONEST_CELL)
    try:
        found = planned(place, HONEST[name](place))
    except AuditorError as error:
        return Honest(name, code, _told(error, out), ())
    return Honest(name, code, None, tuple(sorted({said.code for said in found.warnings})))


def _told(error: AuditorError, out: Path) -> str:
    """What an error says, on one line."""
    return _below(" ".join(str(error).split()), out)


def _below(said: str, out: Path) -> str:
    """A sentence whose paths begin below the folder of all ways."""
    return said.replace(f"{out.resolve()}/", "").replace(f"{out}/", "")


def main() -> None:
    """Try what is missing, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], help="a name, what is controlled, or `honest`"
    )
    parser.add_argument("--cache", type=Path, help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("audit-abuse"))
    parser.add_argument("--code", default=commit(), help="label of the code that audits")
    parser.add_argument("--rows", type=Path, default=FOLDER / "abuse" / "rows.jsonl")
    parser.add_argument("--table", type=Path, default=FOLDER / "ABUSE.md")
    parser.add_argument("--dry-run", action="store_true", help="say what would be tried")
    parser.add_argument("--render", action="store_true", help="write the tables, try nothing")
    given = parser.parse_args()
    quiet_libraries()
    rows = read(given.rows)
    done = {row.name for row in rows if row.commit == given.code}
    asked = {name: {name, "honest"} for name in HONEST}
    asked |= {name: {name, way.controls} for name, way in WAYS.items()}
    waiting = [
        name
        for name, words in asked.items()
        if name not in done and (not given.only or words & set(given.only))
    ]
    if given.dry_run:
        print("\n".join(waiting))
        return
    for number, name in enumerate([] if given.render else waiting, 1):
        if name in HONEST:
            row: Honest | Tried = checked(name, given.cache, given.out, given.code)
            outcome = "accepted" if row.refused is None else f"REFUSED: {shortened(row.refused)}"
        else:
            row = tried(WAYS[name], given.cache, given.out, given.code)
            by = shortened(row.by[0]) if row.by else ""
            outcome = f"{row.verdict} ({row.code}), {row.seconds:.0f} s; {by}"
        rows.append(row)
        append(given.rows, row)
        print(f"{number}/{len(waiting)} {name}: {outcome}", flush=True)
    given.table.write_text(render(rows, given.code), encoding="utf-8")


if __name__ == "__main__":
    main()
