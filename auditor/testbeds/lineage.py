"""Weights that were stored in 4 bits once.

A 4-bit release, and a model fine-tuned from one as in QLoRA (arXiv 2305.14314), holds the
weights of its linear layers in NF4: blocks of 64 weights share one scale, and each weight is
one of 16 levels. Dequantized to work with, the model keeps those levels. That is a model's
*4-bit lineage*: quantized again it gives exactly the same codes, and an edit that moves no
weight past the middle between two levels is undone by the next quantization.
"""

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import Tensor
from transformers import PreTrainedModel

from auditor.models.language.layers import linear_layers

BLOCK_SIZE = 64
"""Weights that share one scale: the default of bitsandbytes and of QLoRA."""


def codes(weight: Tensor, quant_type: str = "nf4") -> Tensor:
    """Return the packed 4-bit codes of a weight.

    Two codes share a byte: uint8 [numel / 2, 1].
    """
    packed: Tensor = quantize_4bit(
        weight.detach().float().contiguous(), blocksize=BLOCK_SIZE, quant_type=quant_type
    )[0]
    return packed


def through_4bit(weight: Tensor, quant_type: str = "nf4") -> Tensor:
    """Return a weight after storage in 4 bits.

    It is dequantized again, in its own dtype and shape.
    """
    source = weight.detach().float().contiguous()
    packed, state = quantize_4bit(source, blocksize=BLOCK_SIZE, quant_type=quant_type)
    restored: Tensor = dequantize_4bit(packed, state)
    return restored.to(weight.dtype)


@torch.no_grad()
def store_in_4bit(model: PreTrainedModel, quant_type: str = "nf4") -> PreTrainedModel:
    """Round a model's linear layers to 4 bits, in place.

    They are stored in 4 bits and dequantized.

    Args:
        model: Changed in place, and returned.
        quant_type: ``nf4`` or ``fp4``.
    """
    for module in linear_layers(model).values():
        module.weight.copy_(through_4bit(module.weight, quant_type))
    return model
