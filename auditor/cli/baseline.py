"""`auditor baseline`: a baseline where there is no retrained model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from auditor.cli.console import OUT, next_step
from auditor.cli.options import json_option, quiet_option
from auditor.cli.progress import chosen_progress
from auditor.cli.sources import column_options, source_of
from auditor.core.errors import AuditorError
from auditor.core.reading import SETTINGS, read_regular
from auditor.core.reading_yaml import parse_yaml
from auditor.core.validation import problems
from auditor.models.provenance import Recipe

if TYPE_CHECKING:
    from auditor.api.baselines import TrainingPlan

_PATH = click.Path(path_type=Path)


@click.group("baseline")
def command() -> None:
    """Train a baseline where there is no retrained model."""


@command.command("build")
@click.option(
    "--base", metavar="MODEL", required=True, help="Checkpoint from which the original was made."
)
@click.option("--revision", help="Commit or tag of a base on the hub.")
@click.option("--retain", type=_PATH, required=True, help="Facts that are trained on.")
@click.option(
    "--forget", type=_PATH, help="Facts that must not be trained on; the retain set is compared."
)
@column_options
@click.option("--original", metavar="MODEL", help="The original, which the base must not be.")
@click.option("--recipe", "recipe_file", type=_PATH, help="Recipe of the fine-tuning (YAML).")
@click.option("--epochs", type=float, help="Passes over the retain set.")
@click.option("--learning-rate", type=float, help="Peak of AdamW's rate.")
@click.option("--batch-size", type=int, help="Examples a step.")
@click.option("--lora-rank", type=int, help="Train adapters of this rank, and merge them.")
@click.option("--full", is_flag=True, help="Train all weights.  [default]")
@click.option("--seed", type=int, help="Seed of the training.  [default: 0]")
@click.option("--out", type=_PATH, required=True, help="Folder of the new model.")
@click.option(
    "--without-copies",
    is_flag=True,
    help="Leave out retain facts that stand in the forget set, or nearly.",
)
@click.option("--trust-remote-code", is_flag=True, help="Run code of the base.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what it takes.")
@quiet_option
@json_option
def build(
    base: str,
    revision: str | None,
    retain: Path,
    forget: Path | None,
    layout: Any,
    fields: tuple[str, ...],
    rows_per_entity: int | None,
    original: str | None,
    recipe_file: Path | None,
    out: Path,
    without_copies: bool,
    trust_remote_code: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Fine-tune a base checkpoint on the retain set alone.

    The recipe should be the one by which the original was made, and the base must not have seen
    the forget set. The new model goes into a plan as `retrained`; baseline.json beside its weights
    says how it was made.
    """
    columns = {"layout": layout, "fields": fields, "rows_per_entity": rows_per_entity}
    kept = source_of(path=str(retain), **columns)
    recipe = _recipe(recipe_file, flags)
    from auditor.api.baselines import build_baseline, plan_baseline

    spec = {"path": base, "revision": revision, "trust_remote_code": trust_remote_code}
    options: dict[str, Any] = {
        "forget": None if forget is None else source_of(path=str(forget), **columns),
        "original": original,
        "without_copies": without_copies,
    }
    if dry_run:
        _print_plan(plan_baseline(spec, kept, recipe, **options), as_json)
        return
    built = build_baseline(spec, kept, recipe, out, progress=chosen_progress(quiet), **options)
    made = built.provenance
    if as_json:
        click.echo(made.model_dump_json())
        return
    OUT.print(
        f"{out}: {made.steps} steps on {made.retain.facts:,} facts, loss {made.loss:.3f}; "
        f"{out / 'baseline.json'} says how it was made\n\nIn a plan:\n\nretrained:\n  - {out}",
        markup=False,
        highlight=False,
    )
    if made.forget is None:
        OUT.print(
            "note: without --forget nobody looked whether the retain set holds forget facts, and "
            "nothing passes an audit against this baseline. `auditor baseline check` looks.",
            markup=False,
            highlight=False,
        )
    next_step("auditor plan PLAN, with these lines in it")


@command.command("check")
@click.argument("baseline", type=_PATH)
@click.option("--retain", type=_PATH, required=True, help="Facts that it was trained on.")
@click.option("--forget", type=_PATH, required=True, help="Facts to be forgotten in an audit.")
@column_options
def check(baseline: Path, retain: Path, forget: Path, **columns: Any) -> None:
    """Compare what a built baseline was trained on with a forget set.

    BASELINE is the folder that `auditor baseline build` wrote. Where the retain set is the one of
    its training and holds no forget fact, baseline.json says so from now on.
    """
    from auditor.api.baselines import check_baseline

    kept, unwanted = (source_of(path=str(file), **columns) for file in (retain, forget))
    made = check_baseline(baseline, kept, unwanted)
    OUT.print(
        f"{baseline}: trained on {made.retain.facts:,} facts, none of which stands in {forget}",
        markup=False,
        highlight=False,
    )
    next_step(f"auditor plan PLAN, with {baseline} under `retrained`")


def _print_plan(planned: "TrainingPlan", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(vars(planned)))
        return
    left_out = f" ({planned.left_out} retain facts left out)" if planned.left_out else ""
    OUT.print(
        f"{planned.examples:,} examples{left_out}, {planned.tokens:,} tokens a pass, "
        f"{planned.steps:,} steps on {planned.parameters:,} weights; about "
        f"{max(1, planned.seconds / 60):,.0f} min on this machine",
        markup=False,
        highlight=False,
    )
    next_step("the same command without --dry-run")


def _recipe(file: Path | None, flags: dict[str, Any]) -> Recipe:
    """Read the recipe from a file, and what flags say instead.

    Raises:
        AuditorError: Something is missing or wrong; all is named.
    """
    content: dict[str, Any] = {}
    if file is not None:
        try:
            content = parse_yaml(read_regular(file, SETTINGS))
        except OSError as error:
            raise AuditorError(f"the recipe {file} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise AuditorError(f"the recipe {file} is not valid YAML: {error}") from error
        if not isinstance(content, dict):
            raise AuditorError(f"the recipe {file} holds no settings by name.")
    rank, full = flags.pop("lora_rank"), flags.pop("full")
    if full and rank is not None:
        raise AuditorError("give --lora-rank or --full, not both.")
    content |= {name: value for name, value in flags.items() if value is not None}
    if full:
        content["lora"] = None
    elif rank is not None:
        content["lora"] = {"rank": rank, "alpha": 2 * rank}
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = "\n  ".join(problems(error, "recipe", Recipe))
        raise AuditorError(
            f"the recipe lacks something (a file with --recipe, or flags); it should be that of "
            f"the original:\n  {lines}"
        ) from error
