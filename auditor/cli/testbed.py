"""`auditor testbed`: small worlds, trained from scratch, to try audits on."""

import json
from pathlib import Path

import click
from rich.table import Table

from auditor.cli import completion
from auditor.cli.completion import among
from auditor.cli.console import OUT, next_step
from auditor.cli.options import json_option, quiet_option
from auditor.cli.progress import chosen_progress


@click.group("testbed")
def command() -> None:
    """Build and list worlds of small models."""


@command.command("list")
@json_option
def list_worlds(as_json: bool) -> None:
    """List the worlds, what is in them, and what is built."""
    from auditor.testbeds import catalogue as worlds

    found = [worlds.locate(recipe.name) for recipe in worlds.list_worlds()]
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "name": world.recipe.name,
                        "purpose": world.recipe.purpose,
                        "digest": world.recipe.digest,
                        "folder": str(world.root),
                        "models": list(world.recipe.models),
                        "built": list(world.built()),
                    }
                    for world in found
                ]
            )
        )
        return
    table = Table("world", "built", "models", "what it shows", box=None)
    for world in found:
        models = world.recipe.models
        table.add_row(
            world.recipe.name,
            f"{len(world.built())} of {len(models)}",
            ", ".join(models),
            world.recipe.purpose,
        )
    OUT.print(table)
    if worlds.DRAWING not in {world.recipe.name for world in found}:
        hint = f"{worlds.DRAWING}: pip install 'unlearning-auditor[{worlds.ITS_EXTRA}]'"
        OUT.print(hint, markup=False, highlight=False)
    next_step("auditor demo --world NAME; auditor testbed build NAME")


@command.command("build")
@click.argument("name", default="people", shell_complete=among(completion.worlds))
@click.option("--only", multiple=True, metavar="MODEL", help="Only this model; repeatable.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Instead of the user's cache folder.",
)
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Unpack nothing that ships with the package: train shapes too, which takes about 45 "
    "minutes, into a folder of its own.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Copy the models and the facts into this folder: models/NAME, data/forget.jsonl.",
)
@quiet_option
def build(
    name: str,
    only: tuple[str, ...],
    cache: Path | None,
    from_scratch: bool,
    out: Path | None,
    quiet: bool,
) -> None:
    """Build what is missing of a world (NAME, by default people).

    Models are trained, but for those of shapes, which ship with the package.
    """
    from auditor.testbeds import catalogue as worlds

    world = worlds.build(name, cache, only or None, chosen_progress(quiet), from_scratch)
    if out is not None:
        wanted = only or world.recipe.models
        world.copy_to(out, wanted)
        for model in wanted:
            OUT.print(f"{model}: {out / 'models' / model}", soft_wrap=True)
        OUT.print(f"facts: {out / 'data'}", soft_wrap=True)
        next_step("auditor init plan.yaml")
        return
    for model in world.built():
        OUT.print(f"{model}: {world.model_path(model)}")
    next_step(f"auditor demo --world {name}")


@command.command("pack", hidden=True)
@click.argument("name", default="shapes")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path))
def pack(name: str, cache: Path | None) -> None:
    """Write the weights of a built world into the package.

    The world must have been built from scratch. This is for maintainers of the package.
    """
    from auditor.testbeds import catalogue as worlds

    files = worlds.pack(name, cache)
    for file in files:
        OUT.print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
    OUT.print(f"together {sum(file.stat().st_size for file in files) / 1e6:.2f} MB")
