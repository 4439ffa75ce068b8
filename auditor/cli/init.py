"""`auditor init`: a commented plan to start from."""

from importlib.resources import files
from pathlib import Path

import click

from auditor.cli.console import OUT
from auditor.core.errors import AuditorError

_TEMPLATES = {"causal-lm": "plan_template.yaml", "text-to-image": "plan_template_images.yaml"}


@click.command("init")
@click.argument("path", default="plan.yaml", type=Path)
@click.option(
    "--kind",
    type=click.Choice(list(_TEMPLATES)),
    default="causal-lm",
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
    template = files("auditor.cli").joinpath(_TEMPLATES[kind]).read_text(encoding="utf-8")
    path.write_text(template, encoding="utf-8")
    OUT.print(f"{path}: fill in the models and the facts, then run `auditor plan {path}`.")
