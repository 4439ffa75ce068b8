"""Cross-attention of a UNet, and the weights that erasures may change.

In a ``UNet2DConditionModel`` (Stable Diffusion 1.x, 2.x, XL and pixel-space ones alike) every
transformer block has two attentions: ``attn1`` of the image to itself, ``attn2`` of the image to
the prompt. Only ``attn2.to_k`` and ``attn2.to_v`` see the prompt's embedding.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from auditor.core.errors import AuditorError

ParameterGroup = Literal["x", "x-strict", "u"]
"""Weights that ESD trains (arXiv 2303.07345): ``x`` the linear and convolution layers of the
cross-attentions, ``x-strict`` only their keys and values, ``u`` all such layers but those."""

_CROSS_ATTENTION = "attn2"
_KEY_VALUE = ([_CROSS_ATTENTION, "to_k"], [_CROSS_ATTENTION, "to_v"])
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def key_value_names(unet: UNet2DConditionModel) -> list[str]:
    """Return the names of the matrices that read the prompt.

    They are those of the state dict, in the model's order.

    Raises:
        AuditorError: The UNet has no cross-attention.
    """
    names = [
        f"{name}.weight"
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and name.split(".")[-2:] in _KEY_VALUE
    ]
    if not names:
        raise AuditorError(
            "this UNet has no cross-attention (no attn2.to_k, attn2.to_v), so no prompt can be "
            "erased in it; give a UNet2DConditionModel with CrossAttn blocks and plain weights"
        )
    return names


def key_value_weights(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Return copies of the matrices that read the prompt.

    They are float64 on the CPU, each [out, width of the text].
    """
    state = unet.state_dict()
    return {
        name: state[name].detach().to("cpu", torch.float64, copy=True)
        for name in key_value_names(unet)
    }


def parameter_names(unet: UNet2DConditionModel, group: ParameterGroup) -> list[str]:
    """Names of the parameters in one of ESD's groups, weights and biases.

    Raises:
        AuditorError: The UNet has no cross-attention.
    """
    strict = set(key_value_names(unet))
    if group == "x-strict":
        return [name for name, _ in unet.named_parameters() if name in strict]
    names: list[str] = []
    for name, module in unet.named_modules():
        if isinstance(module, _LAYERS) and (_CROSS_ATTENTION in name.split(".")) == (group == "x"):
            names.extend(f"{name}.{part}" for part, _ in module.named_parameters(recurse=False))
    return names


def as_parameters(unet: UNet2DConditionModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights in the UNet's own type.

    They are ready for a state dict, on the CPU.

    Raises:
        KeyError: The UNet has no tensor of that name.
    """
    state = unet.state_dict()
    return {
        name: weight.detach().to("cpu", state[name].dtype, copy=True).contiguous()
        for name, weight in weights.items()
    }


@torch.no_grad()
def load_weights(unet: UNet2DConditionModel, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a UNet, in place; what is not named stays.

    Raises:
        KeyError: The UNet has no tensor of that name.
        ValueError: A tensor has another shape than the UNet's.
    """
    state = unet.state_dict()
    for name, weight in weights.items():
        if weight.shape != state[name].shape:
            raise ValueError(
                f"{name} is {list(weight.shape)}, the UNet's is {list(state[name].shape)}"
            )
        state[name].copy_(weight)
