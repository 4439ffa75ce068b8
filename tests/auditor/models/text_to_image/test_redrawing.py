"""Pictures drawn again: as the library's image-to-image and inpainting pipelines draw them."""

import pytest
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting
from tiny_pipelines import LAYOUTS, PROMPTS, T5_LENGTH, open_pipeline, sampling

from auditor.models.text_to_image.latent_space import LatentSpace
from auditor.models.text_to_image.redrawing import Redrawing

SEEDS = [5, 6]
STEPS = 4
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
deployable = pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "pixel"])


def opened(folder, **more):
    return open_pipeline(folder, sampling=sampling(folder) | {"steps": STEPS}, **more)


def pictures(subject, count=2):
    side = 8 if subject.parts.vae is None else 16
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def deployed(kind, pipeline, clean, **more):
    """Images of the library's own pipeline, which takes latents in an image's place."""
    made = kind.from_pipe(pipeline)
    made.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": STEPS, "guidance_scale": 2.0, "output_type": "pt"} | more
    if hasattr(pipeline, "transformer"):
        options |= {"max_sequence_length": T5_LENGTH, "height": 16, "width": 16}
    return torch.cat(
        [
            made(
                prompt=prompt,
                image=own[None],
                generator=[torch.Generator().manual_seed(seed)],
                **options | ({"masked_image_latents": own[None]} if "mask_image" in more else {}),
            ).images
            for prompt, own, seed in zip(PROMPTS, clean, SEEDS, strict=False)
        ]
    )


def right_half(images):
    side = images.shape[-1]
    return (torch.arange(side) >= side // 2).expand(side, side)


@deployable
@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75])
def test_a_picture_is_drawn_again_as_the_deployed_pipeline_does(
    layout, strength, folders, pipelines
):
    subject = opened(folders[layout])
    given = pictures(subject)
    drawn = subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(given, strength))
    expected = deployed(
        AutoPipelineForImage2Image, pipelines[layout], subject.latents(given), strength=strength
    )
    torch.testing.assert_close(drawn, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("layout", ["sd1", "sd2"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_half_a_picture_is_drawn_again_as_the_deployed_pipeline_does(
    layout, strength, folders, pipelines
):
    subject = opened(folders[layout])
    given = pictures(subject)
    mask = right_half(given)
    drawn = subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(given, strength, mask))
    expected = deployed(
        AutoPipelineForInpainting,
        pipelines[layout],
        subject.latents(given),
        strength=strength,
        mask_image=mask[None, None].float(),
    )
    torch.testing.assert_close(drawn, expected, atol=2e-5, rtol=0)


@each_layout
def test_a_mask_draws_what_it_covers_and_nothing_else(layout, folders):
    subject = opened(folders[layout])
    given = pictures(subject)
    everything = torch.ones(given.shape[-2:], dtype=torch.bool)

    def drawn(mask, strength=0.5):
        return subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(given, strength, mask))

    torch.testing.assert_close(drawn(everything), drawn(None))
    with torch.no_grad():
        kept = LatentSpace(subject.parts.vae).decode(subject.latents(given))
    torch.testing.assert_close(drawn(~everything), kept)
    half = drawn(right_half(given), 1.0)
    assert (half - drawn(None, 1.0)).abs().max() > 1e-2
    assert (half - kept).abs().max() > 1e-2


def test_in_pixels_the_unmasked_part_is_the_given_one(folders):
    subject = opened(folders["pixel"])
    given = pictures(subject)
    mask = right_half(given)
    drawn = subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(given, 1.0, mask))
    torch.testing.assert_close(drawn[..., ~mask], given[..., ~mask])
    assert (drawn[..., mask] - given[..., mask]).abs().max() > 0.05


@each_layout
def test_at_full_strength_nothing_of_the_picture_is_left(layout, folders):
    subject = opened(folders[layout])
    plain = subject.generate(PROMPTS[:2], SEEDS)
    again = subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(pictures(subject), 1.0))
    torch.testing.assert_close(again, plain)


@each_layout
def test_less_strength_leaves_more_of_the_picture_and_costs_less(layout, folders):
    subject = opened(folders[layout])
    given = pictures(subject)
    errors, costs = [], []
    for strength in (0.01, 0.5, 1.0):
        before = subject.meter.forward_tokens
        drawn = subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(given, strength))
        costs.append(subject.meter.forward_tokens - before)
        with torch.no_grad():
            kept = LatentSpace(subject.parts.vae).decode(subject.latents(given))
        errors.append(float((drawn - kept).square().mean()))
    before = subject.meter.forward_tokens
    subject.generate(PROMPTS[:2], SEEDS)
    assert errors[0] < errors[2]
    assert costs[0] < costs[1] < costs[2] == subject.meter.forward_tokens - before


@each_layout
def test_batches_change_nothing(layout, folders):
    given = pictures(opened(folders[layout]))
    redrawing = Redrawing(given, 0.5, right_half(given))
    together, alone = (
        opened(folders[layout], **budget).generate(PROMPTS[:2], SEEDS, redrawing=redrawing)
        for budget in ({}, {"token_budget": 1})
    )
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


def test_each_image_needs_its_picture(folders):
    subject = opened(folders["pixel"])
    with pytest.raises(ValueError, match="1 pictures to redraw for 2"):
        subject.generate(PROMPTS[:2], SEEDS, redrawing=Redrawing(pictures(subject, 1), 0.5))
