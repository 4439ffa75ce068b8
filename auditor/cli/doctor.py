"""`auditor doctor`: what this machine can run."""

import json
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from auditor.cli.console import OUT
from auditor.cli.options import json_option
from auditor.core.errors import AuditorError

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "optimum",
    "gptqmodel",
    "bitsandbytes",
    "torchao",
    "diffusers",
    "torchmetrics",
    "datasets",
)
_DISK_WANTED = 2e9


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Check the machine, the packages and the plugins.

    Exit code 2 says that an audit could not run.
    """
    checks = [*_machine(), *_packages(), *_plugins()]
    if as_json:
        click.echo(json.dumps(checks))
    else:
        table = Table("", "check", "found", box=None)
        for check in checks:
            mark = {True: "[green]ok[/]", False: "[red]no[/]"}[check["ok"]]
            table.add_row(mark, check["name"], check["found"])
        OUT.print(table)
    return 0 if all(check["ok"] or not check["needed"] for check in checks) else 2


def _check(name: str, ok: bool, found: str, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "needed": needed}


def _machine() -> list[dict[str, Any]]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free = shutil.disk_usage(Path.cwd()).free
    return [
        _check("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        _check("cores", True, f"{os.cpu_count()}, torch uses {torch.get_num_threads()}"),
        _check("GPU", bool(gpus), ", ".join(gpus) or "none; everything runs on the CPU", False),
        _check("free disk here", free > _DISK_WANTED, f"{free / 1e9:.1f} GB"),
        _check(
            "C++ compiler",
            shutil.which("c++") is not None,
            shutil.which("c++") or "none; GPTQ packs weights more slowly without one",
            False,
        ),
    ]


def _packages() -> list[dict[str, Any]]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(_check(name, True, version(name)))
        except PackageNotFoundError:
            found.append(_check(name, False, "not installed"))
    return found


def _plugins() -> list[dict[str, Any]]:
    from auditor.attack import ATTACKS
    from auditor.report import REPORTS

    found = []
    for registry in (ATTACKS, REPORTS):
        try:
            names = registry.names()
            found.append(_check(f"{registry.kind}s", bool(names), ", ".join(names)))
        except AuditorError as error:
            found.append(_check(f"{registry.kind}s", False, str(error)))
    return found
