"""`auditor attacks`: what can be run, and with what parameters."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from auditor.cli import completion
from auditor.cli.comparison_output import print_table, wrapping_table
from auditor.cli.completion import among
from auditor.cli.console import OUT, next_step
from auditor.cli.options import json_option
from auditor.core.errors import AuditorError
from auditor.models.kind import KINDS


@click.group("attacks")
def command() -> None:
    """List and describe the attacks."""


@command.command("list")
@click.option(
    "--family",
    metavar="FAMILY",
    shell_complete=among(completion.families),
    help="Those of one family alone, as quantization.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS.names()),
    help="Those alone that attack one kind of model.",
)
@json_option
def list_attacks(family: str | None, kind: str | None, as_json: bool) -> None:
    """List all installed attacks, and the plug-ins that do not load."""
    from auditor.attack import ATTACKS

    broken = {name: str(error) for name, error in ATTACKS.broken().items()}
    entries = []
    for name in ATTACKS.names():
        try:
            entries.append(_summary(name))
        except AuditorError as error:
            broken[name] = str(error)
    families = sorted({entry["family"] for entry in entries})
    if family is not None and family not in families:
        raise AuditorError(f"there is no family {family!r}; there are {', '.join(families)}.")
    entries = [
        entry
        for entry in entries
        if family in (None, entry["family"]) and (kind is None or kind in entry["kinds"])
    ]
    if as_json:
        failures = [{"name": name, "error": error} for name, error in broken.items()]
        click.echo(json.dumps(entries + failures))
        return
    table = wrapping_table("attack", "presets (profile, * = mandatory)", "what it does")
    table.columns[0].no_wrap = True
    for entry in entries:
        presets = ", ".join(
            f"{preset['name']} ({preset['profile']}{'*' if preset['role'] == 'mandatory' else ''})"
            for preset in entry["presets"]
        )
        table.add_row(*map(escape, (entry["name"], presets, entry["summary"])))
    print_table(table)
    for reason in broken.values():
        OUT.print(f"[red]broken:[/] {escape(reason)}")
    next_step("auditor attacks show NAME, or name them in the plan (`attacks`)")


@command.command("show")
@click.argument("name", shell_complete=among(completion.attacks))
@json_option
def show(name: str, as_json: bool) -> None:
    """Describe one attack: threat model, source, parameters, presets."""
    from auditor.attack import ATTACKS, SECTIONS
    from auditor.cli.attack_pages import described_parameters

    described, settings = ATTACKS.metadata(name), ATTACKS.parameters_type(name)
    entry = _summary(name)
    if as_json:
        entry["parameters"] = settings.model_json_schema()
        click.echo(json.dumps(entry))
        return
    title = f"[bold]{escape(described.name)}[/]\n\n{escape(described.summary)}\n"
    OUT.print(title, highlight=False)
    for paragraph in described.paragraphs:
        OUT.print(escape(paragraph) + "\n", highlight=False)
    for field, label in SECTIONS.items():
        if text := entry[field]:
            OUT.print(f"{label}: {escape(text)}\n", highlight=False)
    table = wrapping_table("parameter", "type", "default", "meaning")
    for parameter in described_parameters(settings):
        table.add_row(*map(escape, parameter))
    print_table(table)
    for preset in entry["presets"]:
        line = f"  {preset['name']}: from profile {preset['profile']}, {preset['role']}"
        OUT.print(escape(line), highlight=False)
    next_step(f"name it in a plan (`attacks: [{{attack: {described.name}}}]`)")


@command.command("document")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/attacks"),
    show_default=True,
    help="Folder for the pages.",
)
def document(out: Path) -> None:
    """Write a Markdown page for every installed attack, and an index."""
    from auditor.cli.attack_pages import pages

    try:
        out.mkdir(parents=True, exist_ok=True)
        written = pages()
        for name, text in written.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise AuditorError(f"the pages cannot be written to {out}: {error.strerror}.") from error
    OUT.print(f"{len(written)} pages in {out}")
    next_step(f"read {out / 'index.md'}")


def _summary(name: str) -> dict[str, Any]:
    """Return an attack's description by its class, as JSON."""
    from auditor.attack import ATTACKS

    metadata = ATTACKS.metadata(name)
    entry = asdict(metadata)
    for preset, stated in zip(entry["presets"], metadata.presets, strict=True):
        preset["role"] = metadata.role(stated.mandatory)
    entry["details"] = "\n\n".join(metadata.paragraphs)
    return {"name": metadata.name, "family": metadata.family, **entry}
