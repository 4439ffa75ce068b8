"""The noise that is added to pictures, and the error of what is predicted of it."""

import pytest
import torch
from tiny_pipelines import FLOWS, PROMPTS, UNETS, make_pipeline, open_pipeline

from attacks.prompting.concepts.noise_matching import (
    clean_inputs,
    denoising_loss,
    gradient,
    half_scale,
    image_shape,
    noised,
    squared_error,
)
from auditor.core.errors import MeasurementError


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_first_timestep_has_noise_in_half_types(dtype, pipelines):
    subject = open_pipeline(pipelines / "sd1", dtype=dtype)
    clean = torch.zeros(2, *subject.input_shape, dtype=getattr(torch, dtype))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = noised(subject, clean, torch.tensor([0, 500]), noise)
    assert noisy.dtype == clean.dtype
    for row, timestep in enumerate((0, 500)):
        deviation = float((1 - subject.process.signal[timestep]).sqrt())
        torch.testing.assert_close(noisy[row].float(), deviation * noise[row], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("layout", FLOWS)
def test_the_loss_of_a_flow_is_that_of_its_definition(layout, subjects):
    """Straight lines from pictures to noise, at the levels of the pipeline's scheduler."""
    subject = subjects[layout]
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 3, 16, 16, generator=generator)
    noise = torch.randn(3, *subject.input_shape, generator=generator)
    timesteps, text = torch.tensor([10, 500, 980]), subject.text(PROMPTS[:3])
    with torch.no_grad():
        loss = denoising_loss(subject, clean_inputs(subject, images, 2), timesteps, noise, text)
        vae = make_pipeline(layout).vae
        latents = vae.encode(images * 2 - 1).latent_dist.mode()
        clean = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        levels = make_pipeline(layout).scheduler.sigmas.flip(0)[timesteps].view(-1, 1, 1, 1)
        seen = subject.predict((1 - levels) * clean + levels * noise, timesteps, text)
    wanted = (seen - (noise - clean)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layout", UNETS)
def test_the_denoising_loss_is_that_of_its_definition(layout, subjects, pipelines):
    """Written out with the deployer's own pipeline, one image at a time."""
    subject, pipeline = open_pipeline(pipelines / layout), make_pipeline(layout)
    generator = torch.Generator().manual_seed(1)
    side = 8 if layout == "pixel" else 16
    images = torch.rand(3, 3, side, side, generator=generator)
    noise = torch.randn(3, *subject.input_shape, generator=generator)
    timesteps = torch.tensor([10, 500, 980])
    text = subject.text(PROMPTS[:3])
    embeddings = text.hidden.requires_grad_()
    batch = subject, clean_inputs(subject, images, 2), timesteps, noise
    loss = denoising_loss(*batch, text)
    assert loss.shape == (3,)
    assert loss.requires_grad
    assert torch.equal(denoising_loss(*batch, subject.text(PROMPTS[:3])), loss)
    for i in range(3):
        clean = images[i : i + 1] * 2 - 1
        if layout != "pixel":
            latents = pipeline.vae.encode(clean).latent_dist.mode()
            clean = latents * pipeline.vae.config.scaling_factor
        alpha = pipeline.scheduler.alphas_cumprod[timesteps[i]]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise[i : i + 1]
        added = None
        if layout == "sdxl":
            pooled = pipeline.encode_prompt(PROMPTS[i], device="cpu", num_images_per_prompt=1)[2]
            size = torch.tensor([[16.0, 16, 0, 0, 16, 16]])
            added = {"text_embeds": pooled, "time_ids": size}
        output = pipeline.unet(
            noisy, timesteps[i], embeddings[i : i + 1], added_cond_kwargs=added
        ).sample
        target = noise[i : i + 1]
        if layout == "sd2":  # v of the true noise and image differs by this much
            target = alpha.sqrt() * target - (1 - alpha).sqrt() * clean
            error = (output - target).square().mean() * alpha
        else:
            error = (output - target).square().mean()
        torch.testing.assert_close(loss[i], error, rtol=1e-3, atol=1e-6)


def test_an_error_that_is_not_finite_is_not_measured():
    with pytest.raises(MeasurementError, match="not finite"):
        squared_error(torch.full((1, 2, 2, 2), torch.nan), torch.zeros(1, 2, 2, 2))


def test_small_gradients_live_through_float16():
    """2^-30 is zero in float16, 2^-20 is not."""
    given = torch.ones(1, requires_grad=True)
    for dtype, wanted in ((torch.float16, 2.0**-30), (torch.float32, 2.0**-30)):
        loss = (given.to(dtype) * 2.0**-15).float().sum() * 2.0**-15
        assert float(gradient(loss, given, dtype)) == wanted
    assert half_scale(torch.bfloat16) == 1


def test_an_image_is_as_large_as_what_is_drawn(pipelines):
    subject = open_pipeline(pipelines / "sd1")
    assert image_shape(subject) == tuple(subject.generate(["a"], [1]).shape[2:])
