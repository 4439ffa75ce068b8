"""Options that name keys and evidence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

evidence_option = click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    help="Evidence store of the audit.  [default: the folder evidence beside the certificate]",
)


def key_options(command: Command) -> Command:
    """Trusted keys, and how many of them must have signed."""
    for decorate in (
        click.option(
            "--threshold",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="How many of the given keys must have signed.",
        ),
        click.option(
            "--key",
            "keys",
            type=Path,
            multiple=True,
            help="Public key (PEM) that you trust; give it again for each further signer.",
        ),
    ):
        command = decorate(command)
    return command
