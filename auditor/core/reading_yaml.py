"""YAML that others wrote, parsed by the rule of `auditor.core.reading`."""

import math
from typing import Any

import yaml

from auditor.core.reading import (
    TOO_DEEP,
    check_nesting,
    check_repeated,
    no_number,
    whole_number,
)

_NODES = 20_000
"""Most values of a YAML document, with those that its aliases repeat."""
_TOO_MANY = f"it holds more than {_NODES:,} values"


def parse_yaml(content: bytes | str) -> Any:
    """Parse YAML in UTF-8, by the rule of this module.

    Raises:
        ValueError: It is no text in UTF-8, or no YAML, says a key twice, holds a number that no
            double is, repeats itself by aliases without end, or nests too deep.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8; save it so") from error
    try:
        value = yaml.load(text, _Loader)  # noqa: S506  # a safe loader, made stricter
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    check_nesting(value)
    return value


class _Loader(yaml.SafeLoader):
    """Safe loader that follows the rule of this module."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value, of which there may be so many."""
        self._nodes += 1
        if self._nodes > _NODES:
            raise ValueError(_TOO_MANY)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, which must not unfold without end."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _unfolded(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping that says each key once.

        What it merges, it may say anew.
        """
        check_repeated(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number that a double can hold."""
        whole_number(node.value)
        return int(super().construct_yaml_int(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Read a finite number."""
        number = float(super().construct_yaml_float(node))
        return number if math.isfinite(number) else no_number(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def _unfolded(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Number of values that a node stands for, its aliases written out."""
    key = id(node)
    if key in known:
        size = known[key]
        if size is None:
            raise ValueError("it holds itself, by an alias")
        return size
    known[key] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    size = 1 + sum(_unfolded(part, known) for part in inner)
    if size > _NODES:
        raise ValueError(_TOO_MANY)
    known[key] = size
    return size
