"""Options that say what the columns of facts mean."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from auditor.core.errors import AuditorError
from auditor.core.validation import problems
from auditor.data.layouts import LAYOUTS
from auditor.data.source import DataSource

Command = TypeVar("Command", bound=Callable[..., Any])


def column_options(command: Command) -> Command:
    """Add the options that `source_of` takes."""
    for decorate in (
        click.option(
            "--rows-per-entity",
            type=click.IntRange(min=2),
            help="Rows of one entity, where no column names it (TOFU: 20).",
        ),
        click.option(
            "--field",
            "--fields",
            "fields",
            multiple=True,
            metavar="FIELD=COLUMN",
            help="Column of a field (prompt, answer, entity, …); may be repeated.",
        ),
        click.option(
            "--layout",
            type=click.Choice(list(LAYOUTS)),
            default="auditor",
            show_default=True,
            help="Layout of a published data set.",
        ),
    ):
        command = decorate(command)
    return command


def source_of(*, fields: tuple[str, ...], **settings: Any) -> DataSource:
    """Describe a source of facts by options.

    Args:
        fields: Pairs of a field and its column.
        settings: Its other settings.

    Raises:
        AuditorError: They do not describe one.
    """
    try:
        return DataSource(fields=_mapped(fields), **settings)
    except ValidationError as error:
        raise AuditorError("; ".join(problems(error, model=DataSource)) + ".") from error


def _mapped(fields: tuple[str, ...]) -> dict[str, str]:
    """Columns by field, from options.

    Raises:
        AuditorError: One is no pair.
    """
    if bad := [text for text in fields if not all(text.partition("=")[::2])]:
        raise AuditorError(f"--field {bad[0]}: write FIELD=COLUMN, for example prompt=question.")
    return {text.partition("=")[0]: text.partition("=")[2] for text in fields}
