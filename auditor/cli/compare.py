"""`auditor compare`: what changed between two certificates."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from auditor.cli.comparison_output import (
    MISSING,
    bounds,
    figure,
    print_table,
    verdict_text,
    wrapping_table,
    write_page,
)
from auditor.cli.completion import folders
from auditor.cli.console import OUT, foreign, next_step, worded
from auditor.cli.options import FILE, json_option, place

if TYPE_CHECKING:
    from auditor.comparison.schema import AttackChange, Comparison, Side

WORSE, UNKNOWN = 1, 3
"""Exit codes under --fail-if-worse: B is worse, or it cannot be said whether it is."""


@click.command("compare")
@click.argument("file_a", metavar="A", type=FILE)
@click.argument("file_b", metavar="B", type=FILE)
@click.option(
    "--evidence-a",
    type=place,
    shell_complete=folders,
    help="Evidence store of A.  [default: evidence beside A or one folder up]",
)
@click.option(
    "--evidence-b",
    type=place,
    shell_complete=folders,
    help="Evidence store of B.  [default: evidence beside B or one folder up]",
)
@click.option("--html", is_flag=True, help="Write a web page, too.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The web page's file; implies --html.  [default: comparison.html]",
)
@click.option(
    "--fail-if-worse",
    is_flag=True,
    help="Exit with 1 if B's verdict is worse or an attack newly finds a leak, and with 3 if "
    "neither is so but figures or verdicts are not comparable.",
)
@json_option
def command(
    file_a: Path,
    file_b: Path,
    evidence_a: str | Path | None,
    evidence_b: str | Path | None,
    html: bool,
    out: Path | None,
    fail_if_worse: bool,
    as_json: bool,
) -> int:
    """Compare two certificates, fact by fact where possible.

    Says what changed from A to B. Two are comparable that have forget set, metric and original in
    common. Where the retrained models are the same, too, and the evidence of both is at hand, they
    are compared fact by fact. No signature is checked and
    nothing is worked out again: `auditor verify` does that for each.
    """
    from auditor.comparison.contrast import Given, compare
    from auditor.comparison.forms import COMPARISONS
    from auditor.signing.reading import read

    given = [
        Given(path, *read(path), evidence)
        for path, evidence in ((file_a, evidence_a), (file_b, evidence_b))
    ]
    comparison = compare(*given)
    if html or out is not None:
        form = COMPARISONS.get("html")
        target = out or Path(f"comparison{form.suffix}")
        write_page(form.render(comparison), target, [file_a, file_b])
    if as_json:
        click.echo(json.dumps(comparison.model_dump(mode="json")))
    else:
        _print(comparison)
        next_step("auditor verify each; auditor compare A B --out change.html, for a reader")
    if not fail_if_worse:
        return 0
    if comparison.worse:
        return WORSE
    return 0 if comparison.verdicts_comparable else UNKNOWN


def _print(comparison: "Comparison") -> None:
    _print_sides(comparison)
    _print_sameness(comparison)
    table = wrapping_table("attack", "", "K unlearned", "rho [bounds]", "result", "B - A")
    for attack in comparison.attacks:
        _add_attack(table, attack)
    print_table(table)
    _print_utility(comparison)
    _print_paired(comparison)
    for name, warnings in (
        ("A", comparison.warnings_only_a),
        ("B", comparison.warnings_only_b),
    ):
        _print_items(f"Warnings in {name} alone", map(worded, warnings))


def _print_sides(comparison: "Comparison") -> None:
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        OUT.print(Text(f"{name}  ", "bold").append(verdict_text(side.verdict, side.flags)))
        OUT.print(Text("   ").append(foreign(side.path)))
        OUT.print(Text("   ").append(foreign(f"id {side.certificate_id}", 80)))
        OUT.print(Text("   issued ").append(foreign(side.issued, 40)).append(_signature(side)))
        residual = bounds(side.residual_lower, side.residual_upper)
        OUT.print(Text(f"   residual knowledge {residual}"))


def _signature(side: "Side") -> Text:
    if side.claimed_keys is None:
        return Text("; not signed")
    keys = ", ".join(side.claimed_keys) or "nobody"
    return Text("; says it is signed by ").append(foreign(keys)).append(" (not checked)")


def _print_sameness(comparison: "Comparison") -> None:
    if not comparison.comparable:
        OUT.print(Text("\nNOT COMPARABLE: the figures below are not of one measure.", "bold red"))
        for obstacle in comparison.obstacles:
            OUT.print(Text(f"  - {obstacle.about}: ").append(worded(obstacle.message)))
    _print_items(
        "Not the same, and no obstacle",
        (f"{d.about}: {worded(d.message).plain}" for d in comparison.differences),
    )
    if comparison.verdicts_comparable:
        _print_items("Worse in B", map(worded, comparison.worse), "bold red")
    elif comparison.comparable:
        OUT.print(Text("\nThe verdicts are of two rules; the figures can be compared.", "bold"))
    _print_items("Flags in A alone", comparison.flags_only_a)
    _print_items("Flags in B alone", comparison.flags_only_b)
    _print_items("Policy", (f"{c.name}: {_value(c.a)} -> {_value(c.b)}" for c in comparison.policy))
    _print_items(
        "Models",
        (f"{model.arm}: {'the same' if model.same else 'another'}" for model in comparison.models),
    )
    OUT.print()


def _print_items(title: str, items: Iterable[str | Text], style: str = "bold") -> None:
    listed = list(items)
    if listed:
        OUT.print(Text(title, style))
    for item in listed:
        OUT.print(Text("  - ").append(foreign(item, 400) if isinstance(item, str) else item))


def _value(value: object) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)


def _add_attack(table: Table, attack: "AttackChange") -> None:
    table.add_section()
    for name, side in (("A", attack.a), ("B", attack.b)):
        label = foreign(attack.label, 100) if name == "A" else Text()
        if side is None:
            table.add_row(label, name, "not in this certificate")
            continue
        result = Text(side.outcome, "bold red" if side.named else "")
        if side.status != "measured":
            result = Text(f"{side.status}: ").append(
                worded(side.reason, 200) if side.reason else Text("no reason")
            )
        if side.unmet:
            result.append(foreign(f"; not met: {', '.join(side.unmet).replace('_', ' ')}", 200))
        rho = figure(side.rho)
        if side.rho is not None:
            rho += f" {bounds(side.rho_lower, side.rho_upper)}"
        change = _change(attack) if name == "B" else Text()
        table.add_row(label, name, figure(side.k_unlearned), Text(rho), result, change)


def _change(attack: "AttackChange") -> Text:
    lines = []
    if attack.k_unlearned_change is not None:
        lines.append(Text(f"K {figure(attack.k_unlearned_change, sign=True)}"))
    if attack.paired is not None:
        p = attack.paired
        lines.append(
            Text(
                f"paired {figure(p.mean, sign=True)} [{p.lower:+.3f}, {p.upper:+.3f}], n={p.units}"
            )
        )
    lines += [
        foreign(f"{change.name}: {_value(change.a)} -> {_value(change.b)}", 120)
        for change in attack.parameters
    ]
    return Text("\n").join(lines)


def _print_utility(comparison: "Comparison") -> None:
    utility = comparison.utility
    OUT.print(
        Text(
            f"\nutility: A {utility.state_a}, {figure(utility.unlearned_a)} of "
            f"{figure(utility.original_a)} in the original; B {utility.state_b}, "
            f"{figure(utility.unlearned_b)} of {figure(utility.original_b)}"
            + ("" if utility.change is None else f"; B - A {figure(utility.change, sign=True)}")
        )
    )


def _print_paired(comparison: "Comparison") -> None:
    paired = comparison.paired
    if not paired.possible or paired.alpha is None:
        OUT.print(
            Text("paired comparison: not possible, ").append(
                worded(paired.why_not, 600) if paired.why_not else Text("no reason was recorded")
            )
        )
        return
    OUT.print(
        Text(
            f"paired: mean over {paired.unit} of D in B minus D in A, with an interval at "
            f"confidence {1 - paired.alpha:.4g} for each attack; not corrected for the number of "
            "attacks"
        )
    )
    if paired.facts_missing:
        OUT.print(Text("facts that changed most: ").append(worded(paired.facts_missing, 400)))
    if not paired.facts:
        return
    table = wrapping_table("fact", "attack", "K A -> B", "A said", "B said")
    for fact in paired.facts:
        said = [
            Text(MISSING) if text is None else foreign(text, 120)
            for text in (fact.said_a, fact.said_b)
        ]
        table.add_row(
            foreign(fact.fact, 60),
            foreign(fact.attack, 80),
            f"{fact.k_a:.3f} -> {fact.k_b:.3f}",
            *said,
        )
    OUT.print(Text("\nfacts that changed most", "bold"))
    print_table(table)
