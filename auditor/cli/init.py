"""`auditor init`: a commented plan to start from."""

from pathlib import Path
from typing import Any

import click

from auditor.cli.completion import among, benchmarks, folders
from auditor.cli.console import OUT, next_step
from auditor.cli.options import FILE
from auditor.core.errors import AuditorError
from auditor.core.files import write_whole
from auditor.data.benchmarks import BENCHMARKS
from auditor.models.kind import KINDS, default_kind, kind_named


@click.command("init")
@click.argument("path", default="plan.yaml", type=FILE)
@click.option(
    "--kind",
    type=click.Choice(KINDS.names()),
    default=default_kind().name,
    show_default=True,
    help="What sort of models are audited.",
)
@click.option(
    "--benchmark",
    metavar="NAME",
    shell_complete=among(benchmarks),
    help=f"A published benchmark, whose sets, metrics and format the plan then has: "
    f"{', '.join(BENCHMARKS)}.",
)
@click.option(
    "--unlearned",
    metavar="MODEL",
    shell_complete=folders,
    help="With --benchmark: the model under audit.",
)
@click.option(
    "--original",
    metavar="MODEL",
    shell_complete=folders,
    help="With --benchmark: the model before unlearning.  [default: the published one, where the "
    "name of the unlearned model says which]",
)
@click.option(
    "--retrained",
    metavar="MODEL",
    shell_complete=folders,
    multiple=True,
    help="With --benchmark: a model that never saw the forget set; may be repeated.",
)
@click.option(
    "--data",
    "folder",
    type=FILE,
    metavar="FOLDER",
    help="With --benchmark: its files.  [default: the Hugging Face hub]",
)
@click.option(
    "--subject", metavar="NAME", help="With --benchmark rwku: the one that was unlearned."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, kind: str, benchmark: str | None, force: bool, **parts: Any) -> None:
    """Write a commented plan to start from.

    PATH is its file, by default plan.yaml.
    """
    if path.exists() and not force:
        raise AuditorError(f"{path} exists already; choose another name, or pass --force.")
    if benchmark is None:
        if given := [f"--{'data' if n == 'folder' else n}" for n, value in parts.items() if value]:
            raise AuditorError(f"{', '.join(given)}: of a plan for a --benchmark alone.")
        write_whole(path, kind_named(kind).template().encode())
        OUT.print(f"{path}: fill in the models and the facts.", highlight=False)
        next_step(f"auditor plan {path}")
        return
    from auditor.cli.benchmark_plan import benchmark_plan

    text, lacking = benchmark_plan(benchmark, path.parent, **parts)
    write_whole(path, text.encode())
    OUT.print(f"{path}: fill in {' and '.join(lacking) or 'nothing'}.", highlight=False)
    next_step(f"auditor plan {path}")
