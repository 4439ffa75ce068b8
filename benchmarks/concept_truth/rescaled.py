"""Changes of weights that change no picture."""

import torch
from torch import nn

from auditor.models.text_to_image.pixel_pipeline import PixelPipeline

FACTOR = 32.0
"""Factor by which layers are rescaled."""


@torch.no_grad()
def rescale(pipeline: PixelPipeline, factor: float = FACTOR) -> None:
    """Rescale every layer whose scale the next one takes back.

    Queries and keys, values and their projection, gains and what reads them, the linear half of
    gated feed-forward layers, and the text that cross-attention is given.
    """
    final: nn.LayerNorm = _text(pipeline).final_layer_norm
    for layer in _text(pipeline).encoder.layers:
        attention = layer.self_attn
        _times(attention.q_proj, factor)
        _times(attention.k_proj, 1 / factor)
        _times(attention.v_proj, factor)
        attention.out_proj.weight /= factor
        _gain(layer.layer_norm1, 1 / factor)
        for reader in (attention.q_proj, attention.k_proj, attention.v_proj):
            reader.weight *= factor
        _gain(layer.layer_norm2, 1 / factor)
        layer.mlp.fc1.weight *= factor
    _gain(final, 1 / factor)
    for name, module in pipeline.unet.named_modules():
        if name.endswith("attn2"):
            module.to_k.weight *= factor
            module.to_v.weight *= factor
        if name.endswith(("attn1", "attn2")):
            _times(module.to_q, factor)
            _times(module.to_k, 1 / factor)
            _times(module.to_v, factor)
            module.to_out[0].weight /= factor
        if name.endswith("ff"):
            half = module.net[2].weight.shape[1]
            module.net[0].proj.weight[:half] *= factor
            module.net[0].proj.bias[:half] *= factor
            module.net[2].weight /= factor


@torch.no_grad()
def permute_text(pipeline: PixelPipeline, seed: int = 0) -> None:
    """Permute the channels of the text encoder, and those in which cross-attention reads it."""
    text = _text(pipeline)
    width = text.final_layer_norm.weight.shape[0]
    order = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
    for table in (text.embeddings.token_embedding, text.embeddings.position_embedding):
        table.weight.copy_(table.weight[:, order])
    for norm in [text.final_layer_norm] + [
        norm for layer in text.encoder.layers for norm in (layer.layer_norm1, layer.layer_norm2)
    ]:
        norm.weight.copy_(norm.weight[order])
        norm.bias.copy_(norm.bias[order])
    for layer in text.encoder.layers:
        attention = layer.self_attn
        for reader in (attention.q_proj, attention.k_proj, attention.v_proj, layer.mlp.fc1):
            reader.weight.copy_(reader.weight[:, order])
        for writer in (attention.out_proj, layer.mlp.fc2):
            writer.weight.copy_(writer.weight[order])
            writer.bias.copy_(writer.bias[order])
    for name, module in pipeline.unet.named_modules():
        if name.endswith("attn2"):
            module.to_k.weight.copy_(module.to_k.weight[:, order])
            module.to_v.weight.copy_(module.to_v.weight[:, order])


def _times(layer: nn.Linear, factor: float) -> None:
    layer.weight *= factor
    if layer.bias is not None:
        layer.bias *= factor


def _gain(norm: nn.LayerNorm, factor: float) -> None:
    norm.weight *= factor
    norm.bias *= factor


def _text(pipeline: PixelPipeline) -> nn.Module:
    """The transformer of the text encoder, which some releases of the library wrap."""
    encoder: nn.Module = pipeline.text_encoder
    return getattr(encoder, "text_model", encoder)
