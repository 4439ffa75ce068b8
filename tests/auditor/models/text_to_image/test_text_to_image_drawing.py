"""What is drawn is what a deployer's pipeline draws, whatever is drawn beside it."""

import shutil

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pipelines import (
    FLOWS,
    LAYOUTS,
    PROMPTS,
    SAMPLING,
    T5_LENGTH,
    edit_json,
    open_pipeline,
)

from auditor.core.errors import AuditorError, MeasurementError
from auditor.models.opening import check_unopenable
from auditor.models.text_to_image.denoising import add_noise, as_noise
from auditor.testbeds.shapes import network, text

SEEDS = [5, 6, 7, 5]
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def deployed(pipeline, prompts, seeds, **options):
    """Images of the library's own pipeline, one at a time."""
    options = {
        "num_inference_steps": SAMPLING["steps"],
        "guidance_scale": SAMPLING["guidance"],
        "output_type": "pt",
    } | options
    if hasattr(pipeline, "transformer"):
        options |= {"max_sequence_length": T5_LENGTH, "height": 16, "width": 16}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.cat(
        [
            pipeline(prompt=prompt, generator=[generator], **options).images
            for prompt, generator in zip(prompts, generators, strict=True)
        ]
    )


def alike(images, expected):
    torch.testing.assert_close(images, expected, atol=2e-5, rtol=0)


@each_layout
def test_images_are_those_of_the_deployed_pipeline(layout, subjects, pipelines):
    images = subjects[layout].generate(PROMPTS, SEEDS)
    side = 8 if layout == "pixel" else 16
    assert images.shape == (len(PROMPTS), 3, side, side)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    alike(images, deployed(pipelines[layout], PROMPTS, SEEDS))


def test_a_model_of_the_testbed_draws_what_its_pipeline_does(tmp_path):
    torch.manual_seed(0)
    recipe = network.NetworkRecipe(channels=(8, 16), text_width=16)
    (tmp_path / "words").mkdir()
    tokenizer = text.write_tokenizer(tmp_path / "words", text.vocabulary())
    pipeline = network.untrained(tokenizer, recipe)
    pipeline.set_progress_bar_config(disable=True)
    network.save(pipeline, tmp_path / "original")
    subject = open_pipeline(tmp_path / "original")
    check_unopenable(subject.spec, subject.location)
    prompts = ["a red circle", "a blue disc on a table"]
    alike(subject.generate(prompts, [1, 2]), deployed(pipeline, prompts, [1, 2]))


def test_images_have_the_wanted_size_and_guidance(folders, pipelines):
    sampling = {"steps": 2, "guidance": 1, "height": 8, "width": 24}
    images = open_pipeline(folders["sdxl"], sampling=sampling).generate(PROMPTS[:1], [3])
    assert images.shape == (1, 3, 8, 24)
    options = {"num_inference_steps": 2, "guidance_scale": 1, "height": 8, "width": 24}
    alike(images, deployed(pipelines["sdxl"], PROMPTS[:1], [3], **options))


@each_layout
def test_an_image_depends_on_its_prompt_and_seed_alone(layout, folders, subjects):
    together = subjects[layout].generate(PROMPTS, SEEDS)
    one_by_one = open_pipeline(folders[layout], token_budget=1).generate(PROMPTS, SEEDS)
    alike(one_by_one, together)
    order = [2, 0, 3, 1]
    shuffled = subjects[layout].generate([PROMPTS[i] for i in order], [SEEDS[i] for i in order])
    alike(shuffled, together[order])
    others = subjects[layout].generate(["zzz", PROMPTS[1], "yyy"], [1, SEEDS[1], 2])
    alike(others[1], together[1])
    assert (together[0] - together[3]).abs().max() > 1e-3  # another prompt, the same seed
    assert torch.equal(subjects[layout].generate(PROMPTS, SEEDS), together)


def test_noise_on_the_way_comes_from_the_images_own_seed(sd1):
    """An ancestral scheduler draws at each step."""
    DDPMScheduler().save_pretrained(sd1 / "scheduler")
    edit_json(sd1 / "model_index.json", scheduler=["diffusers", "DDPMScheduler"])
    torch.manual_seed(0)
    together = open_pipeline(sd1).generate(PROMPTS[:3], [5, 6, 5])
    torch.manual_seed(1)
    alike(open_pipeline(sd1, token_budget=1).generate(PROMPTS[:3], [5, 6, 5]), together)


@each_layout
def test_given_embeddings_draw_what_their_prompts_do(layout, subjects):
    subject = subjects[layout]
    embeddings = subject.encode(PROMPTS)
    config = subject.denoiser.config
    length = {"sd3": 12 + T5_LENGTH, "flux": T5_LENGTH}.get(layout, 12)
    width = config.joint_attention_dim if layout in FLOWS else config.cross_attention_dim
    assert embeddings.shape == (4, length, width)
    alike(
        subject.generate(None, SEEDS, embeddings=subject.text(PROMPTS)),
        subject.generate(PROMPTS, SEEDS),
    )
    alike(subject.generate(PROMPTS, SEEDS, embeddings=embeddings), subject.generate(PROMPTS, SEEDS))
    if layout not in ("sdxl", *FLOWS):  # whose pooled text would be that of the empty prompt
        alike(
            subject.generate(None, SEEDS, embeddings=embeddings), subject.generate(PROMPTS, SEEDS)
        )


def test_embeddings_equal_those_of_diffusers(subjects, pipelines):
    for layout in ("sd1", "sdxl"):
        expected = pipelines[layout].encode_prompt(
            PROMPTS[0], device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
        torch.testing.assert_close(subjects[layout].encode(PROMPTS)[:1], expected)


@pytest.mark.parametrize("zeros", [True, False, None])
def test_sdxl_without_text_gets_zeros_where_its_pipeline_says_so(zeros, folders, tmp_path):
    folder = shutil.copytree(folders["sdxl"], tmp_path / "sdxl")
    edit_json(folder / "model_index.json", force_zeros_for_empty_prompt=zeros)
    subject = open_pipeline(folder)
    empty, prompt = subject.empty_text(), subject.text([""])
    for found, plain in ((empty.hidden, prompt.hidden), (empty.pooled, prompt.pooled)):
        assert plain.abs().max() > 0
        torch.testing.assert_close(found, plain if zeros is False else torch.zeros_like(plain))


def test_stable_diffusion_without_text_gets_the_empty_prompt(subjects):
    empty = subjects["sd1"].empty_text()
    assert torch.equal(empty.hidden, subjects["sd1"].encode([""]))
    assert empty.pooled is None


def test_nothing_asked_nothing_drawn(subjects):
    assert subjects["sd1"].generate([], []).shape == (0, 3, 16, 16)
    with pytest.raises(ValueError, match="2 prompts or embeddings for 1"):
        subjects["sd1"].generate(["a", "b"], [0])
    with pytest.raises(ValueError, match="prompts or embeddings"):
        subjects["sd1"].generate(None, [0])


def test_the_meter_counts_rows_through_the_unet(folders):
    subject = open_pipeline(folders["pixel"])
    subject.generate(PROMPTS, SEEDS)
    assert subject.meter.forward_tokens == 3 * 4 * 2  # steps, images, with and without text
    plain = open_pipeline(folders["pixel"], sampling={"steps": 5, "guidance": 1})
    plain.generate(PROMPTS, SEEDS)
    assert plain.meter.forward_tokens == 5 * 4
    before = plain.meter.forward_tokens
    batch = (torch.rand(2, 3, 8, 8), torch.tensor([3, 5]), plain.encode(PROMPTS[:2]))
    plain.predict(*batch)
    assert plain.meter.forward_tokens == before + 2 * 3
    with torch.no_grad():
        plain.predict(*batch)
    assert plain.meter.forward_tokens == before + 2 * 3 + 2


def test_a_batch_that_does_not_fit_is_halved(folders, subjects):
    subject = open_pipeline(folders["sd1"])
    sizes = []

    def limited(module, args, kwargs):
        sizes.append(len(args[0]))
        if len(args[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = subject.denoiser.register_forward_pre_hook(limited, with_kwargs=True)
    images = subject.generate(PROMPTS, SEEDS)
    handle.remove()
    assert sizes[0] == 8
    assert set(sizes[1:]) == {4}
    alike(images, subjects["sd1"].generate(PROMPTS, SEEDS))


def test_an_image_that_is_not_finite_is_not_measured(folders):
    subject = open_pipeline(folders["sd1"])
    with subject.preserve_weights():
        with torch.no_grad():
            subject.denoiser.conv_out.bias.fill_(torch.nan)
        with pytest.raises(MeasurementError, match="not finite"):
            subject.generate(PROMPTS[:1], [0])


def test_gradients_reach_embeddings_and_the_weights_that_ask_for_them(folders):
    subject = open_pipeline(folders["pixel"])
    embeddings = subject.encode(PROMPTS[:2]).requires_grad_()
    noisy = torch.randn(2, 3, 8, 8)
    with subject.preserve_weights():
        subject.denoiser.conv_in.requires_grad_(True)
        subject.predict(noisy, torch.tensor([10, 90]), embeddings).sum().backward()
        assert embeddings.grad.abs().sum() > 0
        assert subject.denoiser.conv_in.weight.grad.abs().sum() > 0
        assert subject.denoiser.conv_out.weight.grad is None
    assert subject.denoiser.conv_in.weight.grad is None


def test_a_search_for_embeddings_keeps_nothing_for_gradients_of_weights(folders):
    """What comes before the text in the UNet is not kept, and no weight gathers gradients."""
    subject = open_pipeline(folders["sd1"])
    networks = (subject.network, subject.parts.vae)
    assert not any(p.requires_grad for network in networks for p in network.parameters())
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    def predict():
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            embeddings = subject.encode(PROMPTS[:2]).requires_grad_()
            subject.predict(noisy, torch.tensor([10, 90]), embeddings)
        return sum(kept)

    noisy = torch.randn(2, 4, 8, 8)
    as_opened = predict()
    with subject.preserve_weights():
        subject.denoiser.requires_grad_(True)
        assert 0 < as_opened < 0.8 * predict()


@settings(deadline=None, max_examples=40)
@given(signal=st.floats(0.01, 0.99), seed=st.integers(0, 2**16))
def test_each_kind_of_prediction_stands_for_the_same_noise(signal, seed):
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 1, 2, 3, 3, generator=generator, dtype=torch.float64)
    kept = torch.tensor([signal], dtype=torch.float64)
    noisy = add_noise(clean, noise, kept)
    outputs = {
        "epsilon": noise,
        "sample": clean,
        "v_prediction": kept.sqrt() * noise - (1 - kept).sqrt() * clean,
    }
    for kind, output in outputs.items():
        torch.testing.assert_close(as_noise(output, noisy, kept, kind), noise)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_least_noise_is_not_lost_in_half_types(dtype):
    """ᾱ of Stable Diffusion's first timestep is 0.99915, which bfloat16 rounds to 1."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=generator).to(dtype)
    signal = torch.tensor([0.99915])
    deviation = float((1 - signal).sqrt())
    added = add_noise(torch.zeros_like(clean), noise, signal)
    torch.testing.assert_close(added, (deviation * noise.float()).to(dtype), rtol=0.02, atol=1e-3)
    noisy = add_noise(clean, noise, signal)
    assert noisy.dtype == dtype
    assert as_noise(clean, noisy, signal, "sample").isfinite().all()
    seen = as_noise(torch.zeros_like(clean), noise, signal, "v_prediction")
    torch.testing.assert_close(seen, (deviation * noise.float()).to(dtype), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_pipeline_in_bfloat16_sees_its_first_noise_as_one_in_float32_does(kind, sd1):
    edit_json(sd1 / "scheduler" / "scheduler_config.json", prediction_type=kind)
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = {}
    for dtype in ("bfloat16", "float32"):
        subject = open_pipeline(sd1, dtype=dtype)
        with torch.no_grad():
            embeddings = subject.encode(PROMPTS[:2])
            seen[dtype] = subject.predict(noisy, torch.tensor([0, 0]), embeddings).float()
    error = (seen["bfloat16"] - seen["float32"]).square().mean().sqrt()
    assert error < 0.05 * seen["float32"].square().mean().sqrt()


def test_a_size_that_the_autoencoder_cannot_make_is_refused(folders):
    with pytest.raises(AuditorError, match="height of an image must be a multiple of 2"):
        open_pipeline(folders["sd1"], sampling={"height": 15}).generate(["a"], [0])
