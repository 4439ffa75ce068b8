"""Fingerprints of code: digests of the syntax trees that decide a measurement.

Comments, docstrings, type comments, formatting and whatever only a type checker sees are left out,
so that mending a sentence discards no evidence. The trees are written down by `_write` and not by
`ast.dump` or `ast.unparse`: Python 3.12 and 3.13 added fields to nodes, `ast.dump` of 3.13 leaves
empty fields out, `ast.unparse` quotes f-strings anew in every release, and `repr` of a text depends
on the release's Unicode tables. What is written here is the node's name, its fields that hold
something, by name, and its constants in ASCII, which is the same in every Python that can parse
the module.
"""

import ast
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, NamedTuple

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest, digest_file

_OWN = frozenset({"auditor", "attacks"})
"""Packages whose modules are followed wherever they are imported."""

_IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields that follow from a node's place, or that nothing executes."""

_BESIDE = frozenset(
    {"summary", "details", "threat_model", "access", "cost", "leak", "source", "presets"}
)
"""Attributes of an attack that describe it, or say when it is run; a job has its parameters."""


def fingerprint(roots: Iterable[str], folders: Sequence[str] | None = None) -> str:
    """Digest the code that modules consist of and import.

    Third-party packages among the roots count with the versions of their distributions, too, for
    what they compile or load as data is in no syntax tree.

    Args:
        roots: Names of the modules, for example an attack's and its metrics'.
        folders: Folders that hold the packages; by default, Python's own search path.

    Returns:
        Sha256 (hex), the same on every version of Python.

    Raises:
        AuditorError: A root has no source that can be read, or a module is not valid Python.
    """
    names = sorted(set(roots))
    modules = import_closure(names, folders)
    packages = {name.partition(".")[0] for name in names} - _OWN
    return digest(
        {
            "modules": {name: _read(file, name).digest for name, file in modules.items()},
            "distributions": {n: v for package in sorted(packages) for n, v in _versions(package)},
        }
    )


def module_fingerprint(name: str) -> str:
    """Digest the code of one module, without what it imports.

    Raises:
        AuditorError: It has no source that can be read.
    """
    return _read(import_closure([name])[name], name).digest


def import_closure(roots: Iterable[str], folders: Sequence[str] | None = None) -> dict[str, Path]:
    """Modules that roots import, directly or not, with the roots themselves.

    Imports are followed within this package, the attacks', and the roots' own top-level packages.
    Imports inside functions count; those under ``if TYPE_CHECKING`` do not. Third-party packages
    (their ``__init__``) count with their modules, for Python runs them first. Those of this project
    run nothing, so they count only where something is imported from them.

    Args:
        roots: Names of modules.
        folders: Folders that hold the packages; by default, Python's own search path.

    Returns:
        Names of modules to their files, sorted.

    Raises:
        AuditorError: A root has no source that can be read, or a module is not valid Python.
    """
    place = None if folders is None else tuple(folders)
    waiting = list(roots)
    followed = _OWN | {name.partition(".")[0] for name in waiting}
    for root in waiting:
        if (held := _find(root, place)) is None or held.file is None:
            raise AuditorError(
                f"the source of the module {root} cannot be found, so that evidence could not be "
                "named by the code that made it; put the code into a file that can be imported."
            )
    found: dict[str, Path] = {}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] not in followed:
            continue
        seen.add(name)
        if name.partition(".")[0] not in _OWN:
            waiting.append(name.rpartition(".")[0])
        held = _find(name, place)
        if held is not None and held.file is not None:
            found[name] = held.file
            waiting += _read(held.file, name).imports
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class _Module:
    """Digest and imports of a module's source."""

    digest: str
    imports: tuple[str, ...]


@cache
def _read(file: Path, name: str) -> _Module:
    """Read a module once a process, as Python does."""
    if file.suffix != ".py":  # compiled: its bytes are all there is
        return _Module(digest_file(file), ())
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise AuditorError(f"{file} is not valid Python: {error}.") from error
    _Stripping().visit(tree)
    written: list[str] = []
    _write(tree, written)
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    return _Module(
        sha256("".join(written).encode()).hexdigest(), tuple(sorted(set(_imports(tree, package))))
    )


class _Stripping(ast.NodeTransformer):
    """Removes what does not run, and what versions of Python parse differently."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove a docstring, or a text that stands alone.

        Nothing happens there.
        """
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        """Replace a block for type checkers by its other branch.

        The other branch is what runs.
        """
        node = self._visited(node)
        if not _checks_types(node.test):
            return node
        return node.orelse

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Remove what an attack says of itself, which decides nothing."""
        if any(map(_registers_attack, node.decorator_list)):
            node.body = [statement for statement in node.body if not _describes(statement)]
        return self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Join the constant parts of an f-string.

        Parsers cut them in different places.
        """
        node = self._visited(node)
        parts: list[ast.expr] = []
        for part in node.values:
            last = parts[-1] if parts else None
            if isinstance(part, ast.Constant) and isinstance(last, ast.Constant):
                parts[-1] = ast.Constant("".join(str(p.value) for p in (last, part)))
            else:
                parts.append(part)
        node.values = [p for p in parts if not (isinstance(p, ast.Constant) and p.value == "")]
        return node

    def _visited(self, node: Any) -> Any:
        return self.generic_visit(node)


def _checks_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _registers_attack(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "attack"
    )


def _describes(statement: ast.stmt) -> bool:
    """Whether a statement gives an attack what describes it."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return False
    return all(isinstance(target, ast.Name) and target.id in _BESIDE for target in targets)


def _write(value: Any, into: list[str]) -> None:
    """Write a tree down, so that different trees give different texts."""
    if isinstance(value, ast.Constant):
        held = value.value
        text = hex(held) if type(held) is int else ascii(held)
        into.append(f"{type(held).__name__}:{text};")
    elif isinstance(value, ast.AST):
        into.append(f"{type(value).__name__}(")
        for field in sorted(set(value._fields) - _IGNORED_FIELDS):
            held = getattr(value, field, None)
            if held is not None and held != []:
                into.append(f"{field}=")
                _write(held, into)
        into.append(")")
    elif isinstance(value, list):
        into.append("[")
        for entry in value:
            _write(entry, into)
        into.append("]")
    else:
        into.append(f"{value!a};")


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield names that a module imports, wherever in it.

    Some may be no modules but what is in one.

    Args:
        tree: The module.
        package: The package that relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


class _Place(NamedTuple):
    """Place of a module."""

    file: Path | None
    """File of the module; None of a namespace, which has no code."""
    folders: tuple[str, ...] = ()
    """Folders of the modules in a package."""


@cache
def _find(name: str, folders: tuple[str, ...] | None) -> _Place | None:
    """Find a module without importing its packages, as `importlib.util.find_spec` would.

    Returns:
        None for a name that is no module.
    """
    parent = name.rpartition(".")[0]
    if not parent and folders is None:
        return _installed(name)
    if parent:
        package = _find(parent, folders)
        folders = package.folders if package is not None else ()
    portions: list[str] = []
    for folder in folders or ():
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return _place(spec)
        if spec is not None:
            portions += spec.submodule_search_locations or ()
    return _Place(None, tuple(portions)) if portions else None


def _installed(name: str) -> _Place | None:
    """Find a top-level module as Python would import it."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a script, or a module that was made by hand
        file = getattr(sys.modules[name], "__file__", None)
        return _Place(Path(file)) if file else None
    return None if spec is None else _place(spec)


def _place(spec: ModuleSpec) -> _Place:
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return _Place(file, tuple(spec.submodule_search_locations or ()))


@cache
def _distributions() -> dict[str, list[str]]:
    """Map top-level packages to the distributions that bring them.

    It reads all that is installed.
    """
    return dict(packages_distributions())


def _versions(package: str) -> list[tuple[str, str]]:
    """List the distributions of a package with their versions."""
    return [(name, version(name)) for name in sorted(set(_distributions().get(package, ())))]
