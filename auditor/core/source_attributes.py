"""Class attributes read from source text, without importing the module that defines them."""

import ast
import importlib.util
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

_WITHOUT_ATTRIBUTES = ("abc", "pydantic", "typing", "typing_extensions")
"""Modules whose classes (``ABC``, ``BaseModel``, ``Generic``) bring no attribute of interest."""


T = TypeVar("T")


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


def class_fields(
    reference: str, attribute: str, root: str, types: Mapping[tuple[str, str], T]
) -> dict[str, T | None]:
    """Read the fields of the class that a class attribute names, and which are of certain types.

    Args:
        reference: The class with the attribute, as ``package.module:Class``.
        attribute: The attribute; its value must be the name of a class.
        root: The base at which the search for the attribute ends, as ``package.module:Class``.
        types: Module and name of the types to look for, to what they are called in the result.

    Returns:
        Name to type of each annotated field of the class and of its bases, those of pydantic
        excepted; None is the type of a field in which none of ``types`` occurs.

    Raises:
        NotLiteralError: The value is computed, or a base or a module has no source to read.
    """
    module, _, name = reference.partition(":")
    owner = _named_by(_class(module, name), attribute, root)
    found: dict[str, T | None] = {}
    if owner is not None:
        _read_fields(owner, types, found)
    return found


def _named_by(cls: _Class, attribute: str, root: str) -> _Class | None:
    """The class that an attribute of a class, or of its bases below ``root``, names."""
    for statement in cls.node.body:
        name, value = _assignment(statement)
        if name == attribute and value is not None:
            return _named(value, cls.module)
    for parent in _bases(cls):
        if f"{parent.module}:{parent.node.name}" != root:
            found = _named_by(parent, attribute, root)
            if found is not None:
                return found
    return None


def _read_fields(
    cls: _Class, types: Mapping[tuple[str, str], T], found: dict[str, T | None]
) -> None:
    for parent in _bases(cls):
        _read_fields(parent, types, found)
    for statement in cls.node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if "ClassVar" not in ast.unparse(annotation):
                    found[name] = _type(annotation, cls.module, types)


def _bases(cls: _Class) -> Iterator[_Class]:
    """The bases of a class whose source is worth reading."""
    for base in cls.node.bases:
        parent = _named(base.value if isinstance(base, ast.Subscript) else base, cls.module)
        if parent is not None:
            yield parent


def _type(node: ast.expr, module: str, types: Mapping[tuple[str, str], T]) -> T | None:
    """Which of certain types occurs in an annotation, followed through imports and aliases."""
    for part in ast.walk(node):
        if not isinstance(part, ast.Name):
            continue
        source = _imported(module).get(part.id)
        if source is not None and source in types:
            return types[source]
        if source is None and (module, part.id) in types:
            return types[module, part.id]
        alias = None if source is not None else _alias(module, part.id)
        if alias is not None and (found := _type(alias, module, types)):
            return found
    return None


def _alias(module: str, name: str) -> ast.expr | None:
    """What a module assigns to a name."""
    for statement in _tree(module).body:
        assigned, value = _assignment(statement)
        if assigned == name and value is not None:
            return value
    return None


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
    """The class that a base names; None for one that has no attribute of interest."""
    if not isinstance(node, ast.Name):
        raise NotLiteralError(f"{ast.unparse(node)} in {module} is computed")
    source = _imported(module).get(node.id)
    if source is not None and source[0] in _WITHOUT_ATTRIBUTES:
        return None
    return _class(module, node.id)


def _class(module: str, name: str) -> _Class:
    """The class of that name as seen from a module."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return _Class(module, statement)
    source = _imported(module).get(name)
    if source is None:
        raise NotLiteralError(f"{module} has no class {name} to read")
    return _class(*source)


@cache
def _imported(module: str) -> dict[str, tuple[str, str]]:
    """Names that a module imports from others, with the module and the name there."""
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
    """Source file of a module; no package on the way to it is imported."""
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
