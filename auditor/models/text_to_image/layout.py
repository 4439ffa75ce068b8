"""What sort of text-to-image pipeline it is, and whether an audit can drive it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from auditor.core.errors import AuditorError

_PLAIN = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim")
"""Settings of UNets that want more than noise, time and text."""

_SIZE_NUMBERS = 6
"""Original size, crop and target size, two numbers each."""


def check_unknown_layout(networks: Mapping[str, nn.Module], vae: Mapping[str, Any] | None) -> None:
    """Refuse a pipeline whose UNet wants other input than the pipeline's parts can give.

    Known are the layouts of Stable Diffusion 1 and 2 (one text encoder), of SDXL (two, and the
    image's size, arXiv 2307.01952), and that of the first without an autoencoder (pixel space).

    Args:
        networks: ``unet``, ``text_encoder`` and perhaps ``text_encoder_2``.
        vae: the autoencoder's configuration, or None in pixel space.

    Raises:
        AuditorError: says what does not fit.
    """
    config: Any = networks["unet"].config
    channels = vae["latent_channels"] if vae is not None else 3
    if (config.in_channels, config.out_channels) != (channels, channels):
        raise AuditorError(
            f"the UNet takes {config.in_channels} channels and gives {config.out_channels}, but "
            f"{'latents' if vae is not None else 'images'} have {channels}; pipelines for "
            "inpainting, depth, super-resolution or with learned variance are not audited."
        )
    if odd := [name for name in _PLAIN if config.get(name) is not None]:
        raise AuditorError(
            f"the UNet wants more than noise, time and text ({', '.join(odd)}); such pipelines are "
            "not audited."
        )
    encoders = [networks[name].config for name in sorted(networks) if name != "unet"]
    width = sum(encoder.hidden_size for encoder in encoders)  # type: ignore[union-attr, misc]
    if config.cross_attention_dim != width:
        raise AuditorError(
            f"the UNet's cross-attention takes vectors of {config.cross_attention_dim} numbers, "
            f"but the text encoders give {width}; they are of different models."
        )
    added = config.addition_embed_type
    if added not in (None, "text_time") or (added is not None) != (len(encoders) == 2):
        raise AuditorError(
            f"the UNet's added conditioning is {added}, with {len(encoders)} text encoder(s); an "
            "audit knows none with one encoder, and text_time with two (SDXL)."
        )
    if added is not None:
        wanted = config.projection_class_embeddings_input_dim
        pooled = encoders[-1].projection_dim  # type: ignore[union-attr]
        if wanted != _SIZE_NUMBERS * config.addition_time_embed_dim + pooled:
            raise AuditorError(
                f"the UNet's added conditioning takes {wanted} numbers, but SDXL's six of the "
                f"image's size ({config.addition_time_embed_dim} each) and the pooled text "
                f"({pooled}) make another number; they are of different models."
            )
