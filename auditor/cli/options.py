"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from auditor.cli.completion import among, executors, folders
from auditor.core.errors import AuditorError

Command = TypeVar("Command", bound=Callable[..., Any])

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)(?:m|min))?(?:(\d+(?:\.\d+)?)s)?")
EVIDENCE = "evidence"
"""Name of the folder that evidence is in."""
_JOBS = "jobs"
"""Folder that every evidence store has."""
_FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(readable=False, path_type=Path)
"""Type of options that name a file: shells complete it, and whoever reads it says what is wrong."""


def place(value: str) -> str | Path:
    """Return a URL as it is, anything else as a folder.

    It is the type of options that name an evidence store; no path may be made of a URL.
    """
    return value if "://" in value else Path(_FOLDER.convert(value, None, None))


out_option = click.option(
    "--out",
    type=_FOLDER,
    default=Path("audit-result"),
    show_default=True,
    help="Folder of the audit: certificate, plan and, unless --store is given, evidence.",
)
store_option = click.option(
    "--store",
    type=place,
    shell_complete=folders,
    help="Evidence store, a folder or a URL (s3://bucket/folder); share it to measure nothing "
    "twice.  [default: the folder evidence in OUT, or beside OUT where `auditor plan` made it]",
)


def default_store(out: Path, *, planning: bool = False) -> Path:
    """Return the evidence store of an audit that names none.

    It is where `auditor gate` looks for evidence: in the audit's folder, or one folder up. A plan
    does not know in which folder its audit will be, and makes the latter.

    Args:
        out: Folder of the audit.
        planning: Whether the audit is only planned.
    """
    within, beside = out / EVIDENCE, out.absolute().parent / EVIDENCE
    if (within / _JOBS).is_dir():
        return within
    return beside if planning or (beside / _JOBS).is_dir() else within


def seconds_of(
    ctx: click.Context | None, param: click.Parameter | None, value: str | None
) -> float | None:
    """Return the seconds of a time such as ``2h``, ``1h30min`` or ``90s``."""
    if value is None:
        return None
    found = _DURATION.fullmatch(value.replace(" ", ""))
    if found is None or not any(found.groups()):
        raise click.BadParameter(f"{value!r} is no time; say it like 2h, 1h30min or 90s.")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def capacity_options(command: Command) -> Command:
    """Add the options on what a machine has room and time for."""
    for decorate in (
        click.option(
            "--even-if-it-does-not-fit",
            is_flag=True,
            help="Do not refuse a plan that the machine has too little memory for.",
        ),
        click.option(
            "--within",
            metavar="TIME",
            callback=seconds_of,
            help="Take the attacks that are to be had in this time (`2h`), by estimate, in order "
            "of worth. What is left out is in the certificate as not run, and blocks PASS where it "
            "is mandatory.",
        ),
    ):
        command = decorate(command)
    return command


def executor_options(command: Command) -> Command:
    """Add the options for running the jobs of an audit.

    They decide nothing of what the jobs find.
    """
    for decorate in (
        click.option(
            "--gpus",
            type=click.IntRange(min=0),
            help="GPUs of each worker of a cluster; several for models that `device_map: auto` "
            "spreads.  [default: 1 where there are any]",
        ),
        click.option(
            "--address",
            metavar="ADDRESS",
            help="Address of the cluster for an executor that joins one; `auto` finds the one that "
            "this machine belongs to.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Jobs at once, with an executor that can do several.  [default: as it suits the "
            "machine]",
        ),
        click.option(
            "--executor",
            metavar="NAME",
            shell_complete=among(executors),
            default="local",
            show_default=True,
            help="What runs the jobs: `local` (this process), `processes` (several of this "
            "machine), `ray` (a Ray cluster), or one that a plug-in brings.",
        ),
    ):
        command = decorate(command)
    return command


quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress.")
passphrase_option = click.option(
    "--passphrase-file", type=FILE, help="File with the passphrase of the secret key."
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
