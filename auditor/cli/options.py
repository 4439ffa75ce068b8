"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from auditor.core.errors import AuditorError

Command = TypeVar("Command", bound=Callable[..., Any])

_FOLDER = click.Path(file_okay=False, path_type=Path)


class _PlaceType(click.ParamType):
    """Folder, or a URL of object storage, which no path may be made of."""

    name = "place"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        """Return a URL as it is, and anything else as a folder."""
        if isinstance(value, str) and "://" in value:
            return value
        return Path(_FOLDER.convert(value, param, ctx))


PLACE = _PlaceType()
"""Type of options that name an evidence store."""


out_option = click.option(
    "--out",
    type=_FOLDER,
    default=Path("audit-result"),
    show_default=True,
    help="Folder of the audit: certificate, plan and, unless --store is given, evidence.",
)
store_option = click.option(
    "--store",
    type=PLACE,
    help="Evidence store, a folder or a URL (s3://bucket/folder); share it to measure nothing "
    "twice.  [default: OUT/evidence]",
)


def executor_options(command: Command) -> Command:
    """Add the options for running the jobs of an audit.

    They decide nothing of what the jobs find.
    """
    for decorate in (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Jobs at once, with an executor that can do several.  [default: as it suits the "
            "machine]",
        ),
        click.option(
            "--executor",
            metavar="NAME",
            default="local",
            show_default=True,
            help="What runs the jobs: `local` (this process), `processes` (several of this "
            "machine), or one that a plug-in brings.",
        ),
    ):
        command = decorate(command)
    return command


quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress.")
passphrase_option = click.option(
    "--passphrase-file", type=Path, help="File with the passphrase of the secret key."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")


def passphrase_of(file: Path | None) -> bytes | None:
    """The passphrase in a file, without the end of its line.

    Raises:
        AuditorError: the file holds none.
    """
    if file is None:
        return None
    passphrase = file.read_bytes().rstrip(b"\r\n")
    if not passphrase:
        raise AuditorError(f"the passphrase file {file} is empty.")
    return passphrase
