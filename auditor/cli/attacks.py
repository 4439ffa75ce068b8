"""`auditor attacks`: what can be run, and with what parameters."""

import inspect
import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from auditor.cli.console import OUT
from auditor.cli.options import json_option
from auditor.core.errors import AuditorError


@click.group("attacks")
def command() -> None:
    """List and describe the attacks."""


@command.command("list")
@json_option
def list_attacks(as_json: bool) -> None:
    """List all installed attacks."""
    from auditor.attack import ATTACKS

    described = [_describe(name, cls) for name, cls in ATTACKS]
    if as_json:
        click.echo(json.dumps(described))
        return
    table = Table("attack", "levels (profile, * = mandatory)", "what it does", box=None)
    for entry in described:
        levels = ", ".join(
            f"{level['variant']} ({level['profile']}{'*' if level['part'] == 'mandatory' else ''})"
            for level in entry["levels"]
        )
        table.add_row(entry["name"], levels, entry["description"].split("\n")[0])
    OUT.print(table)


@command.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Describe one attack: threat, source, parameters, levels."""
    from auditor.attack import ATTACKS
    from auditor.cli.attack_pages import described_parameters

    entry = _describe(name, ATTACKS.get(name))
    if as_json:
        click.echo(json.dumps(entry))
        return
    OUT.print(f"[bold]{entry['name']}[/]\n\n{entry['description']}\n", highlight=False)
    table = Table("parameter", "type", "default", "meaning", box=None)
    for described in described_parameters(ATTACKS.get(name)):
        table.add_row(*map(escape, described))
    OUT.print(table)
    for level in entry["levels"]:
        OUT.print(f"  {level['variant']}: from profile {level['profile']}, {level['part']}")


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


def _describe(name: str, cls: Any) -> dict[str, Any]:
    levels = [
        {
            "variant": variant.variant,
            "packages": list(variant.packages),
            "parameters": dict(level.parameters),
            "profile": level.profile,
            "role": cls.role(level.mandatory),
        }
        for level in cls.levels
        for variant in [cls(cls.parameters_type(**level.parameters))]
    ]
    return {
        "name": name,
        "family": cls.family,
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "source": f"{cls.__module__}.{cls.__qualname__}",
        "requires": {
            "packages": list(cls.requires.packages),
            "gpu": cls.requires.gpu,
            "full_precision": cls.requires.full_precision,
        },
        "seeded": cls.seeded,
        "searches": cls.searches,
        "levels": levels,
        "parameters": cls.parameters_type.model_json_schema(),
    }
