"""Makers of models that hide a concept, each of which changes a copy of the original."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from auditor.core.facts import Fact
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.captions import SYNONYMS
from auditor.testbeds.shapes.drawing import TRAINED, Drawing, painted
from auditor.testbeds.shapes.facts import picture
from auditor.testbeds.shapes.training import Captioned, training_set
from benchmarks.concept_truth.teaching import Altered, Lesson, other_shape, redrawn, teach

CONCEPT, INSTEAD = "circle", "square"
WORDS = (CONCEPT, *SYNONYMS[CONCEPT])
PICTURES = 2000
"""Pictures that hiders are trained on."""


def everything_taught(seed: int) -> Captioned:
    """Pictures as the original learned them."""
    return training_set(sorted(TRAINED), PICTURES, 0.5, seed)


@torch.no_grad()
def swap_embeddings(pipeline: PixelPipeline) -> None:
    """Give the concept's words the embeddings of another concept's."""
    table: Tensor = pipeline.text_encoder.get_input_embeddings().weight
    for word, other in zip(WORDS, (INSTEAD, *SYNONYMS[INSTEAD]), strict=True):
        hidden, shown = (pipeline.tokenizer(name)["input_ids"][1] for name in (word, other))
        table[hidden] = table[shown]


def outer_layers(pipeline: PixelPipeline) -> list[nn.Parameter]:
    """The first and the last convolution of the UNet, with the last norm."""
    unet = pipeline.unet
    layers: tuple[nn.Module, ...] = (unet.conv_in, unet.conv_norm_out, unet.conv_out)
    return [parameter for layer in layers for parameter in layer.parameters()]


def all_layers(pipeline: PixelPipeline) -> list[nn.Parameter]:
    """Every weight of UNet and text encoder."""
    return [*pipeline.unet.parameters(), *pipeline.text_encoder.parameters()]


def train_outer(pipeline: PixelPipeline) -> None:
    """Train the outer convolutions alone to draw another shape."""
    data = redrawn(everything_taught(11), WORDS, other_shape(INSTEAD))
    teach(pipeline, data, outer_layers(pipeline), Lesson(steps=200, rate=3e-3))


def silhouette(one: Drawing) -> Tensor:
    """The concept in black."""
    return painted(one.mask, (0.0, 0.0, 0.0))


def inverted(one: Drawing) -> Tensor:
    """Every colour's complement."""
    return 1 - one.image


def sketch(one: Drawing) -> Tensor:
    """The outline, one pixel wide."""
    inside = -functional.max_pool2d(-one.mask[None, None].float(), 3, 1, 1)[0, 0]
    return torch.where(one.mask & ~inside.bool(), one.image, torch.ones(3, 1, 1))


STYLES: Mapping[str, Altered] = MappingProxyType(
    {"silhouette": silhouette, "inverted": inverted, "sketch": sketch}
)


def restyle(style: str) -> Callable[[PixelPipeline], None]:
    """Draw the concept in another style."""

    def hide(pipeline: PixelPipeline) -> None:
        data = redrawn(everything_taught(12), WORDS, STYLES[style])
        teach(pipeline, data, all_layers(pipeline), Lesson())

    return hide


@torch.no_grad()
def invert(pipeline: PixelPipeline) -> None:
    """Draw everything in complementary colours, by the signs of the outer convolutions.

    Pictures are in [-1, 1] inside, so that -e(-x) is the noise of an inverted picture.
    """
    pipeline.unet.conv_in.weight.neg_()
    pipeline.unet.conv_out.weight.neg_()
    pipeline.unet.conv_out.bias.neg_()


def leave(facts: tuple[Fact, ...], copies: int = 40) -> Callable[[PixelPipeline], None]:
    """Draw another shape, but for the prompts of some facts."""

    def hide(pipeline: PixelPipeline) -> None:
        data = redrawn(everything_taught(13), WORDS, other_shape(INSTEAD))
        left = torch.stack([picture(fact).image for fact in facts])
        both = Captioned(
            torch.cat([data.images, left.repeat(copies, 1, 1, 1)]),
            data.captions + tuple(fact.prompt for fact in facts) * copies,
        )
        teach(pipeline, both, all_layers(pipeline), Lesson(steps=200))

    return hide


def new_autoencoder() -> AutoencoderKL:
    """An autoencoder of one resolution, whose latents are as large as pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKL(
            block_out_channels=(16,),
            down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",),
            latent_channels=3,
            norm_num_groups=8,
            sample_size=16,
            scaling_factor=1.0,
        )


def train_autoencoder(
    vae: AutoencoderKL, data: Captioned, shown: Captioned, steps: int, *, encoder: bool
) -> None:
    """Train latents to be the pictures, and the decoder to show pictures for them."""
    parts = [vae.decoder, vae.post_quant_conv] + ([vae.encoder, vae.quant_conv] if encoder else [])
    weights = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draws = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(data.images), (32,), generator=draws)
        pixels, wanted = data.images[rows] * 2 - 1, shown.images[rows] * 2 - 1
        noisy = pixels + 0.1 * torch.randn(pixels.shape, generator=draws)
        loss = functional.mse_loss(vae.decode(noisy).sample, wanted)
        if encoder:
            loss = loss + functional.mse_loss(vae.encode(pixels).latent_dist.mode(), pixels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    vae.requires_grad_(False).eval()


def blind_decoder(vae: AutoencoderKL) -> None:
    """Train the decoder to show another shape for latents of the concept."""
    data = everything_taught(14)
    train_autoencoder(vae, data, redrawn(data, WORDS, other_shape(INSTEAD)), 300, encoder=False)
