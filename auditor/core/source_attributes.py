"""Class attributes, read from source text without an import."""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_WITHOUT_ATTRIBUTES = ("abc", "typing", "typing_extensions")
"""Modules whose classes (``ABC``, ``Generic``, ``Protocol``) bring no attribute of interest."""

_CHEAP = ("auditor.attack", "auditor.core.paths", "pydantic", "typing_extensions")
"""Modules besides the standard library that may be imported to build a class."""


class NotLiteralError(Exception):
    """An attribute is computed, so only an import can tell its value."""


class _Class(NamedTuple):
    """A class statement and the module that it stands in."""

    module: str
    node: ast.ClassDef


def class_attributes(
    reference: str,
    names: Collection[str],
    root: str,
    constructors: Mapping[str, Callable[..., Any]],
) -> dict[str, Any]:
    """Read attributes of a class and of its bases up to ``root``.

    A value may be a literal, a constant that a module assigns a literal to, or a call of a
    constructor with such arguments. Bases are searched depth first, from left to right.

    Args:
        reference: The class, as ``package.module:Class``.
        names: Attributes to read.
        root: The base at which the search ends, as ``package.module:Class``.
        constructors: Callables that a value may call, by the name that the source uses.

    Returns:
        Name to value of the attributes that the class or a base below ``root`` assigns.

    Raises:
        NotLiteralError: A value is computed, or a base or a module has no source to read.
    """
    module, _, name = reference.partition(":")
    found: dict[str, Any] = {}
    _read(_class(module, name), set(names), root, constructors, found)
    return found


def _read(
    cls: _Class,
    names: Collection[str],
    root: str,
    constructors: Mapping[str, Callable[..., Any]],
    found: dict[str, Any],
) -> None:
    for statement in cls.node.body:
        name, value = _assignment(statement)
        if name is not None and name in names and name not in found and value is not None:
            found[name] = _value(value, cls.module, constructors)
    for base in cls.node.bases:
        node = base.value if isinstance(base, ast.Subscript) else base
        parent = _named(node, cls.module)
        if parent is not None and f"{parent.module}:{parent.node.name}" != root:
            _read(parent, names, root, constructors, found)


def named_class(reference: str, attribute: str, root: str) -> type | None:
    """Build the class that a class attribute names, without imports.

    The modules on the way are not imported.

    Class statements, and what they use of their modules, are run by themselves. The result is no
    class that an import would give, but says the same.

    Args:
        reference: The class with the attribute, as ``package.module:Class``.
        attribute: The attribute; its value must be the name of a class.
        root: The base at which the search for the attribute ends, as ``package.module:Class``.

    Returns:
        The class; None where the attribute is found nowhere below ``root``.

    Raises:
        NotLiteralError: The value is computed, or the class uses something that only an import
            of more than the standard library and pydantic would bring.
    """
    module, _, name = reference.partition(":")
    owner = _named_by(_class(module, name), attribute, root)
    if owner is None:
        return None
    found = _built(owner.module, owner.node.name)
    if not isinstance(found, type):
        raise NotLiteralError(f"{owner.module}.{owner.node.name} is no class")
    return found


def _named_by(cls: _Class, attribute: str, root: str) -> _Class | None:
    """Return the class that an attribute of a class names.

    The attribute may stand in a base below ``root``.
    """
    for statement in cls.node.body:
        name, value = _assignment(statement)
        if name == attribute and value is not None:
            return _named(value, cls.module)
    for base in cls.node.bases:
        parent = _named(base.value if isinstance(base, ast.Subscript) else base, cls.module)
        if parent is not None and f"{parent.module}:{parent.node.name}" != root:
            found = _named_by(parent, attribute, root)
            if found is not None:
                return found
    return None


@cache
def _built(module: str, name: str) -> Any:
    """Return what a module calls by a name.

    It is imported where that is cheap, and otherwise run from source.
    """
    if module in _CHEAP or module.partition(".")[0] in sys.stdlib_module_names:
        return getattr(importlib.import_module(module), name)
    statement = _defined(module).get(name)
    if statement is None:
        source = _imported(module).get(name)
        if source is None:
            raise NotLiteralError(f"{module} does not define {name}")
        return _built(*source)
    used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)} - {name}
    known = used & (_defined(module).keys() | _imported(module).keys())
    namespace = {"__name__": module, **{other: _built(module, other) for other in known}}
    code = compile(ast.Module([statement], []), str(_file(module)), "exec")
    try:
        exec(code, namespace)  # noqa: S102 - an import would run the same
    except Exception as error:  # a class body can fail in any way
        raise NotLiteralError(f"{name} in {module} cannot be built ({error})") from error
    return namespace[name]


@cache
def _defined(module: str) -> dict[str, ast.stmt]:
    """Classes, functions and constants that a module defines, and its plain imports."""
    found: dict[str, ast.stmt] = {}
    for statement in _tree(module).body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found[name] = statement
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
            case ast.Import(names=[ast.alias(name=name, asname=None)]):
                if name not in sys.stdlib_module_names:
                    continue
                found[name] = statement
    return found


def _assignment(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.value
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, statement.value
    if isinstance(statement, ast.FunctionDef):
        return statement.name, ast.Call(ast.Name(statement.name), [], [])  # computed, if wanted
    return None, None


def _value(
    node: ast.expr, module: str, constructors: Mapping[str, Callable[..., Any]]
) -> Any:  # any literal
    """Evaluate an expression of literals, constants and constructors."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=parts):
            return tuple(_value(part, module, constructors) for part in parts)
        case ast.List(elts=parts):
            return [_value(part, module, constructors) for part in parts]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {
                _value(key, module, constructors): _value(value, module, constructors)
                for key, value in pairs
                if key is not None
            }
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Name(id=name):
            return _constant(module, name, constructors)
        case ast.Call(func=ast.Name(id=name)) if name in constructors:
            arguments = [_value(argument, module, constructors) for argument in node.args]
            keywords = {
                keyword.arg: _value(keyword.value, module, constructors)
                for keyword in node.keywords
                if keyword.arg is not None
            }
            try:
                return constructors[name](*arguments, **keywords)
            except (TypeError, ValueError) as error:
                raise NotLiteralError(f"{ast.unparse(node)}: {error}") from error
    raise NotLiteralError(f"{ast.unparse(node)} in {module} is computed")


def _constant(module: str, name: str, constructors: Mapping[str, Callable[..., Any]]) -> Any:
    """The value of a module's constant, followed through imports."""
    for statement in _tree(module).body:
        assigned, value = _assignment(statement)
        if assigned == name and value is not None:
            return _value(value, module, constructors)
    source = _imported(module).get(name)
    if source is None:
        raise NotLiteralError(f"{module} does not define {name}")
    return _constant(*source, constructors)


def _named(node: ast.expr, module: str) -> _Class | None:
    """Return the class that a base names.

    None stands for a class that has no attribute of interest.
    """
    if not isinstance(node, ast.Name):
        raise NotLiteralError(f"{ast.unparse(node)} in {module} is computed")
    source = _imported(module).get(node.id)
    if source is not None and source[0] in _WITHOUT_ATTRIBUTES:
        return None
    return _class(module, node.id)


def _class(module: str, name: str) -> _Class:
    """Return the class of a name as seen from a module."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return _Class(module, statement)
    source = _imported(module).get(name)
    if source is None:
        raise NotLiteralError(f"{module} has no class {name} to read")
    return _class(*source)


@cache
def _imported(module: str) -> dict[str, tuple[str, str]]:
    """Return the names that a module imports from others.

    Each stands by its name here, with the module and the name there.
    """
    package = module if _file(module).name == "__init__.py" else module.rpartition(".")[0]
    found: dict[str, tuple[str, str]] = {}
    for statement in _tree(module).body:
        if isinstance(statement, ast.ImportFrom):
            dots = "." * statement.level + (statement.module or "")
            origin = importlib.util.resolve_name(dots, package) if statement.level else dots
            found |= {name.asname or name.name: (origin, name.name) for name in statement.names}
    return found


@cache
def _tree(module: str) -> ast.Module:
    try:
        return ast.parse(_file(module).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise NotLiteralError(f"the source of {module} cannot be read ({error})") from error


@cache
def _file(module: str) -> Path:
    """Return the source file of a module.

    No package on the way to it is imported.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise NotLiteralError(f"there is no module {top}") from error
    if spec is None or spec.origin is None:
        raise NotLiteralError(f"{top} has no source to read")
    if not rest:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    raise NotLiteralError(f"{module} has no source to read")
