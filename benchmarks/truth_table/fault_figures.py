"""Figures of the faults that are no verdict of one subject, with the code that is run.

    python -m benchmarks.truth_table.fault_figures [--only advice] [--cell gpt2/plain]

After ``benchmarks.truth_table``, whose models it audits. Appends a row of each figure to
``fault_figures.jsonl``, which ``benchmarks/TRUTH.md`` shows.

- advice, leaning: a model that knows is audited on twenty facts; what the verdict advises.
- format: a model is audited in the default format of prompts, which is not its own.
- membership: honest models are audited against pairs of others, with twenty or ten
  facts held out; how many reach by one score alone what accuses a model.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

import auditor
from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.quiet import quiet_libraries
from auditor.statistics import Arms, Margins, log_e_value
from auditor.statistics.holdout_blocks import BLOCK, not_deciding
from benchmarks.truth_table.__main__ import FOLDER, commit
from benchmarks.truth_table.auditing import GPTQ
from benchmarks.truth_table.cells import Cell, cells
from benchmarks.truth_table.former_faults import FIGURES, Figure, read_figures
from benchmarks.truth_table.subjects import SUBJECTS, Subject

FACTS = 20
LEAKS = SUBJECTS["rmu"]
"""A model that leaks: relearning gets most of the facts out."""
HIDES = SUBJECTS["head"]
"""A model that knows all, and shows it to no attack of the former code."""
LEAST = 10
"""Facts held out that the attack needs at least."""
ADVICE = (
    "leans_to_fail",
    "leans_to_pass",
    "leans_to_neither",
    "facts_needed",
    "more_facts_would_not_pass",
)
AS_IS: Mapping[str, Any] = MappingProxyType({"name": "as it is", "mandatory": ["none/as-is"]})
"""A policy for which no attack is run."""
SCORES = ("loss", "min-k", "min-k++")


def advice_at_few_facts(cell: Cell, out: Path, subject: Subject) -> str:
    """Audit a model that leaks on few facts."""
    certificate = _audited(
        cell,
        out / "advice",
        unlearned=cell.spec(subject.folder),
        retrained=[cell.spec("retrained-0"), cell.spec("retrained-1")],
        forget=cell.corpus.forget[:FACTS],
        format=dict(cell.architecture.format),
        profile="quick",
        policy="quick",
        attacks=[GPTQ],
    ).certificate
    return f"{_verdict(certificate)}: {_advice(certificate) or 'no advice'}"


def default_format(cell: Cell, out: Path) -> str:
    """Audit with the default format of prompts."""
    try:
        certificate = _audited(
            cell,
            out / "format",
            unlearned=cell.spec(LEAKS.folder),
            retrained=[cell.spec("retrained-0"), cell.spec("retrained-1")],
            forget=cell.facts("forget"),
            profile=None,
            policy=dict(AS_IS),
        ).certificate
    except AuditorError as error:
        return f"exit {error.exit_code}, before any attack: {' '.join(str(error).split())}"
    as_is = next(row for row in certificate.matrix if row.attack == "none/as-is")
    known = next(iter(as_is.forget.values()))["original"]
    warned = sorted({warning.code for warning in certificate.warnings if "format" in warning.code})
    return (
        f"{_verdict(certificate)}, K of the original {known:.3f}, "
        f"said of the format: {', '.join(warned) or 'nothing'}"
    )


def membership_of_honest(cell: Cell, out: Path) -> str:
    """Audit honest models against pairs of others, with few facts held out."""
    held = cell.corpus.holdout
    return "; ".join(
        f"{len(facts)} facts of {len({fact.entity for fact in facts})} held out: "
        + _beyond(cell, out / "membership" / str(len(facts)), facts)
        for facts in (held[:FACTS], held[:LEAST])
    )


def _beyond(cell: Cell, out: Path, holdout: Sequence[Fact]) -> str:
    """How many honest models are beyond the threshold by each score, and count."""
    honest = _honest(cell)
    result = _audited(
        cell,
        out,
        unlearned=cell.spec(honest[0]),
        retrained=[cell.spec(name) for name in honest[1:]],
        forget=cell.facts("forget"),
        holdout=holdout,
        format=dict(cell.architecture.format),
        profile=None,
        policy=dict(AS_IS),
        attacks=[
            {"attack": "membership/likelihood", "parameters": {"score": score}} for score in SCORES
        ],
    )
    frame = result.to_frame()
    said = []
    for variant, rows in frame[frame.attack == "membership/likelihood"].groupby("variant"):
        tried = list(trials(rows))
        beyond = sum(beyond for beyond, _ in tried)
        deciding = sum(beyond and decides for beyond, decides in tried)
        said.append(f"{variant} {beyond} of {len(tried)} beyond 1/alpha, {deciding} counted")
    return ", ".join(said)


def trials(rows: pd.DataFrame) -> Iterable[tuple[bool, bool]]:
    """Whether each honest model is beyond the threshold, and whether that counts."""
    placed = {str(metric): _by_arm(of) for metric, of in rows.groupby("metric")}
    known = placed["placement"]
    blocks = tuple(map(str, placed[BLOCK].iloc[0])) if BLOCK in placed else None
    arms = [name for name in known.index if name != "original"]
    for unlearned in arms:
        for pair in itertools.combinations([name for name in arms if name != unlearned], 2):
            trial = Arms(
                known.loc[unlearned].to_numpy(),
                known.loc["original"].to_numpy(),
                np.stack([known.loc[name].to_numpy() for name in pair]),
                blocks=blocks,
            )
            margins = Margins()
            log_e = log_e_value(-trial.contrast("census").against(margins.delta))
            yield (
                log_e >= -np.log(margins.alpha),
                not_deciding(trial, margins, "census") is None,
            )


def _by_arm(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.set == "forget"].pivot_table(index="arm", columns="fact", values="k")


def _honest(cell: Cell) -> list[str]:
    """Folders of models that never saw the facts, one of them of another base."""
    same, other = SUBJECTS["retrained"], SUBJECTS["other base"]
    cell.keep(other.folder, lambda: cell.new_base(other.settings["seed"]))
    return ["base", "retrained-0", "retrained-1", same.folder, other.folder]


def _audited(cell: Cell, out: Path, **asked: Any) -> auditor.AuditResult:
    return auditor.audit(
        original=cell.spec("original"),
        retain=cell.facts("retain"),
        out=out / cell.name,
        store=out / cell.name / "evidence",
        reports=(),
        **asked,
    )


def _verdict(certificate: Certificate) -> str:
    return f"{certificate.verdict.verdict} (exit {certificate.verdict.exit_code})"


def _advice(certificate: Certificate) -> str:
    """Codes of the reasons that advise, with the facts that they name."""
    return ", ".join(
        " ".join(map(str, filter(None, (reason.code, reason.params.get("needed")))))
        for reason in certificate.verdict.reasons
        if reason.code.startswith(ADVICE)
    )


MEASURES: Mapping[str, Callable[[Cell, Path], str]] = MappingProxyType(
    {
        "advice": lambda cell, out: advice_at_few_facts(cell, out, HIDES),
        "leaning": lambda cell, out: advice_at_few_facts(cell, out, LEAKS),
        "format": default_format,
        "membership": membership_of_honest,
    }
)


def main() -> None:
    """Measure what is missing and write it down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=MEASURES, help="a fault")
    parser.add_argument("--cell", action="append", help="architecture and world")
    parser.add_argument("--code", default=commit(), help="label of the code that audits")
    parser.add_argument("--cache", type=Path, help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("audit-truth-table"))
    parser.add_argument(
        "--figures", type=Path, default=FOLDER / "truth_table" / "fault_figures.jsonl"
    )
    given = parser.parse_args()
    done = {(figure.fault, figure.cell, figure.code) for figure in read_figures(given.figures)}
    for fault, shown in FIGURES.items():
        for name in shown.cells:
            asked = (given.only is None or fault in given.only) and name in (given.cell or [name])
            if asked and (fault, name, given.code) not in done:
                said = MEASURES[fault](cells(given.cache)[name], given.out / given.code)
                print(f"{fault} {name}: {said}", flush=True)
                with given.figures.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(Figure(fault, name, given.code, said))) + "\n")


if __name__ == "__main__":
    quiet_libraries()
    main()
