"""`auditor init`: a commented plan to start from."""

from importlib.resources import files
from pathlib import Path

import click

from auditor.cli.console import OUT
from auditor.errors import AuditorError


@click.command("init")
@click.argument("path", default="plan.yaml", type=Path)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, force: bool) -> None:
    """Write a commented plan (PATH, by default plan.yaml)."""
    if path.exists() and not force:
        raise AuditorError(f"{path} exists already; choose another name, or pass --force.")
    template = files("auditor.cli").joinpath("plan_template.yaml").read_text(encoding="utf-8")
    path.write_text(template, encoding="utf-8")
    OUT.print(f"{path}: fill in the models and the facts, then run `auditor plan {path}`.")
