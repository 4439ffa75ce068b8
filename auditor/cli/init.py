"""`auditor init`: a commented plan to start from."""

from pathlib import Path

import click

from auditor.cli.console import OUT
from auditor.core.errors import AuditorError
from auditor.core.files import write_whole
from auditor.models.kind import KINDS, default_kind, kind_named


@click.command("init")
@click.argument("path", default="plan.yaml", type=Path)
@click.option(
    "--kind",
    type=click.Choice(KINDS.names()),
    default=default_kind().name,
    show_default=True,
    help="What sort of models are audited.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, kind: str, force: bool) -> None:
    """Write a commented plan to start from.

    PATH is its file, by default plan.yaml.
    """
    if path.exists() and not force:
        raise AuditorError(f"{path} exists already; choose another name, or pass --force.")
    write_whole(path, kind_named(kind).template().encode())
    OUT.print(f"{path}: fill in the models and the facts, then run `auditor plan {path}`.")
