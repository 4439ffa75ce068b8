"""Checks of a text-to-image model before its weights are loaded."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextModel

from auditor.core.errors import AuditorError
from auditor.models.devices import first_device
from auditor.models.manifest import Location
from auditor.models.text_to_image.erasers import open_eraser
from auditor.models.text_to_image.latent_space import input_size, vae_factor
from auditor.models.text_to_image.layouts import LAYOUTS, layout_of
from auditor.models.text_to_image.parts import (
    denoiser_class,
    denoiser_of,
    load_scheduler,
    load_tokenizers,
    load_vae_config,
    skeletons,
)
from auditor.models.text_to_image.pipeline_files import Pipeline, find_pipeline
from auditor.models.text_to_image.replacement_files import find_replacement
from auditor.models.text_to_image.replacements import check_unfitting
from auditor.models.text_to_image.spec import ERASER, TextToImageSpec

_PLAIN = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim")
"""Settings of UNets that want more than noise, time and text."""

_SIZE_NUMBERS = 6
"""Count of numbers in SDXL's sizes: original size, crop and target size, two each."""


def check_unopenable_pipeline(spec: TextToImageSpec, location: Location) -> None:
    """Refuse a pipeline that cannot be opened.

    One whose replacement does not fit is refused, too.

    Raises:
        AuditorError: a configuration, tokenizer or scheduler does not load, the layout is none
            that is known, the settings cannot be drawn with, or the replacement's keys or shapes
            are foreign.
    """
    image_device(spec)
    pipeline = hashed_pipeline(spec, location)
    load_tokenizers(pipeline)
    scheduler = load_scheduler(pipeline)
    networks = skeletons(pipeline)
    vae = load_vae_config(pipeline)
    check_unknown_layout(networks, vae)
    factor = 1 if vae is None else vae_factor(len(vae["block_out_channels"]))
    layout = layout_of(networks[LAYOUTS[denoiser_class(denoiser_of(pipeline))].component])
    input_size(factor, layout.patch, layout.usual_size, spec.drawing)
    trained = int(scheduler.config.num_train_timesteps)
    if spec.drawing.steps > trained:
        raise AuditorError(
            f"{spec.drawing.steps} steps are more than the {trained} that the model was trained on."
        )
    if spec.eraser is not None and layout.embeds_guidance:
        raise AuditorError(
            "an eraser guides by what the denoiser predicts without text, and this one, which is "
            "told the weight of guidance, was not made to predict that; leave `eraser` out."
        )
    if spec.eraser is not None and open_eraser(spec.eraser).reads_prompts:
        encoders = [network for name, network in networks.items() if name != layout.component]
        if not (len(encoders) == 1 and isinstance(encoders[0], CLIPTextModel)):
            raise AuditorError(
                f"the eraser {spec.eraser.name} reads the pooled text of prompts, so it takes "
                "pipelines with one text encoder, CLIP's; leave `eraser` out."
            )
    if location.replacement is not None:
        found = find_replacement(str(location.replacement), spec.allow_pickle)
        check_unfitting(found, networks)


def check_unknown_layout(networks: Mapping[str, nn.Module], vae: Mapping[str, Any] | None) -> None:
    """Refuse a pipeline whose parts do not give its denoiser's input.

    Known are the layouts of Stable Diffusion 1 and 2 (one text encoder), of SDXL (two, and the
    image's size, arXiv 2307.01952), that of the first without an autoencoder (pixel space), and
    those of Stable Diffusion 3 (arXiv 2403.03206) and Flux.

    Args:
        networks: the denoiser and the text encoders, by their names in the pipeline.
        vae: the autoencoder's configuration, or None in pixel space.

    Raises:
        AuditorError: says what does not fit.
    """
    if "transformer" in networks:
        _check_unknown_transformer(networks, vae or {})
    else:
        _check_unknown_unet(networks, vae)


def _check_unknown_transformer(networks: Mapping[str, nn.Module], vae: Mapping[str, Any]) -> None:
    """Refuse a transformer that its autoencoder and text encoders do not fit."""
    network: Any = networks["transformer"]
    config, layout = network.config, layout_of(network)
    # Flux counts the channels of packed latents, Stable Diffusion 3 those of plain ones
    packing = layout.patch**2 // config.patch_size**2
    channels = int(vae["latent_channels"]) * packing
    if (config.in_channels, network.out_channels) != (channels, channels):
        raise AuditorError(
            f"the transformer takes {config.in_channels} channels and gives "
            f"{network.out_channels}, but latents have {channels}; pipelines for inpainting, "
            "depth or control are not audited."
        )
    *clips, t5 = (networks[n].config for n in sorted(networks) if n.startswith("text_encoder"))
    if config.joint_attention_dim != t5.hidden_size:  # type: ignore[union-attr]
        raise AuditorError(
            f"the transformer takes text of {config.joint_attention_dim} numbers a token, but T5 "
            f"gives {t5.hidden_size}; they are of different models."  # type: ignore[union-attr]
        )
    named = "projection_dim" if len(clips) == 2 else "hidden_size"
    pooled = sum(getattr(clip, named) for clip in clips)
    if config.pooled_projection_dim != pooled:
        raise AuditorError(
            f"the transformer takes a pooled text of {config.pooled_projection_dim} numbers, but "
            f"CLIP gives {pooled}; they are of different models."
        )
    states = sum(clip.hidden_size for clip in clips)  # type: ignore[union-attr, misc]
    if len(clips) == 2 and states > t5.hidden_size:  # type: ignore[union-attr, operator]
        raise AuditorError(
            f"the states of both CLIP encoders ({states} numbers) are wider than T5's "
            f"({t5.hidden_size}); they are of different models."  # type: ignore[union-attr]
        )


def _check_unknown_unet(networks: Mapping[str, nn.Module], vae: Mapping[str, Any] | None) -> None:
    """Refuse a UNet that its autoencoder and text encoders do not fit."""
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


def hashed_pipeline(spec: TextToImageSpec, location: Location) -> Pipeline:
    """A located pipeline's files, which must be those that were hashed.

    Raises:
        AuditorError: files came or went since; names them.
    """
    pipeline = find_pipeline(str(location.model), None, spec.allow_pickle)
    beside = ("replacement/", ERASER)
    hashed = {name for name in location.manifest.files if not name.startswith(beside)}
    if changed := sorted(hashed ^ pipeline.files.keys()):
        raise AuditorError(
            f"{location.model} was changed since it was hashed: {', '.join(changed[:5])}."
        )
    return pipeline


def image_device(spec: TextToImageSpec) -> torch.device:
    """Return the one device of a text-to-image model.

    Raises:
        AuditorError: there is no such device.
    """
    if spec.device_map is None:
        return first_device()
    try:
        device = torch.device(spec.device_map)
    except RuntimeError as error:
        raise AuditorError(f"`device_map: {spec.device_map}` is no device.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AuditorError(f"`device_map: {spec.device_map}`: there is no GPU here.")
    return device
