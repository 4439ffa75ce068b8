import copy

import pytest
import torch
from diffusers import PNDMScheduler
from tiny_unets import LENGTH, WIDTH, Listening, random_prompt, tiny_unet

from auditor.models.preserve import weights_digest
from auditor.unlearning.erasure import EncodedPrompt, esd, load_weights, parameter_names
from auditor.unlearning.erasure.denoising import half_drawn, predicted_noise
from auditor.unlearning.erasure.esd import erased_target
from auditor.unlearning.erasure.settings import (
    ESD_X_TESTBED,
    EsdSettings,
)

CONCEPT, EMPTY = random_prompt(1), random_prompt(2, range(1))

# One timestep, so that the only random things are the timestep's noise and the batch.
ONE_STEP = EsdSettings(denoising_steps=1, iterations=1, batch_size=2, learning_rate=1e-3)


def test_the_target_by_hand():
    unconditional, conditional = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    # e - eta (e_c - e) with e = (1, 2), e_c - e = (2, -4).
    assert erased_target(unconditional, conditional, 1.0).tolist() == [-1.0, 6.0]
    assert erased_target(unconditional, conditional, 0.0).tolist() == [1.0, 2.0]
    assert erased_target(unconditional, conditional, 3.0).tolist() == [-5.0, 14.0]


@pytest.mark.parametrize("later", [2.0, 1.0, 3.5])
def test_the_later_convention_is_one_more(later):
    unconditional, conditional = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    as_released = conditional - later * (conditional - unconditional)
    assert torch.allclose(erased_target(unconditional, conditional, later - 1), as_released)


def first_loss(unet, scheduler, **changes):
    heard = Listening()
    esd(unet, scheduler, [CONCEPT], EMPTY, ONE_STEP.model_copy(update=changes), 3, heard)
    return heard.losses[0]


def test_the_first_loss_is_that_of_the_formula(unet, scheduler):
    # Student and original are the same at first: the loss is (1 + eta)^2 |e_c - e|^2 / n.
    draws = torch.Generator().manual_seed(3)
    torch.randint(1, (2,), generator=draws)
    torch.randint(1, (), generator=draws)
    images = torch.randn(2, 3, 8, 8, generator=draws)
    scheduler.set_timesteps(1)
    timestep = scheduler.timesteps[0]
    with torch.no_grad():
        conditional, unconditional = (
            unet(images, timestep, prompt.states.expand(2, LENGTH, WIDTH)).sample
            for prompt in (CONCEPT, EMPTY)
        )
    apart = float((conditional - unconditional).square().mean())
    assert apart > 1e-6
    for guidance in (1.0, 0.0, 3.0):
        loss = first_loss(unet, scheduler, negative_guidance=guidance)
        assert loss == pytest.approx(
            (1 + guidance) ** 2 * apart, rel=0.006
        )  # noted in three digits


def test_a_target_that_is_the_prediction_asks_for_nothing(unet, scheduler):
    # eta = -1 asks for what the original says under the concept.
    assert first_loss(unet, scheduler, negative_guidance=-1.0) < 1e-10


@pytest.mark.parametrize("group", ["x", "x-strict", "u"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_the_group_alone_is_trained(unet, scheduler, group, optimizer):
    before = weights_digest(unet)
    settings = ONE_STEP.model_copy(update={"group": group, "optimizer": optimizer})
    trained = esd(unet, scheduler, [CONCEPT], EMPTY, settings)
    assert set(trained) == set(parameter_names(unet, group))
    assert weights_digest(unet) == before
    assert not any(tensor.requires_grad for tensor in trained.values())
    assert all(parameter.requires_grad for parameter in unet.parameters())
    state = unet.state_dict()
    moved = [name for name, tensor in trained.items() if not torch.equal(tensor, state[name])]
    assert len(moved) == len(trained)


@pytest.mark.parametrize(("group", "rate"), [("x", 3e-3), ("u", 1e-4)])
def test_the_loss_falls(unet, scheduler, group, rate):
    heard = Listening()
    settings = EsdSettings(
        group=group,
        iterations=40,
        batch_size=4,
        learning_rate=rate,
        denoising_steps=4,
        guidance=1.0,
    )
    trained = esd(unet, scheduler, [CONCEPT], EMPTY, settings, progress=heard)
    assert sum(heard.losses[-8:]) < 0.5 * sum(heard.losses[:8])
    # On noise it was not trained on, the erased model is nearer to the target than the original.
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    timestep = torch.tensor(500)
    with torch.no_grad():
        unasked, asked = (
            predicted_noise(unet, images, timestep, [prompt] * 16) for prompt in (EMPTY, CONCEPT)
        )
        target = erased_target(unasked, asked, 1.0)
        load_weights(unet, trained)
        erased = predicted_noise(unet, images, timestep, [CONCEPT] * 16)
    assert (erased - target).square().mean() < 0.5 * (asked - target).square().mean()


def test_the_seed_decides(unet, scheduler):
    settings = ONE_STEP.model_copy(update={"iterations": 2, "denoising_steps": 3})
    first, again, other = (
        esd(unet, scheduler, [CONCEPT, random_prompt(7)], EMPTY, settings, seed)
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_who_draws_makes_a_difference_once_the_student_has_moved(unet, scheduler):
    drawn = {}
    for artist in ("student", "frozen"):
        heard = Listening()
        settings = EsdSettings(
            iterations=6, batch_size=2, learning_rate=0.05, denoising_steps=4, drawn_by=artist
        )
        drawn[artist] = esd(unet, scheduler, [CONCEPT], EMPTY, settings, 1, heard)
    name = next(iter(drawn["student"]))
    assert not torch.equal(drawn["student"][name], drawn["frozen"][name])


def test_a_latent_unet_and_a_scheduler_with_memory(scheduler):
    unet = tiny_unet(in_channels=4, out_channels=4)
    remembering = PNDMScheduler(skip_prk_steps=True)
    settings = ONE_STEP.model_copy(update={"denoising_steps": 6, "iterations": 3})
    trained = esd(unet, remembering, [CONCEPT], EMPTY, settings)
    assert all(tensor.isfinite().all() for tensor in trained.values())
    assert remembering.num_inference_steps is None


def test_the_conditions_of_stable_diffusion_xl(scheduler):
    unet = tiny_unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 10,
    )

    def conditioned(prompt, seed):
        pooled = torch.randn(1, 10, generator=torch.Generator().manual_seed(seed))
        sizes = torch.tensor([[8.0, 8.0, 0.0, 0.0, 8.0, 8.0]])
        return EncodedPrompt(
            prompt.states, prompt.subject, {"text_embeds": pooled, "time_ids": sizes}
        )

    concept, empty = conditioned(CONCEPT, 1), conditioned(EMPTY, 2)
    trained = esd(unet, scheduler, [concept], empty, ONE_STEP)
    assert set(trained) == set(parameter_names(unet, "x"))
    with torch.no_grad():
        images, when = torch.zeros(1, 3, 8, 8), torch.tensor(10)
        one, two = (
            predicted_noise(unet, images, when, [conditioned(CONCEPT, seed)]) for seed in (1, 2)
        )
    assert not torch.allclose(one, two)


def test_half_drawn_images_are_those_of_the_pipeline(pipeline, tokenizer, text_encoder):
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    expected = pipeline(
        prompt_embeds=CONCEPT.states.expand(2, LENGTH, WIDTH),
        negative_prompt_embeds=EMPTY.states.expand(2, LENGTH, WIDTH),
        guidance_scale=3.0,
        num_inference_steps=5,
        latents=noise,
        height=8,
        width=8,
        output_type="latent",
    ).images
    scheduler = copy.deepcopy(pipeline.scheduler)
    scheduler.set_timesteps(5)
    prompts = [CONCEPT, CONCEPT]
    draws = torch.Generator().manual_seed(4)
    drawn = half_drawn(pipeline.unet, scheduler, prompts, EMPTY, 5, 3.0, draws)
    assert torch.allclose(drawn, expected, atol=1e-4)
    first = half_drawn(
        pipeline.unet, scheduler, prompts, EMPTY, 0, 3.0, torch.Generator().manual_seed(4)
    )
    assert torch.equal(first, noise)


def test_no_concept_is_refused(unet, scheduler):
    with pytest.raises(ValueError, match="nothing to erase"):
        esd(unet, scheduler, [], EMPTY)


def test_the_published_settings():
    settings = EsdSettings()
    assert (settings.iterations, settings.learning_rate, settings.negative_guidance) == (
        1000,
        1e-5,
        1.0,
    )
    assert (ESD_X_TESTBED.iterations, ESD_X_TESTBED.batch_size) == (150, 8)
