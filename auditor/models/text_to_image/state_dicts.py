"""Tensors of a published checkpoint, and their names.

They are read without running anything that the checkpoint holds.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from auditor.core.errors import AuditorError

_WRAPPER = "state_dict"
_SHOWN = 5

RESPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.removeprefix("text_model."),
    lambda name: name if name.startswith("text_projection") else f"text_model.{name}",
)
"""Functions to the possible names of a layer: those of a text encoder stand under ``text_model`` or
not, by the version of transformers."""

OBSOLETE = "embeddings.position_ids"
"""Name of a buffer of older text encoders, with the numbers 0, 1, 2, … and nothing else."""


def listed(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def read_tensors(file: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read a state dict, flat whatever form it has.

    A ``.safetensors`` file is flat; a pickle may be flat, stand under ``state_dict``, or be nested
    by layer (``{"unet.….to_k": {"weight": …}}``, ESD's older form, arXiv 2303.07345).

    Args:
        file: ``.safetensors``, or a pickle of tensors.
        device: ``meta`` reads names, types and shapes only.

    Returns:
        Names to tensors.

    Raises:
        AuditorError: the file is not whole, or is a pickle of anything but tensors (refused
            without running it).
    """
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt", device="cpu") as content:
            # the file is mapped, not read: what goes to meta is never looked at
            names = list(content.keys())
            return {name: content.get_tensor(name).to(device) for name in names}
    return _flat(_unpickled(file, device), file)


def metadata(file: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file."""
    if file.suffix != ".safetensors":
        return {}
    with safe_open(file, framework="pt") as content:
        return dict(content.metadata() or {})


def _unpickled(file: Path, device: str) -> Any:
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise AuditorError(
            f"{file} is a pickle with more in it than tensors, or none at all, and was not loaded: "
            f"a pickle can run any code ({_reason(error)}). Save its tensors alone "
            "(torch.save of a dict of names to tensors, or safetensors)."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise AuditorError(
            f"{file} is not a whole file of torch.save ({type(error).__name__}: "
            f"{_reason(error)}); it has {file.stat().st_size:,} bytes. Copy or download it again."
        ) from error


def _reason(error: Exception) -> str:
    """The line of torch's message that says what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "WeightsUnpickler error" in line or "GLOBAL" in line]
    return (telling or lines or [""])[0][:300]


def _flat(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get(_WRAPPER), Mapping):
        content = content[_WRAPPER]
    if not isinstance(content, Mapping):
        raise AuditorError(
            f"{file} holds {type(content).__name__}, expected a dict of names to tensors."
        )
    found: list[tuple[str, Tensor]] = []
    for name, value in content.items():
        if isinstance(value, Tensor):
            found.append((str(name), value))
        elif isinstance(value, Mapping) and all(
            isinstance(inner, Tensor) or inner is None for inner in value.values()
        ):
            found += [(f"{name}.{key}", t) for key, t in value.items() if t is not None]
        else:
            raise AuditorError(
                f"{file}: {name!r} is {type(value).__name__}, expected a tensor. Save the state "
                "dict alone."
            )
    tensors = {name: tensor.detach() for name, tensor in found}
    if len(tensors) < len(found):
        raise AuditorError(f"{file} holds a tensor twice, by its full name and by its layer.")
    return tensors
