"""Membership of pictures: the scores by hand, a model that memorised, and the blind baseline."""

import numpy as np
import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import facts, image_evaluator
from tiny_pipelines import FLOWS, LAYOUTS, open_pipeline

from attacks.membership.blind_baseline import blind_check
from attacks.membership.blind_pictures import blind_baseline, pixel_statistics
from attacks.membership.denoising_loss import (
    DenoisingLoss,
    ImageMembershipParameters,
    denoising_losses,
    t_errors,
)
from attacks.prompting.concepts.noise_matching import denoising_loss
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.hashing import canonical_json
from auditor.data.pictures import find_pictures
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.preserve import weights_digest
from auditor.models.text_to_image.denoising import add_noise, deterministic_step
from auditor.models.text_to_image.evaluator import ImageEvaluator

VARIANTS = [{}, {"text": "prompt"}, {"score": "t-error"}, {"score": "t-error", "text": "prompt"}]


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    """Twelve holdout facts beside the usual ones, each with a picture of noise."""
    folder = tmp_path_factory.mktemp("evaluator")
    holdout = tuple(
        Fact(id=f"new/{i}", entity="new", prompt=f"a new {i}", answer="new") for i in range(12)
    )
    one = image_evaluator(folder)
    for number, fact in enumerate(holdout):
        file = folder / "images" / f"{fact.id}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((folder / "images/orb/0.png").read_bytes())
        if number:
            _noise(file, number)
    sets = facts().model_copy(update={"holdout": holdout})
    return ImageEvaluator(sets, ["concept"], one.classifier, find_pictures(folder / "images", sets))


def _noise(file, seed):
    from PIL import Image

    pixels = torch.randint(
        256, (16, 16, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    Image.fromarray(pixels.numpy()).save(file)


def pictures(count, size=8, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def attack(**more):
    return DenoisingLoss(ImageMembershipParameters(**more))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loss_is_the_mean_over_timesteps_and_noises_of_what_is_worked_out_by_hand(
    layout, subjects
):
    subject = subjects[layout]
    size = 8 if layout == "pixel" else 16
    images, prompts = pictures(2, size), ["a red orb", ""]
    found = denoising_losses(subject, images, prompts, (20, 300), 2)
    noise = torch.randn(4, *subject.input_shape, generator=torch.Generator().manual_seed(0))
    for image, prompt, loss in zip(images, prompts, found, strict=True):
        by_hand = []
        for number, timestep in enumerate((20, 20, 300, 300)):
            at, given = torch.tensor([timestep]), noise[[number]]
            with torch.no_grad():
                clean, wanted = subject.latents(image[None]), given
                if layout in FLOWS:
                    level = subject.parts.scheduler.sigmas.flip(0)[timestep]
                    noisy, wanted = (1 - level) * clean + level * given, given - clean
                else:
                    noisy = add_noise(clean, given, subject.process.signal[at])
                seen = subject.predict(noisy, at, subject.text([prompt]))
            by_hand.append((seen - wanted).square().mean())
        assert float(loss) == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-4)


def test_the_t_error_is_zero_where_the_noise_does_not_change_on_the_way(subjects, monkeypatch):
    """A UNet that always sees the same noise goes back the way it came; another does not."""
    subject = subjects["pixel"]
    images = pictures(2)
    assert (t_errors(subject, images, ["", ""], 100, 10) > 1e-9).all()
    constant = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(subject, "predict", lambda sample, *_: constant.expand_as(sample))
    assert (t_errors(subject, images, ["", ""], 100, 10) < 1e-12).all()


@pytest.mark.parametrize("score", ["loss", "t-error"])
def test_without_text_sdxl_is_asked_with_zeros(score, subjects, evaluator, tmp_path):
    subject = subjects["sdxl"]
    images = evaluator.images(evaluator.sets.forget, (16, 16))[:1]
    record = attack(score=score).measure(subject, AttackContext(evaluator, 0, tmp_path))
    noise = torch.randn(8, *subject.input_shape, generator=torch.Generator().manual_seed(0))
    added = {
        "text_embeds": torch.zeros(1, 8),
        "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]]),
    }

    def seen(noisy, timestep):
        hidden = torch.zeros(1, 12, 48)
        return subject.denoiser(
            noisy, timestep, encoder_hidden_states=hidden, added_cond_kwargs=added
        ).sample

    with torch.no_grad():
        clean = subject.latents(images)
        if score == "loss":
            errors = []
            for number, timestep in enumerate((100, 100, 200, 200, 300, 300, 400, 400)):
                given = noise[[number]]
                noisy = add_noise(clean, given, subject.process.signal[[timestep]])
                errors.append((seen(noisy, timestep) - given).square().mean())
            error = torch.stack(errors).mean()
        else:
            signal = subject.process.signal.tolist()
            sample = clean
            for now in range(0, 100, 10):
                sample = deterministic_step(
                    sample, seen(sample, now), signal[now], signal[now + 10]
                )
            there = deterministic_step(sample, seen(sample, 100), signal[100], signal[110])
            back = deterministic_step(there, seen(there, 110), signal[110], signal[100])
            error = (back - sample).square().mean()
    assert -record.arrays["scores/forget"][0][0] == pytest.approx(float(error), rel=1e-3)


@pytest.mark.parametrize("more", VARIANTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_runs_on_every_layout_and_leaves_nothing_behind(
    layout, more, subjects, evaluator, tmp_path
):
    subject, own = subjects[layout], attack(**more)
    digest, state = weights_digest(subject.network), torch.random.get_rng_state()
    record = own.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert weights_digest(subject.network) == digest
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [(row.set, row.fact, row.metric) for row in record.rows] == [
        ("forget", fact.id, "placement") for fact in evaluator.sets.forget
    ]
    assert (record.notes["forget"], record.notes["holdout"]) == (3, 12)
    again = own.measure(subject, AttackContext(evaluator, 1, tmp_path))
    assert again.rows == record.rows
    canonical_json(record.notes)
    notes = {"unlearned": record.notes, "retrained-0": record.notes}
    assert {curve.of for curve in own.curves(notes)} == set(notes)
    figures = own.side_figures(notes)
    assert ("auc", "retrained-0") in {(figure.name, figure.of) for figure in figures}
    wanted = {"score": record.notes["score"], "set": "holdout"}
    error = next(f for f in figures if (f.of, f.params) == ("unlearned", wanted))
    scores = record.arrays["scores/holdout"][0]
    assert error.value == pytest.approx(-scores.mean())
    assert error.lower < error.value < error.upper


def test_the_same_picture_ties(subjects, evaluator, tmp_path):
    """The first holdout picture is the first forget picture: it counts as half."""
    record = attack().measure(subjects["pixel"], AttackContext(evaluator, 0, tmp_path))
    own, other = record.arrays["scores/forget"][0], record.arrays["scores/holdout"][0]
    assert own[0] == pytest.approx(other[0], rel=1e-5)
    below = (other[1:] < own[0]).sum()
    assert record.rows[0].k * 12 == pytest.approx(below + 0.5, abs=0.51)


def test_batches_change_nothing(pipelines, subjects):
    images, prompts = pictures(3), ["a", "b", "c"]
    single = open_pipeline(pipelines / "pixel", token_budget=1)
    for score in (
        lambda subject: denoising_losses(subject, images, prompts, (10, 200), 2),
        lambda subject: t_errors(subject, images, prompts, 40, 10),
    ):
        torch.testing.assert_close(score(single), score(subjects["pixel"]), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("score", ["loss", "t-error"])
def test_every_picture_and_prompt_is_encoded_once(score, pipelines):
    subject = open_pipeline(pipelines / "sdxl")
    encoded = {"pictures": 0, "prompts": 0, "pooled": 0}

    def count(name):
        def hook(module, inputs, output):
            encoded[name] += len(output.last_hidden_state if name != "pictures" else output)

        return hook

    subject.parts.vae.encoder.register_forward_hook(count("pictures"))
    subject.parts.text_encoders[0].register_forward_hook(count("prompts"))
    subject.parts.text_encoders[1].register_forward_hook(count("pooled"))
    images, prompts = pictures(3, 16), ["a", "b", "c"]
    if score == "loss":
        denoising_losses(subject, images, prompts, (10, 200), 2)
    else:
        t_errors(subject, images, prompts, 40, 10)
    assert encoded == {"pictures": 3, "prompts": 3, "pooled": 3}


def test_a_model_that_memorised_pictures_is_found_out(pipelines):
    """A tiny UNet is fitted to three pictures of noise; others are drawn alike."""
    subject = open_pipeline(pipelines / "pixel")
    seen, unseen = ((pictures(n, seed=n) > 0.5).float() for n in (3, 20))
    draws = torch.Generator().manual_seed(0)
    empty = subject.empty_text().repeated(6)

    def losses():
        found = denoising_losses(subject, torch.cat([seen, unseen]), [""] * 23, (300,), 4)
        return found[:3], found[3:]

    before, others_before = losses()
    assert before.max() > others_before.min()
    optimizer = torch.optim.AdamW(subject.denoiser.requires_grad_(True).parameters(), lr=1e-2)
    for _ in range(100):
        noise = torch.randn(6, 3, 8, 8, generator=draws)
        at = torch.randint(200, 600, (6,), generator=draws)
        clean = subject.latents(seen).repeat(2, 1, 1, 1)
        loss = denoising_loss(subject, clean, at, noise, empty).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after, others_after = losses()
    assert after.max() < 0.7 * others_after.min()


def test_pictures_drawn_alike_are_not_told_apart():
    """Over 20 draws hardly ever: 8 in 100 are told apart by chance, so more than 5 would not be."""
    checks = [
        blind_check(blind_baseline(pictures(40, seed=i), pictures(40, seed=100 + i)))
        for i in range(20)
    ]
    assert sum(check.passed for check in checks) >= 15


@pytest.mark.parametrize(
    "other",
    [
        lambda x: (x + 0.2).clamp(0, 1),
        lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1),
        lambda x: x * torch.tensor([1.0, 0.7, 1.0])[:, None, None],
    ],
    ids=["brighter", "smoother", "another hue"],
)
def test_pictures_that_differ_are_told_apart_and_said_to_confound(other):
    found = blind_baseline(pictures(30), other(pictures(30, seed=1)))
    assert found["value"] > 0.95
    own = attack()
    (check,) = own.self_checks({"unlearned": {"blind": found}, "original": {"blind": found}})
    assert not check.passed
    assert check.params["by"] == "pixel_statistics"


def test_a_baseline_of_one_picture_is_no_pass():
    assert "absent" in blind_baseline(pictures(1), pictures(30))
    assert not blind_check(blind_baseline(pictures(1), pictures(30))).passed


def test_statistics_are_finite_and_the_same_for_a_picture_of_one_colour():
    flat = torch.full((2, 3, 16, 16), 0.25)
    found = pixel_statistics(flat)
    assert found.shape == (2, 3 * 64 + 18)
    assert (found[:, : 3 * 64] == 0.25).all()
    assert (found[:, 3 * 64 + 3 :] == 0).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"timesteps": (5, 1000)}, "timestep 1000"),
        ({"score": "t-error", "t_sec": 995, "interval": 5}, "timestep 1000"),
        ({"score": "t-error", "interval": 30}, "divide"),
    ],
)
def test_it_refuses_timesteps_that_were_never_trained(more, message, subjects, evaluator, tmp_path):
    with pytest.raises(UnavailableError, match=message):
        attack(**more).measure(subjects["pixel"], AttackContext(evaluator, 0, tmp_path))


def test_it_needs_a_holdout_set_with_pictures(subjects, evaluator, tmp_path):
    few = evaluator.sets.model_copy(update={"holdout": evaluator.sets.holdout[:9]})
    asked = ImageEvaluator(few, ["concept"], evaluator.classifier, evaluator.pictures)
    with pytest.raises(UnavailableError, match="10 facts"):
        attack().measure(subjects["pixel"], AttackContext(asked, 0, tmp_path))
    blank = ImageEvaluator(evaluator.sets, ["concept"], evaluator.classifier, None)
    with pytest.raises(UnavailableError, match="no pictures"):
        attack().measure(subjects["pixel"], AttackContext(blank, 0, tmp_path))


def test_variants_are_named_by_score_and_text():
    assert [attack(**more).variant for more in VARIANTS] == [
        "loss, without text",
        "loss, with the prompt",
        "t-error, without text",
        "t-error, with the prompt",
    ]


@pytest.mark.slow
def test_a_cut_from_the_words_leaves_the_picture_known(shapes_world, tmp_path):
    """Without text UCE's model denoises circles as the original does, a retrained one far worse."""
    one = shapes_examiner(shapes_world, 24)
    holdout = read_facts(DataSource(path=str(shapes_world.facts("holdout"))), "holdout")[:24]
    sets = one.sets.model_copy(update={"holdout": tuple(holdout)})
    pictured = find_pictures(shapes_world.image_folder, sets)
    evaluator = ImageEvaluator(sets, ["concept"], one.classifier, pictured)
    records = {
        name: attack().measure(
            open_shapes(shapes_world, name), AttackContext(evaluator, 0, tmp_path)
        )
        for name in ("original", "retrained-0", "uce")
    }
    error = {name: record.notes["errors"]["forget"]["mean"] for name, record in records.items()}
    assert error["uce"] < 2 * error["original"]
    assert error["retrained-0"] > 10 * error["uce"]
    placed = {name: np.mean([row.k for row in record.rows]) for name, record in records.items()}
    assert placed["original"] > 0.99
    assert placed["retrained-0"] < placed["uce"]
    (check,) = attack().self_checks({n: record.notes for n, record in records.items()})
    assert not check.passed
