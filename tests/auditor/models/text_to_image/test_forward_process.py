"""Noise of training: on the way from pictures to noise, for diffusion and for flows."""

import pytest
import torch
from tiny_pipelines import FLOWS, LAYOUTS, PROMPTS, make_pipeline, open_pipeline, sampling

from auditor.models.text_to_image.forward_process import DiffusionProcess, FlowProcess

TIMES = torch.tensor([0, 400, 999])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_noise_grows_with_the_timestep_and_a_true_prediction_leads_anywhere(layout, subjects):
    """A step by the target goes to what the same noise makes of the picture there."""
    process = subjects[layout].process
    assert isinstance(process, FlowProcess if layout in FLOWS else DiffusionProcess)
    assert process.timesteps == 1000
    clean, noise = normal(3, 4, 8, 8), normal(3, 4, 8, 8, seed=1)
    noisy = process.noised(clean, noise, TIMES)
    far = (noisy - clean).square().mean(dim=(1, 2, 3))
    assert far[0] < far[1] < far[2]
    target = process.target(clean, noise)
    for now, then in ((0, 400), (400, 0)):
        start, end = (process.noised(clean, noise, torch.full((3,), t)) for t in (now, then))
        moved = process.moved(start, target, now, then)
        torch.testing.assert_close(moved, end, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", FLOWS)
def test_levels_of_a_flow_are_its_schedulers(layout, subjects):
    """Against diffusers' own noising for training."""
    process, scheduler = subjects[layout].process, make_pipeline(layout).scheduler
    clean, noise = normal(3, 4, 8, 8), normal(3, 4, 8, 8, seed=1)
    wanted = scheduler.scale_noise(clean, scheduler.timesteps.flip(0)[TIMES], noise)
    torch.testing.assert_close(process.noised(clean, noise, TIMES), wanted)
    torch.testing.assert_close(process.told(TIMES), scheduler.timesteps.flip(0)[TIMES])


@pytest.mark.parametrize("layout", FLOWS)
def test_what_a_flow_predicts_is_what_its_transformer_says(layout, subjects):
    """Written out with the transformer of the deployer's own pipeline."""
    subject, pipeline = subjects[layout], make_pipeline(layout)
    noisy, times, text = normal(2, *subject.input_shape), TIMES[1:], subject.text(PROMPTS[:2])
    with torch.no_grad():
        found = subject.predict(noisy, times, text)
        told = subject.process.told(times)
        shared = {"encoder_hidden_states": text.hidden, "pooled_projections": text.pooled}
        if layout == "sd3":
            wanted = pipeline.transformer(noisy, timestep=told, **shared).sample
        else:
            side = noisy.shape[-1]
            packed = pipeline._pack_latents(noisy, 2, 4, side, side)
            ids = pipeline._prepare_latent_image_ids(2, side // 2, side // 2, "cpu", noisy.dtype)
            output = pipeline.transformer(
                packed,
                timestep=told / 1000,
                guidance=torch.full((2,), 2.0),
                img_ids=ids,
                txt_ids=torch.zeros(text.hidden.shape[1], 3),
                **shared,
            ).sample
            wanted = pipeline._unpack_latents(output, 16, 16, pipeline.vae_scale_factor)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_flow_that_is_told_guidance_draws_once_and_heeds_it(folders):
    """Others draw twice, as with a negative prompt that says nothing."""
    rows, drawn = {}, {}
    for layout in FLOWS:
        for guidance in (1.0, 5.0):
            settings = sampling(folders[layout]) | {"guidance": guidance}
            subject = open_pipeline(folders[layout], sampling=settings)
            drawn[layout, guidance] = subject.generate(PROMPTS[:1], [3])
            rows[layout, guidance] = subject.meter.forward_tokens
        assert (drawn[layout, 1.0] - drawn[layout, 5.0]).abs().max() > 1e-4
    assert rows == {("sd3", 1.0): 3, ("sd3", 5.0): 6, ("flux", 1.0): 3, ("flux", 5.0): 3}


def test_the_text_length_decides_what_t5_is_given(folders):
    lengths = {
        given: open_pipeline(
            folders["flux"], sampling=sampling(folders["flux"]) | {"text_length": given}
        )
        .encode(["a"])
        .shape[1]
        for given in (6, None)
    }
    assert lengths == {6: 6, None: 512}
