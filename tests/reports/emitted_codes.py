"""Codes of messages that the code base emits, read from its source without running it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKERS = {
    "message": 0,
    "Message": 0,
    "SelfCheck": 0,
    "SideFigure": 0,
    "Curve": 0,
    "Explanation": 0,
}
"""What makes something with a code, to the position of the code."""
_CODES = {"code", "name", "measure"}
"""Keywords by which a code is given."""
_NO_PARAMETERS = {"quoted", *_CODES}
_DEFINITIONS = ("auditor/core/messages.py", "auditor/core/findings.py")


@dataclass(frozen=True)
class Emitted:
    """A code that some place in the source emits.

    Attributes:
        maker: what is made with it.
        code: the code.
        params: names of the parameters that are given.
        axes: codes of the axes, of a curve.
        place: file and line.
    """

    maker: str
    code: str
    params: frozenset[str]
    axes: tuple[str, ...]
    place: str


@dataclass
class _Module:
    path: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def __post_init__(self):
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """Everything that a node stands in, from the inside out."""
        while (found := self.parents.get(node)) is not None:
            yield found
            node = found


def emitted() -> list[Emitted]:
    """Every code that a module of ``auditor`` or ``attacks`` emits.

    Raises:
        AssertionError: A code is not written where it can be read.
    """
    modules = [
        _Module(str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8")))
        for folder in ("auditor", "attacks")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if str(file.relative_to(ROOT)) not in _DEFINITIONS
    ]
    return [found for module in modules for found in _in_module(module, modules)]


def _in_module(module: _Module, modules: list[_Module]) -> Iterator[Emitted]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        maker = node.func.id
        if maker not in MAKERS:
            continue
        place = f"{module.path}:{node.lineno}"
        given = node.args[0] if node.args else _keyword(node, _CODES)
        codes = list(_texts(given, module, modules))
        assert codes, f"{place}: the code of {maker} cannot be read"
        params = _params(node, maker, module)
        axes = tuple(
            code
            for name in ("x", "y")
            if maker == "Curve" and (axis := _keyword(node, {name})) is not None
            for code in _texts(axis, module, modules)
        )
        for code in codes:
            yield Emitted(maker, code, params, axes, place)


def _texts(node: ast.AST | None, module: _Module, modules: list[_Module]) -> Iterator[str]:
    """The texts that an expression can have, as far as the source shows them."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, module, modules)
            yield from _texts(other, module, modules)
        case ast.Subscript(value=ast.Name(id=table)):
            yield from _values_of(table, module, modules)
        case ast.Name(id=name):
            yield from _named(node, name, module, modules)


def _values_of(table: str, module: _Module, modules: list[_Module]) -> Iterator[str]:
    for value in _assigned(table, module.tree):
        if isinstance(value, ast.Dict):
            for item in value.values:
                yield from _texts(item, module, modules)


def _named(node: ast.AST, name: str, module: _Module, modules: list[_Module]) -> Iterator[str]:
    """The texts of a variable: of a loop over literals, an argument, or a constant."""
    for outer in module.around(node):
        loops = [outer] if isinstance(outer, ast.For) else getattr(outer, "generators", [])
        for loop in loops:
            names = [each.id for each in ast.walk(loop.target) if isinstance(each, ast.Name)]
            if name in names:
                for item in _items(loop.iter, outer, module):
                    element = item.elts[names.index(name)] if isinstance(item, ast.Tuple) else item
                    yield from _texts(element, module, modules)
                return
        if isinstance(outer, ast.FunctionDef):
            arguments = [argument.arg for argument in outer.args.args]
            if name in arguments:
                yield from _from_callers(outer.name, arguments.index(name), modules)
                return
    for value in _assigned(name, module.tree):
        yield from _texts(value, module, modules)


def _items(iterated: ast.AST, node: ast.AST, module: _Module) -> Iterator[ast.expr]:
    if isinstance(iterated, ast.Tuple | ast.List):
        yield from iterated.elts
    elif isinstance(iterated, ast.Name):
        for outer in module.around(node):
            if isinstance(outer, ast.FunctionDef | ast.Module):
                for value in _assigned(iterated.id, outer):
                    yield from getattr(value, "elts", [])


def _from_callers(function: str, position: int, modules: list[_Module]) -> Iterator[str]:
    for module in modules:
        for node in ast.walk(module.tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id == function and len(node.args) > position:
                yield from _texts(node.args[position], module, modules)


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if (
                target == name
            ):
                yield value
            case ast.AugAssign(target=ast.Name(id=target), op=ast.BitOr(), value=value) if (
                target == name
            ):
                yield value


def _params(node: ast.Call, maker: str, module: _Module) -> frozenset[str]:
    if maker == "message":
        names = [keyword.arg for keyword in node.keywords]
        assert None not in names, f"{module.path}:{node.lineno}: parameters cannot be read"
        return frozenset(name for name in names if name is not None) - _NO_PARAMETERS
    given = _keyword(node, {"params"})
    if maker == "SelfCheck" and given is None and len(node.args) > 2:
        given = node.args[2]
    if given is None:
        return frozenset()
    function = next(o for o in module.around(node) if isinstance(o, ast.FunctionDef))
    tables = [given] if isinstance(given, ast.Dict) else list(_assigned(given.id, function))
    assert tables, f"{module.path}:{node.lineno}: parameters cannot be read"
    return frozenset(
        key.value for table in tables for key in table.keys if isinstance(key, ast.Constant)
    )


def _keyword(node: ast.Call, names: set[str]) -> ast.expr | None:
    return next((keyword.value for keyword in node.keywords if keyword.arg in names), None)
