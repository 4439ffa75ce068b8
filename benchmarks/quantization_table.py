"""Knowledge of every testbed subject at every precision, and how many codes unlearning flipped.

    python -m benchmarks.quantization_table [--world people] [--world people-full-precision]

Prints Markdown tables; `benchmarks/RESULTS.md` holds what it printed. Cells are the mean answer
probability on the forget / retain facts; below them the code-flip share against the original.
"""

import argparse
from pathlib import Path

from auditor.certificate.build import build_certificate
from auditor.certificate.schema import Certificate, MatrixRow
from auditor.cli.progress import chosen_progress
from auditor.core.quiet import quiet_libraries
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import world as worlds
from auditor.testbeds.plans import world_plan

COLUMNS = {
    "full": "none/as-is full precision",
    "int8": "quantization/bnb int8",
    "nf4": "quantization/bnb nf4",
    "fp4": "quantization/bnb fp4",
    "GPTQ 8": "quantization/gptq 8-bit g128",
    "GPTQ 4": "quantization/gptq 4-bit g128",
    "GPTQ 3": "quantization/gptq 3-bit g128",
    "GPTQ 2": "quantization/gptq 2-bit g128",
    "rtn 4": "quantization/rtn 4-bit",
    "rtn 3": "quantization/rtn 3-bit",
}


def certificates(world: worlds.World, root: Path) -> dict[str, Certificate]:
    """Audit every subject of a world; the first two retrained models are the baseline."""
    progress = chosen_progress(quiet=False)
    store = FolderStore(root)
    found = {}
    for subject in world.recipe.models:
        baseline = tuple(arm for arm in world.recipe.retrained if arm != subject)
        plan = world_plan(world, subject, baseline, "exhaustive")
        prepared = prepare(plan, store, progress)
        outcome = run_audit(prepared, store, LocalExecutor(), progress)
        found[subject] = build_certificate(outcome, "")
    return found


def table(audits: dict[str, Certificate], cell: str) -> str:
    """A Markdown table with a row a subject and a column a precision."""
    lines = [
        "| subject | verdict | " + " | ".join(COLUMNS) + " |",
        "| --- " * (len(COLUMNS) + 2) + "|",
    ]
    for subject, certificate in audits.items():
        rows = {row.label: row for row in certificate.matrix}
        cells = [(_flips if cell == "flips" else _knowledge)(rows[c]) for c in COLUMNS.values()]
        lines.append(f"| {subject} | {_verdict(certificate)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _verdict(certificate: Certificate) -> str:
    flags = "".join(f", {flag}" for flag in certificate.verdict.flags)
    return f"{certificate.verdict.verdict}{flags}"


def _knowledge(row: MatrixRow) -> str:
    if row.status != "measured":
        return row.status
    metric = "answer-probability"
    forget, retain = row.forget[metric]["unlearned"], row.retain[metric]["unlearned"]
    text = f"{forget:.3f} / {retain:.3f}"
    return f"**{text}**" if row.named else text


def _flips(row: MatrixRow) -> str:
    return f"{row.explanation.overall:.3f}" if row.explanation else "-"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", action="append", choices=[r.name for r in worlds.list_worlds()])
    parser.add_argument("--store", type=Path, default=Path("audit-quantization-table"))
    arguments = parser.parse_args()
    for name in arguments.world or ("people", "people-full-precision"):
        world = worlds.build(name, progress=chosen_progress(quiet=False))
        audits = certificates(world, arguments.store)
        print(f"\n### {name}\n\n{world.recipe.purpose}\n")
        print("Forget / retain knowledge (mean answer probability; bold: the attack is named):\n")
        print(table(audits, "knowledge"))
        print("\nCode-flip share against the original:\n")
        print(table(audits, "flips"))


if __name__ == "__main__":
    quiet_libraries()
    main()
