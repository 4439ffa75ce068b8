"""`auditor import`: logs of other tools, made ready to be certified."""

import json
from pathlib import Path

import click

from auditor.cli.completion import among, log_layouts
from auditor.cli.console import OUT, foreign, next_step, worded
from auditor.cli.options import json_option

_LOG = click.Path(path_type=Path)


@click.command("import")
@click.argument("layout", metavar="LAYOUT", shell_complete=among(log_layouts))
@click.option("--unlearned", type=_LOG, required=True, help="Log of the model that should forget.")
@click.option("--original", type=_LOG, required=True, help="Log of the model before unlearning.")
@click.option(
    "--retrained",
    type=_LOG,
    required=True,
    multiple=True,
    help="Log of a model that never saw the forget set; give it again for each further seed.",
)
@click.option(
    "--forget-task",
    multiple=True,
    metavar="TASK",
    help="Task whose items are the forget set, where the layout does not say it; may be repeated.",
)
@click.option(
    "--retain-task",
    multiple=True,
    metavar="TASK",
    help="Task whose items are the retain set, likewise.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("logs-evidence"),
    show_default=True,
    help="Folder of the facts and the plan that are read from the logs.",
)
@json_option
def command(
    layout: str,
    unlearned: Path,
    original: Path,
    retrained: tuple[Path, ...],
    forget_task: tuple[str, ...],
    retain_task: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Read logs of other tools, so that they can be certified.

    LAYOUT is tofu (eval_log_aggregated.json), open-unlearning (TOFU_EVAL.json, MUSE_EVAL.json),
    muse (the folder of a model), rwku (forget.json and neighbor.json) or lm-eval
    (samples_TASK_TIME.jsonl). All logs must be about the same facts, asked in the same words. No
    model is opened, and none can be attacked.
    """
    from auditor.api.logs import import_logs

    tasks = {"forget_tasks": forget_task, "retain_tasks": retain_task}
    found = import_logs(
        layout,
        unlearned=unlearned,
        original=original,
        retrained=retrained,
        out=out,
        **{name: list(given) for name, given in tasks.items() if given},
    )
    sizes = {"forget": len(found.sets.forget), "retain": len(found.sets.retain)}
    if as_json:
        report = {
            "folder": str(found.folder),
            "facts": sizes,
            "metrics": found.metrics.model_dump(mode="json"),
            "figures": {arm: dict(figures) for arm, figures in found.figures.items()},
            "hazardous": found.hazardous,
            "lacking": [message.model_dump(mode="json") for message in found.lacking],
        }
        click.echo(json.dumps(report))
        return
    OUT.print(f"{sizes['forget']} forget and {sizes['retain']} retain facts")
    OUT.print(f"deciding: {', '.join(found.metrics.decides)}")
    if found.metrics.beside:
        OUT.print(f"reported: {', '.join(found.metrics.beside)}")
    for arm, figures in found.figures.items():
        for name, value in figures.items():
            OUT.print(foreign(f"{arm}: {name} {value:.4g}"))
    for message in found.lacking:
        OUT.print("[yellow]warning[/]: ", worded(message), sep="")
    if found.hazardous:
        OUT.print("the items are hazardous: none is shown, and every certificate is redacted")
    next_step(f"auditor certify {found.folder} --policy logs")
