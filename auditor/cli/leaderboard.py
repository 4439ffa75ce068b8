"""`auditor leaderboard`: all certificates under a folder, best first."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from auditor.cli.comparison_output import (
    bounds,
    figure,
    print_table,
    verdict_text,
    wrapping_table,
    write_page,
)
from auditor.cli.console import OUT, foreign, next_step
from auditor.cli.options import FILE, json_option
from auditor.core.errors import MalformedError

if TYPE_CHECKING:
    from auditor.comparison.ranking import Entry, Group, Leaderboard


@click.command("leaderboard")
@click.argument("folder", metavar="DIR", type=FILE)
@click.option("--html", is_flag=True, help="Write a web page, too.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The web page's file; implies --html.  [default: leaderboard.html]",
)
@click.option(
    "--strict",
    is_flag=True,
    help=f"Exit with {MalformedError.exit_code} if a file that should be a certificate cannot be "
    "read or was altered.",
)
@json_option
def command(folder: Path, html: bool, out: Path | None, strict: bool, as_json: bool) -> int:
    """Rank all certificates under a folder.

    Plain and signed ones, by verdict, then by the upper bound of residual knowledge, then by the
    utility kept. Only certificates on the same facts, original model, primary metric and policy are
    ranked together. No signature is checked and nothing is worked out again: `auditor verify` does
    that for each.
    """
    from auditor.comparison.collection import collect
    from auditor.comparison.forms import LEADERBOARDS
    from auditor.comparison.ranking import rank
    from auditor.core.text_safety import path_text

    leaderboard = rank(path_text(folder), *collect(folder))
    if html or out is not None:
        form = LEADERBOARDS.get("html")
        target = out or Path(f"leaderboard{form.suffix}")
        sources = [
            folder / path
            for group in leaderboard.groups
            for entry in group.entries
            for path in entry.paths
        ]
        write_page(form.render(leaderboard), target, sources)
    if as_json:
        click.echo(json.dumps(leaderboard.model_dump(mode="json")))
    else:
        _print(leaderboard)
    return MalformedError.exit_code if strict and leaderboard.unreadable else 0


def _print(leaderboard: "Leaderboard") -> None:
    if not leaderboard.groups:
        OUT.print("No certificate was found.")
    if len(leaderboard.groups) > 1:
        OUT.print(
            f"{len(leaderboard.groups)} tables: certificates on other facts, original models, "
            "metrics or policies are not ranked against one another."
        )
    for number, group in enumerate(leaderboard.groups, start=1):
        _print_group(number, group)
    if leaderboard.groups:
        OUT.print("Signatures were not checked; `auditor verify` does that for each.")
    if leaderboard.unreadable:
        OUT.print(Text("\nNot ranked: files that should be certificates", "bold red"))
    for rejected in leaderboard.unreadable:
        OUT.print(Text("  - ").append(foreign(rejected.path)))
        OUT.print(Text("    ").append(foreign(rejected.reason, 400)))
    if leaderboard.others:
        OUT.print(
            Text(f"\n{len(leaderboard.others)} JSON files hold something else: ").append(
                foreign(", ".join(leaderboard.others), 400)
            )
        )
    next_step("auditor verify each; auditor compare A B shows what tells two of them apart")


def _print_group(number: int, group: "Group") -> None:
    OUT.print(Text(f"\nTable {number}", "bold"))
    OUT.print(
        Text("facts ")
        .append(foreign(group.facts_digest[:12]))
        .append(", original ")
        .append(foreign((group.original_digest or "not recorded")[:12]))
        .append(", metric ")
        .append(foreign(group.primary_metric, 80))
        .append(f", scope {group.scope}, policy ")
        .append(foreign(group.policy, 80))
        .append(foreign(f" {group.policy_digest[:12]}"))
    )
    if not group.same_baselines:
        OUT.print(
            Text(
                "The retrained models are not the same in all: each residual is relative to its "
                "own.",
                "yellow",
            )
        )
    table = wrapping_table(
        "",
        "certificate",
        "verdict",
        "residual",
        "worst attack",
        "utility",
        "named",
        "measured on",
    )
    for entry in group.entries:
        table.add_row(*_cells(entry))
    print_table(table)


def _cells(entry: "Entry") -> list[Text | str]:
    paths = Text("\n").join(foreign(path, 120) for path in entry.paths)
    if entry.claimed_keys is not None:
        paths.append("\nsigned, not checked")
    paths.append("\nissued ").append(foreign(entry.issued, 40))
    worst: Text | str = "none measured"
    if entry.worst_attack is not None:
        worst = foreign(entry.worst_attack, 80).append(f" {figure(entry.worst_rho)}")
    residual = bounds(entry.residual_lower, entry.residual_upper)
    if not entry.residual_complete:
        residual += " not every mandatory attack was measured"
    utility = f"{entry.utility_state} {figure(entry.utility_unlearned)}"
    facts = "an unknown number of" if entry.facts is None else f"{entry.facts:,}"
    return [
        str(entry.rank),
        paths,
        verdict_text(entry.verdict, entry.flags),
        Text(residual),
        worst,
        f"{utility} of {figure(entry.utility_original)}",
        Text("\n").join(foreign(label, 80) for label in entry.named) if entry.named else "none",
        f"{facts} facts, {entry.retrained_models} retrained",
    ]
