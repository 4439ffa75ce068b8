"""Cross-attention maps, recorded while the UNet runs.

They say how much each pixel attends to each token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

AttentionMaps = dict[str, Tensor]
"""Maps by name of the layer: [batch, heads, pixels, tokens], with rows that sum to 1."""


class _RecordingProcessor:
    """Cross-attention with its probabilities written out, which fused kernels keep to themselves.

    Serves the plain attention of transformer blocks: no group norm, no residual of its own.
    """

    def __init__(self, name: str, maps: AttentionMaps) -> None:
        self._name = name
        self._maps = maps

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Attend from pixels to tokens.

        Args:
            attn: The attention's layers.
            hidden_states: Pixels, [batch, pixels, width].
            encoder_hidden_states: Tokens, [batch, tokens, text width].
            attention_mask: Added to the scores, [batch, 1, tokens].

        Returns:
            [batch, pixels, width].
        """
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = _by_head(attn.to_q(hidden_states), attn.heads)
        key = _by_head(attn.to_k(text), attn.heads)
        value = _by_head(attn.to_v(text), attn.heads)
        scores = query @ key.transpose(-1, -2) * attn.scale
        if attention_mask is not None:
            scores = scores + attention_mask[:, None]
        maps = scores.softmax(-1)
        self._maps[self._name] = maps
        attended = (maps @ value).transpose(1, 2).flatten(2)
        attended = attn.to_out[1](attn.to_out[0](attended))
        output: Tensor = attended / attn.rescale_output_factor
        return output


def _by_head(projected: Tensor, heads: int) -> Tensor:
    """[batch, positions, width] to [batch, heads, positions, width / heads]."""
    batch, positions, _ = projected.shape
    return projected.view(batch, positions, heads, -1).transpose(1, 2)


@contextmanager
def recorded_attention(unet: UNet2DConditionModel) -> Iterator[AttentionMaps]:
    """Yield a dictionary that fills with cross-attention maps.

    Each run of the UNet fills it.

    The maps carry gradients where the run does. Afterwards the UNet computes as before.
    """
    maps: AttentionMaps = {}
    before = dict(unet.attn_processors)
    unet.set_attn_processor(
        {
            name: _RecordingProcessor(name.removesuffix(".processor"), maps)
            if "attn2" in name.split(".")
            else processor
            for name, processor in before.items()
        }
    )
    try:
        yield maps
    finally:
        unet.set_attn_processor(before)


def masked_attention(maps: AttentionMaps, masks: Tensor, tokens: Tensor) -> list[Tensor]:
    """Return the attention of masked pixels to tokens, by layer.

    Args:
        maps: Maps of one run.
        masks: Where the concept is in each image, in [0, 1], [batch, height, width], in pixels
            or latents alike; averaged down to each layer's resolution.
        tokens: True for the tokens that count, [batch, length].

    Returns:
        For each layer [batch, heads, pixels, tokens]: the maps, 0 outside masks and tokens.
    """
    height, width = masks.shape[-2:]
    masked = []
    for attention in maps.values():
        shrink = (attention.shape[2] / (height * width)) ** 0.5
        size = (round(height * shrink), round(width * shrink))
        small = functional.adaptive_avg_pool2d(masks[:, None].to(attention), size)
        columns = tokens[:, None, None, :].to(attention)
        masked.append(attention * small.flatten(2)[..., None] * columns)
    return masked
