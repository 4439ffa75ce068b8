"""Erased weights on disk, in the forms that the erasure projects publish.

| project | form | loaded by |
| --- | --- | --- |
| ESD | ``.safetensors`` of the trained tensors alone | ``load_state_dict(..., strict=False)`` |
| UCE, RECE | ``.pt`` of the whole UNet's state dict, float32 | ``load_state_dict(...)`` |
| MACE | a directory with the whole pipeline | ``from_pretrained`` |
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor


def write_delta(weights: Mapping[str, Tensor], path: Path) -> Path:
    """ESD's form: changed tensors alone, by name in the UNet's state dict.

    Args:
        weights: Weights as the erasures return them.
        path: Path of the ``.safetensors`` file; its folder is made.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_plain(weights), path)
    return path


def write_unet_state(unet: UNet2DConditionModel, weights: Mapping[str, Tensor], path: Path) -> Path:
    """Write the whole UNet in the form of UCE and RECE.

    It is a state dict in float32.

    A plain dictionary of tensors, so that ``torch.load(..., weights_only=True)`` reads it.

    Args:
        unet: The original, left as it was.
        weights: Weights as the erasures return them.
        path: Path of the ``.pt`` file; its folder is made.

    Returns:
        ``path``.

    Raises:
        ValueError: A changed tensor that the UNet does not have.
    """
    state = _plain(unet.state_dict())
    foreign = sorted(weights.keys() - state.keys())
    if foreign:
        raise ValueError(f"the UNet has no {', '.join(foreign[:3])}")
    state.update(_plain(weights))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.float() for name, tensor in state.items()}, path)
    return path


def write_pipeline(pipeline: DiffusionPipeline, unet: UNet2DConditionModel, path: Path) -> Path:
    """MACE's form: the whole pipeline with another UNet in it.

    Args:
        pipeline: Pipeline of the original; has its own UNet again afterwards.
        unet: The erased one.
        path: Path of the directory, which is made.

    Returns:
        ``path``.
    """
    original = pipeline.unet
    pipeline.register_modules(unet=unet)
    try:
        pipeline.save_pretrained(path)
    finally:
        pipeline.register_modules(unet=original)
    return path


def _plain(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without gradients, on the CPU, none sharing memory with another."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()
    }
