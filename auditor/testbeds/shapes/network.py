"""Networks of a model of shapes.

They are a small UNet in pixel space and its noise schedule.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.drawing import SIZE
from auditor.testbeds.shapes.text import text_encoder, vocabulary, write_tokenizer


class NetworkRecipe(BaseModel):
    """Widths of the networks.

    Attributes:
        channels: Channels of the UNet at full and at half resolution; multiples of 8.
        text_width: Width of the text encoder, and so of cross-attention.
        text_layers: Layers of the text encoder.
        text_heads: Attention heads of the text encoder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, int] = (32, 64)
    text_width: int = Field(default=64, multiple_of=8)
    text_layers: int = Field(default=2, gt=0)
    text_heads: int = Field(default=4, gt=0)


def untrained(tokenizer: CLIPTokenizer, recipe: NetworkRecipe) -> PixelPipeline:
    """A pipeline with random weights, drawn from torch's global random state, float32."""
    return PixelPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder(
            tokenizer, recipe.text_width, recipe.text_layers, recipe.text_heads
        ),
        unet=UNet2DConditionModel(
            sample_size=SIZE,
            in_channels=3,
            out_channels=3,
            block_out_channels=recipe.channels,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=recipe.text_width,
            attention_head_dim=8,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="epsilon"),
    )


_NETWORKS = ("text_encoder", "unet")


def weights_of(pipeline: PixelPipeline) -> dict[str, Tensor]:
    """Weights of both networks, by name behind ``text_encoder.`` or ``unet.``."""
    return {
        f"{network}.{name}": weight
        for network in _NETWORKS
        for name, weight in getattr(pipeline, network).state_dict().items()
    }


def with_weights(
    tokenizer: CLIPTokenizer, recipe: NetworkRecipe, weights: Mapping[str, Tensor]
) -> PixelPipeline:
    """A pipeline with weights as :func:`weights_of` names them, in evaluation mode, float32."""
    with torch.random.fork_rng(devices=[]):  # random weights are drawn first, and lost
        pipeline = untrained(tokenizer, recipe)
    for network in _NETWORKS:
        prefix = f"{network}."
        own = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
        getattr(pipeline, network).load_state_dict(own)
        getattr(pipeline, network).eval()
    return pipeline


def save(pipeline: PixelPipeline, folder: Path) -> None:
    """Write a pipeline as diffusers does.

    CLIP's two vocabulary files are put beside its tokenizer.
    """
    pipeline.save_pretrained(folder, safe_serialization=True)
    write_tokenizer(folder / "tokenizer", vocabulary())


def save_edited(original: Path, changed: Mapping[str, Tensor], folder: Path) -> None:
    """Write a saved pipeline again with other tensors in its UNet.

    Everything else stays the same.

    Args:
        original: Original as :func:`save` wrote it.
        changed: Tensors by name in the UNet's state dict.
        folder: Existing and empty.

    Raises:
        ValueError: The UNet has no tensor of such a name.
    """
    shutil.copytree(original, folder, dirs_exist_ok=True)
    weights = folder / "unet" / SAFETENSORS_WEIGHTS_NAME
    state = load_file(weights)
    if foreign := sorted(changed.keys() - state.keys()):
        raise ValueError(f"the UNet has no {', '.join(foreign[:3])}")
    save_file(
        state | {name: t.contiguous() for name, t in changed.items()}, weights, {"format": "pt"}
    )
