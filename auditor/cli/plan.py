"""`auditor plan`: the steps, needs and cost of an audit.

It says whether the audit could PASS.
"""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from auditor.cli.console import OUT, foreign, worded
from auditor.cli.options import (
    executor_options,
    json_option,
    out_option,
    quiet_option,
    store_option,
)
from auditor.cli.plan_options import plan_from, plan_options
from auditor.cli.progress import chosen_progress
from auditor.core.facts import SetName
from auditor.core.messages import plain
from auditor.core.wording import sentence


@click.command("plan")
@plan_options
@out_option
@store_option
@executor_options
@click.option(
    "--pilot/--no-pilot",
    default=True,
    help="Ask the original and the retrained models, without attack, how many facts a PASS "
    "needs. The audit uses that evidence again; the unlearned model is not opened.",
)
@quiet_option
@json_option
def command(
    out: Path,
    store: str | Path | None,
    executor: str,
    workers: int | None,
    address: str | None,
    gpus: int | None,
    pilot: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Check a plan and estimate what it costs. Runs no attack."""
    plan = plan_from(options)  # its mistakes are found before torch is imported
    from auditor.api.auditing import plan as check

    planned = check(
        plan,
        out=out,
        store=store,
        pilot=pilot,
        executor=executor,
        workers=workers,
        address=address,
        gpus=gpus,
        progress=chosen_progress(quiet),
    )
    prepared, needed = planned.prepared, planned.facts_needed
    if as_json:
        report = {
            "variants": [_plain(entry) for entry in planned.estimates],
            "controls": _plain(planned.controls) if planned.controls else None,
            "facts": {name: len(prepared.sets.named(name)) for name in _SETS},
            "baseline": prepared.plan.used_baseline.value,
            "power": _plain(needed) if needed else None,
            "warnings": [plain(warning) for warning in planned.warnings],
        }
        click.echo(json.dumps(report))
        return
    table = Table(
        "attack", "role", "jobs to do", "forward tokens", "weights", "rough time", box=None
    )
    for entry in planned.costs:
        if entry.unavailable:
            table.add_row(
                entry.label, entry.role, foreign(f"unavailable: {sentence(entry.unavailable)}", 600)
            )
            continue
        table.add_row(
            entry.label,
            entry.role,
            f"{entry.jobs - entry.done} of {entry.jobs}",
            f"{entry.forward_tokens:,}",
            f"{entry.memory_bytes / 1e9:.2f} GB",
            _duration(entry.seconds),
        )
    OUT.print(table)
    counts = ", ".join(f"{len(prepared.sets.named(name))} {name}" for name in _SETS)
    OUT.print(f"facts: {counts}; in all about {_duration(sum(e.seconds for e in planned.costs))}")
    OUT.print(f"baseline: {prepared.plan.used_baseline}", highlight=False)
    for line in _power_lines(needed):
        OUT.print(line, highlight=False)
    for warning in planned.warnings:
        OUT.print(Text.assemble(("warning", "yellow"), ": ", worded(warning)))


def _plain(entry: Any) -> dict[str, Any]:
    """An estimate as JSON has it."""
    return {name: plain(value) for name, value in vars(entry).items()}


_SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")


def _power_lines(needed: Any) -> list[str]:
    if needed is None:
        return []
    if needed.at_least is None:
        return [
            "[red]the original knows no more than the retrained models: NOT AUDITABLE is to be "
            "expected[/]"
        ]
    wanted = f"at least {needed.at_least}" if needed.needed is None else f"about {needed.needed}"
    lines = [
        f"a PASS needs {wanted} facts, {needed.available} are there ({sentence(needed.basis)})"
    ]
    if needed.power_available is not None:
        lines.append(
            f"chance of a PASS if nothing is left: {needed.power_available:.0%} with these facts"
        )
    if needed.available < (needed.needed or needed.at_least):
        lines.append(
            "[yellow]warning[/]: too few facts for a PASS; the audit can still end in FAIL"
        )
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
