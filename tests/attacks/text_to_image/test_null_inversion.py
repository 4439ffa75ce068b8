"""Inversion without text: the way there and back, and the check of what it is worth."""

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import FLOWS, LAYOUTS, UNETS, open_pipeline

from attacks.generation.ddim_inversion import (
    inverted,
    regenerated,
    schedules,
    through_noise,
    without_text,
)
from attacks.generation.null_inversion import NullInversion, NullInversionParameters, separation
from attacks.prompting.concepts.noise_matching import image_shape
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.hashing import canonical_json
from auditor.models.preserve import weights_digest
from auditor.models.text_to_image.denoising import add_noise
from auditor.models.text_to_image.forward_process import DiffusionProcess
from auditor.testbeds.shapes.attack_settings import SETTINGS

SIGNAL = torch.tensor([0.97, 0.9, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1])
"""Of eight timesteps, of which four steps take the second, fourth, sixth and eighth."""
PROCESS = DiffusionProcess(SIGNAL, "epsilon")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_timesteps_are_those_of_stable_diffusion():
    up, down = schedules(DiffusionProcess(torch.linspace(0.99, 0.01, 1000), "epsilon"), 50)
    assert up.timesteps.tolist() == list(range(1, 1000, 20))
    assert down.timesteps.tolist() == up.timesteps.flip(0).tolist()
    with pytest.raises(ValueError, match="twice"):
        schedules(DiffusionProcess(torch.linspace(0.9, 0.1, 10), "epsilon"), 6)


def test_a_step_by_the_noise_that_was_added_leads_to_what_it_was_added_to():
    clean, noise = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    noisy = [add_noise(clean, noise, SIGNAL[t].expand(2)) for t in (1, 3, 5, 7)]
    up, down = schedules(PROCESS, 4)
    for timestep, before, after in zip((1, 3, 5, 7), [clean, *noisy], noisy, strict=False):
        torch.testing.assert_close(up.step(noise, timestep, before).prev_sample, after)
        torch.testing.assert_close(down.step(noise, timestep, after).prev_sample, before)


def nonlinear(sample, timestep):
    return torch.tanh(sample * (0.25 + 0.05 * timestep))


def test_refined_inversion_undoes_sampling_and_plain_inversion_does_not():
    """Samples of a known noise: its inversion must give that very noise back."""
    noise = normal(3, 2, 4, 4)
    up, down = schedules(PROCESS, 4)
    sample = regenerated(noise, nonlinear, down)
    plain, gap = inverted(sample, nonlinear, up, 0)
    assert (plain - noise).abs().max() > 0.02
    assert (gap == 0).all()
    errors, gaps = [], []
    for refinements in (1, 4, 16):
        refined, gap = inverted(sample, nonlinear, up, refinements)
        errors.append(float((refined - noise).abs().max()))
        gaps.append(float(gap.max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4
    assert gaps[0] > gaps[1] > gaps[2]


def test_a_linear_step_is_worked_out_by_hand():
    """One step of ε = c x: x' = A x + B c x', so x' = A x / (1 - B c)."""
    up, down = schedules(DiffusionProcess(torch.tensor([0.8, 0.5]), "epsilon"), 1)
    signal, c = 0.5, 0.4
    clean = normal(1, 1, 2, 2)
    by_hand = signal**0.5 * clean / (1 - (1 - signal) ** 0.5 * c)
    noise, _ = inverted(clean, lambda sample, _: c * sample, up, 60)
    torch.testing.assert_close(noise, by_hand)
    torch.testing.assert_close(regenerated(noise, lambda sample, _: c * sample, down), clean)


@pytest.mark.parametrize("layout", FLOWS)
def test_regeneration_of_a_flow_is_the_librarys_euler(layout, subjects):
    """From the same levels, the last of which the library itself takes to no noise."""
    subject = subjects[layout]
    down = schedules(subject.process, 4)[1]
    levels = [float(subject.process.sigmas[time]) for time in down.timesteps]
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=levels)
    start = normal(2, *subject.input_shape)
    with torch.no_grad():
        predict = without_text(subject, 2)
        found = regenerated(start, predict, down)
        sample = start
        for time, told in zip(down.timesteps.tolist(), scheduler.timesteps, strict=True):
            sample = scheduler.step(predict(sample, time), told, sample).prev_sample
    torch.testing.assert_close(found, sample, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", UNETS)
def test_regeneration_is_the_librarys_deterministic_sampling(layout, subjects):
    """Also for a UNet that predicts v (the layout sd2), whose output the scheduler converts."""
    subject = subjects[layout]
    config = dict(subject.parts.scheduler.config)
    kept = {k: config[k] for k in ("beta_start", "beta_end", "beta_schedule", "prediction_type")}
    scheduler = DDIMScheduler(**kept, steps_offset=1, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(5)
    start = normal(2, *subject.input_shape)
    with torch.no_grad():
        predict = without_text(subject, 2)
        found = regenerated(start, predict, schedules(subject.process, 5)[1])
        sample = start
        for timestep in scheduler.timesteps:
            noise = predict(sample, int(timestep))
            signal = subject.process.signal[timestep]
            clean = (sample - (1 - signal).sqrt() * noise) / signal.sqrt()
            v = signal.sqrt() * noise - (1 - signal).sqrt() * clean
            output = v if kept["prediction_type"] == "v_prediction" else noise
            sample = scheduler.step(output, timestep, sample, eta=0.0).prev_sample
    torch.testing.assert_close(found, sample, rtol=1e-3, atol=1e-3)


def test_sdxl_is_asked_with_the_zeros_that_it_was_trained_with(subjects):
    """Written out with the UNet itself."""
    subject = subjects["sdxl"]
    noisy = normal(2, *subject.input_shape)
    with torch.no_grad():
        found = without_text(subject, 2)(noisy, 300)
        wanted = subject.denoiser(
            noisy,
            300,
            encoder_hidden_states=torch.zeros(2, 12, 48),
            added_cond_kwargs={
                "text_embeds": torch.zeros(2, 8),
                "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2),
            },
        ).sample
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_model_drew_is_taken_back_to_its_noise(layout, subjects):
    subject = subjects[layout]
    up, down = schedules(subject.process, 4)
    start = normal(2, *subject.input_shape)
    with torch.no_grad():
        predict = without_text(subject, 2)
        drawn = regenerated(start, predict, down)
        errors = [
            float((inverted(drawn, predict, up, n)[0] - start).square().mean()) for n in (0, 12)
        ]
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_runs_on_every_layout_and_leaves_nothing_behind(layout, subjects, evaluator, tmp_path):
    subject = subjects[layout]
    digest, before = weights_digest(subject.network), subject.meter.forward_tokens
    attack = NullInversion(NullInversionParameters(steps=3, refinements=2))
    record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert weights_digest(subject.network) == digest
    assert [row.fact for row in record.rows] == [fact.id for fact in evaluator.sets.forget]
    assert subject.meter.forward_tokens - before == 3 * 3 * (2 + 2)
    given = evaluator.images(evaluator.sets.forget, image_shape(subject))
    back, _ = through_noise(subject, given, 3, 2)
    assert record.notes["error"]["mean"] == pytest.approx(float((back - given).square().mean()))
    names = {figure.name for figure in attack.side_figures({"unlearned": record.notes})}
    assert names == {"attack_success_rate", "reconstruction_error"}
    canonical_json(record.notes)


def test_batches_change_nothing(pipelines, subjects, evaluator):
    given = evaluator.images(evaluator.sets.forget, (8, 8))
    whole = through_noise(subjects["pixel"], given, 3, 1)
    single = through_noise(open_pipeline(pipelines / "pixel", token_budget=1), given, 3, 1)
    for one, other in zip(whole, single, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_needs_pictures_and_timesteps(subjects, tmp_path):
    asked = image_evaluator(tmp_path, pictures=False)
    with pytest.raises(UnavailableError, match=r"data\.images"):
        NullInversion(NullInversionParameters()).measure(
            subjects["pixel"], AttackContext(asked, 0, tmp_path)
        )
    with pytest.raises(UnavailableError, match="1000 timesteps"):
        NullInversion(NullInversionParameters(steps=501)).measure(
            subjects["pixel"], AttackContext(asked, 0, tmp_path)
        )


def noted(found, pictures=50):
    return {"pictures": pictures, "pictures_with_concept": found}


def test_it_says_whether_it_tells_models_apart():
    """50 of 50 against 50 of 50 says nothing; against 5 and 30 of 50 the intervals are apart."""
    (check,) = separation(
        {"original": noted(50), "retrained-0": noted(2), "retrained-1": noted(50)}
    )
    assert not check.passed
    assert check.params["arm"] == "retrained-1"
    assert check.params["retrained"] == [50, 50]
    (check,) = separation(
        {"original": noted(50), "retrained-0": noted(5), "retrained-1": noted(30)}
    )
    assert check.passed
    (check,) = separation({"original": noted(30), "retrained-0": noted(25)})
    assert not check.passed
    assert separation({"original": noted(50), "unlearned": noted(50)}) == ()
    assert not NullInversion.decides


@pytest.mark.slow
@pytest.mark.nightly
def test_circles_come_back_from_a_model_that_never_saw_one(shapes_world, tmp_path):
    """So the attack's self-check fails, and nobody takes the success on U for evidence."""
    evaluator = shapes_examiner(shapes_world, 24)
    attack = NullInversion(NullInversionParameters(**SETTINGS["generation/null-inversion"][0]))
    notes = {
        name: attack.measure(
            open_shapes(shapes_world, name), AttackContext(evaluator, 0, tmp_path)
        ).notes
        for name in ("original", "retrained-0")
    }
    assert min(noted["pictures_with_concept"] for noted in notes.values()) >= 22
    (check,) = attack.self_checks(notes)
    assert not check.passed
