"""`auditor facts`: facts built from what people have, and checked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.text import Text

from auditor.cli.console import OUT, next_step, worded
from auditor.cli.options import json_option
from auditor.cli.sources import column_options, source_of
from auditor.core.errors import AuditorError

if TYPE_CHECKING:  # the builders bring numpy, which `--help` does without
    from auditor.api.facts import Built, FactsReport

Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
VOID = 3
"""Exit code of a check that found what would make an audit void."""


@click.group("facts")
def command() -> None:
    """Build facts from texts, tables, hub data or tasks, and check them."""


def _out(built: Command) -> Command:
    """Add where the facts go."""
    for decorate in (
        click.option("--force", is_flag=True, help="Overwrite an existing file."),
        click.option(
            "--out",
            type=_PATH,
            default=Path("facts.jsonl"),
            show_default=True,
            help="File of the facts.",
        ),
    ):
        built = decorate(built)
    return built


@command.command("from-text")
@click.argument("source", type=_PATH)
@click.option(
    "--tokenizer",
    metavar="MODEL",
    help="Count the tokens of this model (folder, tokenizer.json or name on the hub).  "
    "[default: count words]",
)
@click.option("--prefix-tokens", default=64, show_default=True, help="Tokens that are asked.")
@click.option("--answer-tokens", default=32, show_default=True, help="Tokens that answer.")
@click.option(
    "--stride",
    type=int,
    help="Tokens from a passage to the next.  [default: passages touch and do not overlap]",
)
@click.option("--most", type=click.IntRange(min=1), help="At most so many, evenly spread.")
@click.option(
    "--column", default="text", show_default=True, help="Column of a table that holds documents."
)
@_out
def from_text(
    source: Path,
    tokenizer: str | None,
    prefix_tokens: int,
    answer_tokens: int,
    stride: int | None,
    most: int | None,
    column: str,
    out: Path,
    force: bool,
) -> None:
    """Cut texts into passages: a prefix asks, the rest answers.

    SOURCE is a text file, a folder of them (each file is a document, and an entity), or a table
    (JSON Lines, CSV, Parquet) with a document a row.
    """
    from auditor.api.facts import Cut, facts_from_text

    built = facts_from_text(
        source,
        tokenizer=tokenizer,
        cut=Cut(prefix_tokens, answer_tokens, stride),
        most=most,
        column=column,
    )
    _write(built, out, force)


@command.command("from-csv")
@click.argument("source", type=_PATH)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    required=True,
    help="Prompt with the names of columns in braces; a further one goes with a further --answer.",
)
@click.option(
    "--answer", "answers", multiple=True, required=True, help="Column that holds its answer."
)
@click.option(
    "--entity",
    metavar="COLUMN",
    help="Column of whom or what a fact is about.  [default: the first that all prompts name]",
)
@click.option(
    "--distractors", default=4, show_default=True, help="Wrong answers, from the other rows."
)
@click.option("--seed", default=0, show_default=True, help="Seed of their choice.")
@_out
def from_csv(
    source: Path,
    prompts: tuple[str, ...],
    answers: tuple[str, ...],
    entity: str | None,
    distractors: int,
    seed: int,
    out: Path,
    force: bool,
) -> None:
    """Make facts of a table's rows (CSV, JSON Lines, Parquet).

    For example: auditor facts from-csv staff.csv --prompt "The e-mail address of {name} is"
    --answer email
    """
    from auditor.api.facts import facts_from_table

    if len(prompts) != len(answers):
        raise AuditorError(
            f"{len(prompts)} --prompt and {len(answers)} --answer are given; each prompt needs the "
            "column of its answer."
        )
    built = facts_from_table(
        source,
        list(zip(prompts, answers, strict=True)),
        entity=entity,
        distractors=distractors,
        seed=seed,
    )
    _write(built, out, force)


@command.command("from-hub")
@click.argument("name")
@click.option("--config", help="Configuration of the data set.")
@click.option("--split", default="train", show_default=True, help="Split of the data set.")
@click.option("--revision", help="Commit or tag of the data set.")
@column_options
@_out
def from_hub(
    name: str,
    config: str | None,
    split: str,
    revision: str | None,
    out: Path,
    force: bool,
    **columns: Any,
) -> None:
    """Write a data set on the Hugging Face hub as facts.

    NAME is owner/name. For example: auditor facts from-hub locuslab/TOFU --config forget10
    --layout tofu --rows-per-entity 20
    """
    from auditor.api.facts import facts_from_source

    source = source_of(dataset=name, config=config, split=split, revision=revision, **columns)
    _write(facts_from_source(source), out, force)


@command.command("from-lm-eval")
@click.argument("task", type=_PATH)
@click.option("--data", type=_PATH, help="File with the data set.  [default: as the task says]")
@click.option("--split", help="Split of the data set.  [default: the one that the task asks]")
@click.option("--text", help="Template or column of the prompt, instead of the task's.")
@click.option("--target", help="Template or column of the answer, instead of the task's.")
@click.option("--choice", help="Template or column of the choices, instead of the task's.")
@click.option("--entity", help="Template or column of what a fact is about.")
@_out
def from_lm_eval(task: Path, out: Path, force: bool, **options: Any) -> None:
    """Render a task of lm-evaluation-harness over its data.

    TASK is its YAML file. Choices become answer and distractors. Templates run in a sandbox;
    Python code is refused.
    """
    from auditor.api.facts import facts_from_task

    _write(facts_from_task(task, **options), out, force)


@command.command("check")
@click.argument("forget", type=_PATH)
@click.option("--retain", type=_PATH, help="Facts that must stay.")
@click.option("--holdout", type=_PATH, help="Facts like forget that no model saw.")
@column_options
@json_option
def check(
    forget: Path,
    retain: Path | None,
    holdout: Path | None,
    as_json: bool,
    **columns: Any,
) -> int:
    """Check facts before an audit; no model is needed.

    Exit codes: 0 nothing in the way, 2 a file cannot be read, 3 an audit of these facts would be
    void.
    """
    from auditor.api.facts import check_facts

    given = (file and source_of(path=str(file), **columns) for file in (forget, retain, holdout))
    report = check_facts(*given)  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        _print(report)
    return VOID if report.void else 0


def _write(built: "Built", out: Path, force: bool) -> None:
    """Write facts; say what was left out and what is next."""
    from auditor.api.facts import write_facts

    write_facts(built, out, force=force)
    OUT.print(
        f"{out}: {_counted(len(built.facts), built.entities)}",
        markup=False,
        highlight=False,
    )
    for reason, count in built.left_out.items():
        OUT.print(f"  left out: {count:,} {reason}", markup=False, highlight=False)
    for line in built.advice:
        OUT.print(Text.assemble(("note", "yellow"), ": ", line))
    named = f"\n    path: {out}\n    redact: true" if built.personal else f" {out}"
    OUT.print(
        f"\nIn a plan:\n\ndata:\n  forget:{named}\n{built.plan}",
        markup=False,
        highlight=False,
    )
    if built.personal:
        OUT.print(
            "They may be personal or hazardous: by `redact: true` no message quotes them, and "
            "certificates have keyed digests in the place of texts, as with `auditor audit "
            "--redact`.",
            markup=False,
            highlight=False,
        )
    next_step(f"auditor facts check {out}")


def _counted(facts: int, entities: int) -> str:
    """Facts and entities in numbers."""
    return (
        f"{facts:,} fact{'s' * (facts != 1)} about {entities:,} "
        f"{'entity' if entities == 1 else 'entities'}"
    )


def _print(report: "FactsReport") -> None:
    for name, count in report.facts.items():
        OUT.print(f"{name}: {_counted(count, report.entities[name])}", highlight=False)
    OUT.print(
        f"usable: {report.usable:,}; no audit passes with fewer than {report.needed:,}, and "
        "`auditor plan` says how many your models need",
        highlight=False,
    )
    OUT.print(f"relearning: by {report.relearning or 'no split'}", highlight=False)
    if report.guess is not None:
        OUT.print(
            f"guessed blindly: {len(report.guess.guessed)} of {report.guess.facts} (at most "
            f"{report.guess.upper:.0%})",
            highlight=False,
        )
    for found, word, style in (
        *((found, "void", "red") for found in report.void),
        *((found, "warning", "yellow") for found in report.warnings),
    ):
        OUT.print(Text.assemble((word, style), ": ", worded(found)))
    next_step("mend the facts" if report.void else "auditor plan PLAN, with these facts in it")
