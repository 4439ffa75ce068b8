"""Options that name keys and evidence."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from auditor.cli.options import place
from auditor.core.errors import AuditorError

Command = TypeVar("Command", bound=Callable[..., Any])

evidence_option = click.option(
    "--evidence",
    type=place,
    help="Evidence store of the audit.  [default: the folder evidence beside the certificate or "
    "one folder up]",
)

unsigned_option = click.option(
    "--unsigned",
    is_flag=True,
    help="Go on with a certificate that nobody signed; anybody may have written it.",
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


def check_trust(keys: Sequence[Path], unsigned: bool) -> None:
    """Refuse a check that names no key unless told so.

    Raises:
        AuditorError: Neither is given, or both are.
    """
    if bool(keys) == unsigned:
        raise AuditorError(
            "give the public key that you trust (--key), or --unsigned to check a certificate that "
            "nobody signed. A key that comes with a certificate proves nothing."
        )
