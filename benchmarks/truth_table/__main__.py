"""Audits of subjects with known truth; no wrong verdict is aimed at.

    python -m benchmarks.truth_table [--only rmu] [--only gpt2/plain] [--jobs 2] [--dry-run]
    python -m benchmarks.truth_table --profile standard --slice

Builds what is missing into the cache, measures each subject's truth, audits it under the first
policy, decides again on the same evidence under the others, writes a row of each to ``--rows`` and
renders ``benchmarks/TRUTH.md``. What has all rows of the same code, profile and policies is not
measured again, so that a run goes on where it was stopped; several processes may share the work.
"""

import argparse
import statistics
import subprocess
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from auditor.attack import PROFILES
from auditor.core.quiet import quiet_libraries
from benchmarks.truth_table import rows as kept
from benchmarks.truth_table.cells import cells
from benchmarks.truth_table.former_faults import read_figures
from benchmarks.truth_table.report import render
from benchmarks.truth_table.subjects import SLICE, Subject, table

FOLDER = Path(__file__).parents[1]
USUAL_SECONDS = 60.0
"""A first guess of an audit's length."""


@dataclass(frozen=True)
class Run:
    """What is asked of all subjects alike."""

    profile: str
    policies: tuple[str, ...]
    commit: str
    cache: Path | None
    out: Path
    rows: Path


def chosen(only: Sequence[str]) -> list[tuple[str, Subject]]:
    """Subjects whose cell, name or both are asked for, or all."""
    return [
        (cell, subject)
        for cell, subject in table()
        if not only or {cell, subject.name, f"{cell}/{subject.name}"} & set(only)
    ]


def missing(run: Run, only: Sequence[str]) -> list[tuple[str, Subject]]:
    """The chosen subjects that lack a row."""
    rows = kept.read(run.rows)
    done = [kept.measured(rows, run.profile, policy, run.commit) for policy in run.policies]
    return [
        (cell, subject)
        for cell, subject in chosen(only)
        if any((cell, subject.name) not in of for of in done)
    ]


def audit_all(run: Run, waiting: Sequence[tuple[str, Subject]]) -> int:
    """Audit subjects one by one, and go on where one fails.

    Returns:
        How many could not.
    """
    from benchmarks.truth_table.auditing import audited

    quiet_libraries()
    policy, *others = run.policies
    began, failures = time.monotonic(), 0
    for number, (name, subject) in enumerate(waiting, 1):
        cell = cells(run.cache)[name]
        try:
            rows = audited(cell, subject, run.profile, policy, run.commit, run.out, others=others)
        except Exception:
            failures += 1
            print(
                f"{number}/{len(waiting)} {name} {subject.name} could not be audited:", flush=True
            )
            traceback.print_exc()
            continue
        with FileLock(run.rows.with_suffix(".lock")):
            kept.append_new(run.rows, rows)
        spent = (time.monotonic() - began) / number
        left = spent * (len(waiting) - number) / 60
        said = ", ".join(f"{row.policy} {row.verdict} ({row.judgement})" for row in rows)
        print(
            f"{number}/{len(waiting)} {name} {subject.name}: {said}; out {rows[0].out:.2f}, "
            f"rho {rows[0].rho}; about {left:.0f} min left",
            flush=True,
        )
    return failures


def by_cell(waiting: Sequence[tuple[str, Subject]]) -> list[list[tuple[str, Subject]]]:
    """Subjects by cell, whose arms are built by one process."""
    names = dict.fromkeys(name for name, _ in waiting)
    return [[entry for entry in waiting if entry[0] == name] for name in names]


def say_what_would_run(run: Run, waiting: Sequence[tuple[str, Subject]], jobs: int) -> None:
    """Print what would run, the predictions, and how long it takes."""
    known = [
        row.seconds
        for row in kept.read(run.rows)
        if (row.profile, row.policy) == (run.profile, run.policies[0])
    ]
    each = statistics.mean(known) if known else USUAL_SECONDS
    for name, subject in waiting:
        print(f"{name:18} {subject.name:24} {' or '.join(subject.predicted)}")
    print(f"{len(waiting)} audits, about {each * len(waiting) / 60 / jobs:.0f} minutes")


def commit() -> str:
    """The commit of the code that audits, its short form."""
    command = ["git", "log", "-1", "--format=%h", "--", "auditor", "attacks", "reports"]
    found = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unversioned"


def main() -> None:
    """Audit and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="a cell, a subject, or both")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--slice", action="store_true", help="only the subjects of a short run")
    parser.add_argument(
        "--policy", nargs="+", default=["quick", "release-gate"], help="ready-made, or files"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes; a cell is one's at a time")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and how long")
    parser.add_argument("--render", action="store_true", help="write the table, audit nothing")
    parser.add_argument("--code", default=commit(), help="label of the code that audits")
    parser.add_argument("--cache", type=Path, help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("audit-truth-table"))
    parser.add_argument("--rows", type=Path, default=FOLDER / "truth_table" / "rows.jsonl")
    parser.add_argument("--table", type=Path, default=FOLDER / "TRUTH.md")
    given = parser.parse_args()
    run = Run(given.profile, tuple(given.policy), given.code, given.cache, given.out, given.rows)
    waiting = missing(run, [*given.only, *(SLICE if given.slice else ())])
    if given.render:
        waiting = []
    if given.dry_run:
        say_what_would_run(run, waiting, given.jobs)
        return
    if given.jobs == 1:
        failures = audit_all(run, waiting)
    else:
        with ProcessPoolExecutor(given.jobs) as pool:
            parts = [pool.submit(audit_all, run, part) for part in by_cell(waiting)]
            failures = sum(part.result() for part in parts)
    figures = read_figures(FOLDER / "truth_table" / "fault_figures.jsonl")
    given.table.write_text(render(kept.read(given.rows), figures), encoding="utf-8")
    if failures:
        raise SystemExit(f"{failures} subjects could not be audited")


if __name__ == "__main__":
    quiet_libraries()
    main()
