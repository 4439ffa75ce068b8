"""Options that several commands share."""

from pathlib import Path

import click

from auditor.core.errors import AuditorError

_FOLDER = click.Path(file_okay=False, path_type=Path)


out_option = click.option(
    "--out",
    type=_FOLDER,
    default=Path("audit-result"),
    show_default=True,
    help="Folder of the audit: certificate, plan and, unless --store is given, evidence.",
)
store_option = click.option(
    "--store",
    type=_FOLDER,
    help="Evidence store; share it to measure nothing twice.  [default: OUT/evidence]",
)
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
