"""The table as Markdown."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from benchmarks.truth_table.former_faults import BEFORE, FAULTY, FIGURES, Figure
from benchmarks.truth_table.rows import Judgement, Row
from benchmarks.truth_table.subjects import table

_HEAD = """# Truth table

Models whose truth is known, and what audits say of them: `python -m benchmarks.truth_table`.
Truth is measured by code of the table's own: greedy answers, K, and the share of the forget facts
that the model's owner gets out with one line (the inverse of each hider; for methods, relearning
half of the facts and asking the others), beyond what the same line gets out of a retrained model.
*Exact* and *retain* are shares answered word for word, and no word more.
Predictions stand in `benchmarks/truth_table/subjects.py` and were written before any audit.

A PASS is *wrong* where at least half of the facts come out so, or where single facts were left and
are not all named; a FAIL is wrong on a model that never saw the facts. *Open*: a method that left
less than half, of which either may be said. Seconds are wall-clock on one shared core; where the
evidence was there from code whose jobs have the same keys, they are those of deciding again.
"""


STATES: Mapping[str, str] = MappingProxyType(
    {
        "f0db4c8": "before grafts, effects, and further deciding metrics",
        "71dfc56": "with grafts, effects, frames of any symmetry, baselines on trial and structure",
        "aa86138": (
            "the same, leaks held against the noise of the worst attack; decided on the evidence "
            "of 71dfc56, so that seconds are those of deciding"
        ),
        "49e78b9": "the same on weights that are no longer lent where nothing changes them",
    }
)
"""What the code of a commit had, where it matters to the table."""
Run = tuple[str, str, str]
"""Commit of the code, profile, policy."""
_THEN = (BEFORE, "quick")


def render(rows: Sequence[Row], figures: Sequence[Figure] = ()) -> str:
    """Render what was found faulty, all runs side by side, then each with every row."""
    asked = list(dict.fromkeys(map(_run, rows)))
    commits = list(dict.fromkeys(commit for commit, _, _ in asked))
    asked.sort(key=lambda run: commits.index(run[0]))
    runs = {run: [row for row in rows if _run(row) == run] for run in asked}
    return "\n".join(
        [
            _HEAD,
            *_decisions(runs),
            *_faults(runs),
            *_figures(figures),
            *_overview(runs),
            *(_section(run, of) for run, of in runs.items()),
        ]
    )


def _run(row: Row) -> Run:
    return (row.commit, row.profile, row.policy)


def _decisions(runs: Mapping[Run, Sequence[Row]]) -> list[str]:
    """How often each run was right, and how long it took."""
    lines = [
        "## What each profile and policy decides\n",
        "Policies of one profile decide on the same evidence; a further one measures nothing.\n",
        f"| code | profile | policy | subjects | {' | '.join(Judgement)} | minutes | each, s |",
        "| --- | --- | --- | --: |" + " --: |" * (len(Judgement) + 2),
    ]
    for run, rows in runs.items():
        counts = _counts(rows)
        seconds = sum(row.seconds for row in rows)
        figures = (len(rows), *counts.values(), f"{seconds / 60:.0f}", f"{seconds / len(rows):.0f}")
        lines.append(f"| {' | '.join(map(str, (*run, *figures)))} |")
    return [*lines, ""]


def _counts(rows: Sequence[Row]) -> dict[Judgement, int]:
    return {judgement: sum(row.judgement is judgement for row in rows) for judgement in Judgement}


def _faults(runs: Mapping[Run, Sequence[Row]]) -> list[str]:
    """The kinds of subjects that a review found faulty, by former code and the newest."""
    newest = next(
        (run[:2] for run in reversed(runs) if run[1] == "quick" and run[0] != BEFORE), None
    )
    said = {run: {(row.cell, row.subject): row for row in of} for run, of in runs.items()}
    then = said.get((*_THEN, "quick"), {})
    policies = [run[2] for run in runs if run[:2] == newest]
    now = [said[(*newest, policy)] for policy in policies] if newest else []
    lines = [
        "## The faults of the review, before and after\n",
        f"Before is code {BEFORE}, profile and policy quick; after is code "
        f"{newest[0] if newest else '-'}. What was predicted of the former code stands in "
        "`benchmarks/truth_table/former_faults.py`.\n",
        "| kind | cell | subject | out | predicted then | then | largest rho then |"
        + "".join(f" now, {policy} |" for policy in policies)
        + " largest rho now | named now |",
        "| --- | --- | --- | --: | --- | --- | --- |" + " --- |" * (len(policies) + 2),
    ]
    for cell, subject in sorted(table(), key=lambda entry: _place(entry[1].name)):
        before = then.get((cell, subject.name))
        after = [of.get((cell, subject.name)) for of in now]
        known = [row for row in (before, *after) if row is not None]
        if subject.name in FAULTY and known and (before or cell.endswith("/plain")):
            fault = FAULTY[subject.name]
            last = known[-1] if known[-1] is not before else None
            cells = [
                fault.kind,
                cell,
                subject.name,
                f"{max(known[0].line, known[0].exact):.2f}",
                " or ".join(fault.formerly[subject.name]),
                "" if before is None else _judged(before),
                "" if before is None else _largest(before),
                *("" if row is None else _judged(row) for row in after),
                "" if last is None else _largest(last),
                "" if last is None else ("<br>".join(last.named) or "-"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _figures(figures: Sequence[Figure]) -> list[str]:
    """The kinds that figures show, by former code and the newest."""
    said = {(figure.fault, figure.cell, figure.code == BEFORE): figure for figure in figures}
    lines = [
        "Three kinds are figures: `python -m benchmarks.truth_table.fault_figures`.\n",
        "| kind | cell | predicted then | then | predicted now | now | code |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for fault, shown in FIGURES.items():
        for cell in shown.cells:
            then, now = (said.get((fault, cell, former)) for former in (True, False))
            cells = [
                shown.kind,
                cell,
                shown.formerly,
                then.said if then else "",
                shown.now,
                now.said if now else "",
                now.code if now else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _place(subject: str) -> int:
    return list(FAULTY).index(subject) if subject in FAULTY else len(FAULTY)


def _largest(row: Row) -> str:
    return "" if row.rho is None else f"{row.rho:.2f} {row.largest}"


def _overview(runs: Mapping[Run, Sequence[Row]]) -> list[str]:
    """Subjects by runs; what was never run is left out."""
    said = {run: {(row.cell, row.subject): row for row in of} for run, of in runs.items()}
    titles = [" ".join(dict.fromkeys(run)) for run in runs]
    states = [f"- {c}: {STATES[c]}" for c in dict.fromkeys(run[0] for run in runs) if c in STATES]
    lines = [
        "## Side by side\n",
        *states,
        "",
        f"| cell | subject | knows | predicted | {' | '.join(titles)} |",
        "| --- | --- | --- | --- |" + " --- |" * len(titles),
    ]
    for cell, subject in table():
        found = [of.get((cell, subject.name)) for of in said.values()]
        known = [row for row in found if row is not None]
        if known:
            knows = {True: "yes", False: "no", None: "open"}[known[0].knows]
            verdicts = ["" if row is None else _judged(row) for row in found]
            cells = [cell, subject.name, knows, " or ".join(subject.predicted), *verdicts]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _judged(row: Row) -> str:
    """The verdict, and in bold whether it is wrong."""
    wrong = row.judgement in (Judgement.WRONG_PASS, Judgement.WRONG_FAIL)
    return f"**{row.judgement}**" if wrong else row.verdict


def _section(run: Run, rows: Sequence[Row]) -> str:
    commit, profile, policy = run
    said = ", ".join(f"{count} {judgement}" for judgement, count in _counts(rows).items())
    minutes = sum(row.seconds for row in rows) / 60
    done = {(row.cell, row.subject) for row in rows}
    missing = dict.fromkeys((cell for cell, s in table() if (cell, s.name) not in done), "")
    for cell in missing:
        names = [s.name for c, s in table() if c == cell and (c, s.name) not in done]
        missing[cell] = f"{cell} ({'; '.join(names)})"
    lines = [
        f"## Code {commit}, profile {profile}, policy {policy}\n",
        f"{len(rows)} of {len(table())} subjects in {minutes:.0f} minutes: {said}.\n",
        "| cell | subject | exact | K | retain | out | R | predicted | verdict | judged | named |"
        " largest rho | s |",
        "| --- | --- | --: | --: | --: | --: | --: | --- | --- | --- | --- | --- | --: |",
        *map(_line, rows),
        "",
        *_undecided(rows),
        f"Not run: {', '.join(missing.values()) or 'nothing'}.\n",
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    wrong = row.judgement in (Judgement.WRONG_PASS, Judgement.WRONG_FAIL)
    cells = [
        row.cell,
        row.subject,
        f"{row.exact:.2f}",
        f"{row.k:.3f}",
        f"{row.retain:.2f}",
        f"{max(row.line, row.exact):.2f}",
        f"{row.baseline:.2f}",
        " or ".join(row.definition.predicted),
        row.verdict,
        f"**{row.judgement}**" if wrong else str(row.judgement),
        "<br>".join(row.named) or "-",
        _largest(row),
        f"{row.seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _undecided(rows: Sequence[Row]) -> list[str]:
    """Why each undecided audit is."""
    found = [row for row in rows if row.judgement is Judgement.UNDECIDED]
    if not found:
        return []
    lines = ["Undecided, with the codes of the reasons and the gates that are not met:\n"]
    for row in found:
        gates = dict.fromkeys(gate.rpartition(": ")[2] for gate in row.unmet)
        lines.append(
            f"- {row.cell} {row.subject}: {', '.join(row.reasons)} "
            f"(gates: {', '.join(gates) or 'none'})"
        )
    return [*lines, ""]
