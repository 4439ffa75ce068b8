"""The version of the code that makes a measurement: a digest of its sources."""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import auditor
from auditor.attack import ATTACKS
from auditor.core.hashing import digest, digest_file, digest_sources

_MEASURING_CODE = (
    "models",
    "data",
    "metrics",
    "attack.py",
    "core/facts.py",
    "core/findings.py",
    "core/picture.py",
    "core/records.py",
    "engine/instruments.py",
)


def code_version(attack: str) -> str:
    """Digest of the sources that measure: this package's, the attack's own, and what it imports."""
    root = Path(auditor.__file__).parent
    own = [digest_sources(root / part for part in _MEASURING_CODE), digest_sources([_home(attack)])]
    return digest([*own, {name: digest_file(file) for name, file in borrowed(attack).items()}])


def _home(attack: str) -> Path:
    """The folder of the attack's package, or its file where it stands alone."""
    cls = ATTACKS.get(attack)
    file = Path(inspect.getfile(cls))
    return file.parent if sys.modules[cls.__module__].__package__ else file


def borrowed(attack: str) -> dict[str, Path]:
    """Modules of the attack's distribution outside its own folder, by name.

    They are those that its files import, and that these import in turn.
    """
    home = _home(attack)
    package = ATTACKS.get(attack).__module__.partition(".")[0]
    waiting = sorted(home.rglob("*.py")) if home.is_dir() else [home]
    found: dict[str, Path] = {}
    while waiting:
        for name in _imported(waiting.pop(), package):
            file = _file(name)
            if file is not None and name not in found and home not in file.parents and file != home:
                found[name] = file
                waiting.append(file)
    return found


@cache
def _imported(file: Path, package: str) -> tuple[str, ...]:
    """Names of a package's modules that a source file imports, wherever in it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {name for name in _names(tree) if name.partition(".")[0] == package}
    return tuple(sorted(names))


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _file(module: str) -> Path | None:
    """Where a module's source is; None for a name that is no module but something in one."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is a module and no package
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
