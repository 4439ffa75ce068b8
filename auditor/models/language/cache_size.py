"""Keys and values that attention keeps of a text.

They are read from a configuration alone.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from transformers import PretrainedConfig

_STATES = (
    "attention_hidden_size",
    "conv_L_cache",
    "hybrid_override_pattern",
    "layers_block_type",
    "mamba_d_state",
    "ssm_cfg",
    "ssm_state_size",
    "state_size",
)
"""What configurations of architectures with other states than keys and values have."""
_LAYERS = (
    "num_decoder_layers",
    "decoder_layers",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "n_layers",
)
_HEADS = ("decoder_attention_heads", "num_attention_heads", "n_head", "num_heads", "n_heads")
_WIDTHS = ("hidden_size", "n_embd", "d_model")


class CacheSize(NamedTuple):
    """Numbers that attention keeps of a text, in all layers."""

    everywhere: int
    """Of each token, in layers that attend to all of them."""
    windowed: tuple[tuple[int, int], ...] = ()
    """Tokens of a window, and numbers of each token in it, in layers that attend to the last."""

    @property
    def per_token(self) -> int:
        """Numbers of one token that stands in every window."""
        return self.everywhere + sum(numbers for _, numbers in self.windowed)

    def numbers(self, tokens: int) -> int:
        """Numbers of a text."""
        within = sum(min(tokens, window) * numbers for window, numbers in self.windowed)
        return tokens * self.everywhere + within


def cache_size(config: PretrainedConfig) -> CacheSize | None:
    """Return what attention keeps of a text.

    It is None where the configuration does not tell.

    An encoder-decoder keeps as much of a token of the prompt as of one of the answer.

    Args:
        config: The configuration of a language model.
    """
    text = config.get_text_config()
    layers, each = first_number(text, _LAYERS), _of_layer(text)
    if layers is None or not each or any(getattr(text, name, None) for name in _STATES):
        return None
    windows = list(_windows(text, layers))
    if None in windows:
        return None
    found = {window: each * windows.count(window) for window in windows if window}
    return CacheSize(each * windows.count(0), tuple(found.items()))


def first_number(config: PretrainedConfig, names: tuple[str, ...]) -> int | None:
    """The first of some numbers that a configuration has."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int)), None)


def _of_layer(config: PretrainedConfig) -> int:
    """Return keys and values of one token in one layer.

    It is 0 where that is not known.
    """
    heads = first_number(config, _HEADS)
    if heads is None:
        return 0
    latent = first_number(config, ("kv_lora_rank",))
    if latent:  # of which keys and values are made anew each time
        return latent + (first_number(config, ("qk_rope_head_dim",)) or 0)
    width = first_number(config, _WIDTHS) or 0
    kept = first_number(config, ("num_key_value_heads", "num_kv_heads")) or heads
    if getattr(config, "multi_query", False) and not getattr(
        config, "new_decoder_architecture", False
    ):
        kept = 1
    return 2 * kept * (first_number(config, ("head_dim", "d_kv")) or math.ceil(width / heads))


def _windows(config: PretrainedConfig, layers: int) -> Iterator[int | None]:
    """Yield the tokens that each layer attends to, as ``DynamicCache`` keeps them.

    It is 0 where that is all of them, and None where a layer keeps something else.
    """
    sliding = first_number(config, ("sliding_window",)) or 0
    chunk = first_number(config, ("attention_chunk_size",)) or 0
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        yield from [sliding or chunk] * layers
        return
    shared = first_number(config, ("num_kv_shared_layers",)) or 0
    known = {"full_attention": 0, "sliding_attention": sliding, "chunked_attention": chunk}
    for kind in kinds[: layers - shared]:
        yield known.get(kind)
