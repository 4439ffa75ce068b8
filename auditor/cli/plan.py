"""`auditor plan`: the steps, needs and cost of an audit.

It says whether the audit could PASS.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from auditor.cli.comparison_output import attack_cell, print_table, wrapping_table
from auditor.cli.console import OUT, foreign, next_step, worded
from auditor.cli.options import (
    capacity_options,
    default_store,
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
@capacity_options
@click.option(
    "--machine",
    metavar="MACHINE",
    help="Plan for another machine: `8xH100`, `1x80GB`, or a YAML file (gpus, gpu_memory, "
    "teraflops, bandwidth, host_memory, disk). No model is asked then.",
)
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
    within: float | None,
    even_if_it_does_not_fit: bool,
    machine: str | None,
    pilot: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Check a plan and estimate what it costs. Runs no attack."""
    plan_file = options["plan_file"]
    plan = plan_from(options)  # its mistakes are found before torch is imported
    from auditor.api.auditing import plan as check

    planned = check(
        plan,
        out=out,
        store=store or default_store(out, planning=True),
        pilot=pilot,
        executor=executor,
        workers=workers,
        address=address,
        gpus=gpus,
        machine=machine,
        within=within,
        even_if_it_does_not_fit=even_if_it_does_not_fit,
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
            "machine": planned.machine._asdict(),
            "engine": dict(prepared.engine.versions) if prepared.engine else None,
            "finished": planned.finished,
        }
        click.echo(json.dumps(report))
        return
    print_table(_table(planned.costs, planned.machine))
    counts = ", ".join(f"{len(prepared.sets.named(name))} {name}" for name in _SETS)
    OUT.print(f"facts: {counts}; in all about {_duration(sum(e.seconds for e in planned.costs))}")
    for line in _machine_lines(planned):
        OUT.print(line, highlight=False, markup=False)
    OUT.print(f"baseline: {prepared.plan.used_baseline}", highlight=False)
    if prepared.engine is not None:
        versions = ", ".join(prepared.engine.versions.values())
        OUT.print(
            f"texts of unchanged models are written by {versions}, each model's once what it "
            "writes was found to be the network's own; it holds the weights a second time",
            highlight=False,
        )
    for line in _power_lines(needed):
        OUT.print(line, highlight=False)
    for warning in planned.warnings:
        OUT.print(Text.assemble(("warning", "yellow"), ": ", worded(warning)))
    next_step(f"auditor audit {plan_file}" if plan_file else "auditor audit, with these options")


def _table(costs: Sequence[Any], machine: Any) -> Table:
    """The variants with what each needs."""
    on_host = not machine.gpus
    table = wrapping_table("attack", "jobs to do", "tokens", "memory", "rough time")
    table.columns[0].no_wrap = True
    for entry in costs:
        label = attack_cell(entry.label, entry.role)
        if entry.unavailable:
            why = foreign(f"unavailable: {sentence(entry.unavailable)}", 600)
            table.add_row(label, "-", "-", "-", why)
            continue
        beside = entry.host_bytes + machine.libraries if on_host else 0
        table.add_row(
            label,
            f"{entry.jobs - entry.done} of {entry.jobs}",
            f"{entry.forward_tokens:,}",
            f"{(entry.memory_bytes + beside) / 1e9:.2f} GB",
            _duration(entry.seconds),
        )
    return table


def _machine_lines(planned: Any) -> list[str]:
    """Lines on the machine, and on what times rest on."""
    machine, costs = planned.machine, planned.costs
    memory = [f"{len(machine.gpus)} accelerators, {sum(machine.gpus) / 1e9:.0f} GB free"]
    parts = [
        *(memory if machine.gpus else []),
        *([f"{machine.host / 1e9:.0f} GB of main memory"] if machine.host is not None else []),
        *([f"{machine.disk / 1e9:.0f} GB of disk"] if machine.disk is not None else []),
    ]
    lines = [f"machine: {machine.name}; {', '.join(parts)}"]
    lines += [
        f"does not fit: {entry.label} needs {entry.least_bytes / 1e9:.1f} GB at least, "
        f"{entry.host_bytes / 1e9:.1f} GB of main memory, {entry.disk_bytes / 1e9:.1f} GB of disk"
        for entry in costs
        if entry.does_not_fit
    ]
    host = max((entry.host_bytes for entry in costs), default=0)
    disk = max((entry.disk_bytes for entry in costs), default=0)
    if machine.gpus:
        lines.append(f"beside: {host / 1e9:.1f} GB of main memory, {disk / 1e9:.1f} GB of disk")
    if stored := sum(entry.stored_bytes for entry in costs):
        lines.append(f"kept in the store: {stored / 1e9:.2f} GB of quantized copies, at most")
    if machine.stated:
        lines.append("times are by published figures of the accelerator, and were not measured")
    elif planned.finished:
        lines.append(f"times are calibrated by {planned.finished} finished jobs of these models")
    else:
        lines.append(
            "times are by the speed of this machine alone; after a first audit its jobs tell them"
        )
    return lines


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
