"""Options that name keys and evidence."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from auditor.cli.completion import folders
from auditor.cli.options import FILE, place
from auditor.core.errors import AuditorError

if TYPE_CHECKING:
    from auditor.signing.keyless import Identity

Command = TypeVar("Command", bound=Callable[..., Any])

evidence_option = click.option(
    "--evidence",
    type=place,
    shell_complete=folders,
    help="Evidence store of the audit.  [default: the folder evidence beside the certificate or "
    "one folder up]",
)

unsigned_option = click.option(
    "--unsigned",
    is_flag=True,
    help="Go on with a certificate that nobody signed; anybody may have written it.",
)


def key_options(command: Command) -> Command:
    """Trusted keys and how many must have signed, or an identity."""
    for decorate in (
        click.option(
            "--trust-config",
            type=FILE,
            metavar="FILE",
            help="Root of trust of another Sigstore service than the public one.",
        ),
        click.option("--issuer", metavar="URL", help="Who must vouch for the identity."),
        click.option(
            "--identity",
            metavar="NAME",
            help="Who must have signed a Sigstore bundle; needs the extra sigstore.",
        ),
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
            type=FILE,
            multiple=True,
            help="Public key (PEM) that you trust; give it again for each further signer.",
        ),
    ):
        command = decorate(command)
    return command


def identity_of(name: str | None, issuer: str | None, trust: Path | None) -> "Identity | None":
    """Return the identity that is trusted, None where none is named.

    Raises:
        AuditorError: Only a part of it is given.
    """
    from auditor.signing.keyless import Identity

    if name is None and issuer is None and trust is None:
        return None
    if name is None or issuer is None:
        raise AuditorError(
            "--identity and --issuer belong together: who signed, and who says that it was they."
        )
    return Identity(name, issuer, trust)


def check_trust(keys: Sequence[Path], unsigned: bool, identity: "Identity | None" = None) -> None:
    """Refuse a check that names no signer unless told so.

    Raises:
        AuditorError: Neither is given, or both are.
    """
    if bool(keys or identity) == unsigned:
        raise AuditorError(
            "give the public key that you trust (--key), or --identity and --issuer of a Sigstore "
            "bundle, or --unsigned to check a certificate that nobody signed. A key that comes "
            "with a certificate proves nothing."
        )
