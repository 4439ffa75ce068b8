"""Types of a GGUF file's tensors, by llama.cpp's rules.

A file of one level holds several types: llama.cpp gives more bits to the values and outputs of
some layers, and to the output head. The rules are those of `llama-quantize` (`llama-quant.cpp`),
without an importance matrix.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from auditor.core.errors import UnavailableError

Level = Literal["q4_k_m", "q5_k_m", "q3_k_m", "q2_k", "q8_0", "iq4_nl"]

_BASE: Mapping[Level, str] = {
    "q4_k_m": "Q4_K",
    "q5_k_m": "Q5_K",
    "q3_k_m": "Q3_K",
    "q2_k": "Q2_K",
    "q8_0": "Q8_0",
    "iq4_nl": "IQ4_NL",
}
"""Level to the type of most tensors."""
_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Type to that which takes its place where rows are no multiple of 256."""
_SUPER_BLOCK, _BLOCK = 256, 32
"""Weights that share scales in the types of ``_FALLBACK``, and in all others."""
_MANY_HEADS = 4
"""Query heads to a key-value head from which values are small enough for more bits."""
_MIXTRAL = 8
"""Experts at which attention is small enough for more bits."""
_SEVENTY = 80
"""Layers of a model of 70 billion weights."""
_KEPT = re.compile(r"ffn_gate_inp|position_embd")
"""Matrices that stay as they are: routers, and embeddings of positions."""


class FileShape(NamedTuple):
    """What the rules read of a model besides its tensors."""

    architecture: str
    """Name of the architecture in GGUF, for example ``llama``."""
    layers: int
    experts: int
    """Experts of a layer; 1 where there is no mixture."""
    grouped: int
    """Query heads to a key-value head."""

    @property
    def is_seventy(self) -> bool:
        """Whether llama.cpp calls it a model of 70 billion weights."""
        grouped = self.architecture == "qwen2" or self.grouped > 1
        return self.architecture in ("llama", "qwen2") and self.layers == _SEVENTY and grouped


def tensor_types(
    level: Level, columns: Mapping[str, int], shape: FileShape
) -> dict[str, str | None]:
    """Return the type that each matrix has in a file.

    Args:
        level: Level of the file.
        columns: Name of each matrix in the file to the weights of its rows.
        shape: What else the rules read.

    Returns:
        Name to the type's name; None for a matrix that stays as it is.

    Raises:
        UnavailableError: llama.cpp makes no such file of this model.
    """
    values = sorted(filter(_is_value, columns), key=_layer)
    tied = "output.weight" not in columns
    types: dict[str, str | None] = {}
    for name, width in columns.items():
        if _KEPT.search(name):
            types[name] = None
            continue
        if name == "output.weight" or (tied and name == "token_embd.weight"):
            wanted = _of_head(level, width)
        elif name in values:
            wanted = _of_values(level, values.index(name), len(values), shape)
        else:
            wanted = _of_layer(level, name, shape)
        types[name] = _fitting(wanted, name, width)
    return types


def _is_value(name: str) -> bool:
    return any(part in name for part in ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"))


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _more_bits(place: int, count: int) -> bool:
    """Whether a layer is first or last eighth, or third between."""
    edge = count // 8
    return place < edge or place >= 7 * count // 8 or (place - edge) % 3 == 2


def _of_head(level: Level, width: int) -> str:
    whole = width % _block(_BASE[level]) == 0
    return "Q6_K" if whole and level != "q8_0" else "Q8_0"


def _of_values(level: Level, place: int, count: int, shape: FileShape) -> str:
    """Type of the matrix that holds the values."""
    if shape.experts == _MIXTRAL:
        return "Q8_0"
    many = shape.grouped >= _MANY_HEADS
    more = _more_bits(place, count)
    wanted = {
        "q4_k_m": "Q6_K" if more else "Q4_K",
        "q5_k_m": "Q6_K" if more else "Q5_K",
        "q3_k_m": "Q5_K" if place < 2 else "Q4_K",
        "q2_k": "Q4_K" if many else "Q3_K",
        "q8_0": "Q8_0",
        "iq4_nl": "Q5_K" if many else "IQ4_NL",
    }[level]
    return "Q5_K" if shape.is_seventy and wanted in ("Q3_K", "Q4_K") else wanted


def _of_layer(level: Level, name: str, shape: FileShape) -> str:
    """Type of a matrix that is neither embedding nor head nor value."""
    eight = shape.experts == _MIXTRAL
    if "attn_k.weight" in name and eight:
        return "Q8_0"
    if "ffn_down" in name:
        return _of_down(level, _layer(name), shape.layers)
    if "attn_output.weight" in name:
        if eight:
            return _BASE[level] if level in ("q5_k_m", "q8_0") else "Q5_K"
        return {"q2_k": "Q3_K", "q3_k_m": "Q4_K"}.get(level, _BASE[level])
    return _BASE[level]


def _of_down(level: Level, layer: int, layers: int) -> str:
    if level in ("q4_k_m", "q5_k_m"):
        return "Q6_K" if _more_bits(layer, layers) else _BASE[level]
    if level == "q3_k_m":
        return "Q5_K" if layer < layers // 16 else "Q4_K"
    if level == "iq4_nl" and layer < layers // 8:
        return "Q5_K"
    return "Q3_K" if level == "q2_k" else _BASE[level]


def _block(type_: str) -> int:
    return _SUPER_BLOCK if type_ in _FALLBACK else _BLOCK


def _fitting(type_: str, name: str, width: int) -> str:
    """The type, or another where its blocks do not fit."""
    if width % _block(type_) == 0:
        return type_
    if type_ not in _FALLBACK:
        raise UnavailableError(
            f"llama.cpp writes no file of this level: rows of {name} have {width} weights, and "
            f"blocks of {type_} have {_block(type_)}"
        )
    return _FALLBACK[type_] if width % _BLOCK == 0 else "F16"


def summary(types: Sequence[str]) -> dict[str, int]:
    """Return how many matrices have each type, by its name."""
    return {type_: types.count(type_) for type_ in sorted(set(types))}
