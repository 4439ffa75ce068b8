"""`auditor doctor`: what this machine can run."""

import json
import os
import shutil
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

import auditor
from auditor.cli.console import OUT, foreign, next_step
from auditor.cli.options import json_option
from auditor.core import extras
from auditor.core.cache import cache_folder
from auditor.core.errors import AuditorError
from auditor.core.packages import installed_version

_SHARED_NAMES = ("attacks", "reports")
"""Top-level packages of this distribution whose names others may use, too."""
_DISK_WANTED = 2e9
_READY = "auditor demo, or auditor init plan.yaml"
_LACKING = "mend what is marked with a red `no`, and run this again"
_SHOWN = 2000
"""Most characters of a check's finding that are shown."""


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Check the machine, the packages and the plugins.

    Exit code 2 says that an audit could not run.
    """
    checks = [*_machine(), *_extras(), *_engines(), *_name_clashes(), *_plugins()]
    able = all(check["ok"] or not check["needed"] for check in checks)
    if as_json:
        click.echo(json.dumps(checks))
    else:
        table = Table("", "check", "found", box=None)
        for check in checks:
            failed = ("no", "red") if check["needed"] else ("no", "yellow")
            mark = Text(*(("ok", "green") if check["ok"] else failed))
            table.add_row(mark, check["name"], foreign(check["found"], _SHOWN))
        OUT.print(table)
        next_step(_READY if able else _LACKING)
    return 0 if able else 2


def _check(name: str, ok: bool, found: str, needed: bool = True) -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "needed": needed}


def _machine() -> list[dict[str, Any]]:
    free = shutil.disk_usage(Path.cwd()).free
    compiler = shutil.which("c++")
    cache = cache_folder()
    return [
        _check("unlearning-auditor", True, auditor.__version__),
        _check("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        *_processors(),
        _check("free disk here", free > _DISK_WANTED, f"{free / 1e9:.1f} GB"),
        _check("cache", True, f"{cache}{'' if cache.is_dir() else ' (empty)'}"),
        _check(
            "C++ compiler",
            compiler is not None,
            compiler or "none; GPTQ packs weights more slowly without one",
            needed=False,
        ),
    ]


def _processors() -> list[dict[str, Any]]:
    try:
        import torch
    except ModuleNotFoundError:
        return [_check("cores", True, str(os.cpu_count()))]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = ", ".join(gpus) or "none; everything runs on the CPU"
    return [
        _check("cores", True, f"{os.cpu_count()}, torch uses {torch.get_num_threads()}"),
        _check("GPU", bool(gpus), found, needed=False),
    ]


def _extras() -> list[dict[str, Any]]:
    checks = []
    for extra in extras.EXTRAS:
        others = [other for other in extras.included(extra) if extras.absent(other)]
        lacking = [*(f"the extra {other}" for other in others), *extras.absent(extra)]
        found = ", ".join(
            f"{name} {installed_version(name)}" for name in extras.distributions(extra)
        )
        if lacking:
            listed = ", ".join(lacking)
            found = f"not installed: {listed} (pip install '{extras.DISTRIBUTION}[{extra}]')"
        checks.append(_check(f"extra {extra}", not lacking, found, needed=extra == "audit"))
    return checks


def _engines() -> list[dict[str, Any]]:
    """Try the environment of the engine that writes texts."""
    from auditor.models.text_engine import INTERPRETER_VARIABLE, TextEngine, engine_versions

    if not os.environ.get(INTERPRETER_VARIABLE):
        found = f"none; {INTERPRETER_VARIABLE} names the interpreter of an environment with vLLM"
        return [_check("generation engine", True, found, needed=False)]
    try:
        versions = engine_versions(TextEngine(), imported=True)
    except AuditorError as error:
        return [_check("generation engine", False, str(error), needed=False)]
    named = [versions["vllm"], *(f"{n} {v}" for n, v in versions.items() if n != "vllm")]
    return [_check("generation engine", True, ", ".join(named), needed=False)]


def _name_clashes() -> list[dict[str, Any]]:
    """Find other distributions with our top-level packages.

    They have a package of the same name as one of ours.
    """
    providers = packages_distributions()
    checks = []
    for package in _SHARED_NAMES:
        others = sorted(set(providers.get(package, ())) - {extras.DISTRIBUTION})
        spec = find_spec(package)
        origin = Path(spec.origin).parent if spec and spec.origin else None
        ours = Path(auditor.__file__).parent.with_name(package)
        imported = origin is not None and origin.samefile(ours)
        found = f"imported from {origin}" if origin else "cannot be imported"
        if others:
            found += f"; also installed by {', '.join(others)}: uninstall it"
        checks.append(_check(f"package {package}", imported and not others, found))
    return checks


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
