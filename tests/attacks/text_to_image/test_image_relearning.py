"""Relearning from pictures: what is trained, alike on every arm, and that nothing of it is left."""

import json
import math

import numpy as np
import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import FLOWS, LAYOUTS, as_pipeline, make_pipeline, open_pipeline

from attacks.prompting.concepts.noise_matching import image_shape
from attacks.relearning.denoising_training import denoising_learner, noised_batches
from attacks.relearning.equilibration import parameter_factors
from attacks.relearning.unet import UNetRelearning, UNetRelearningParameters
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.hashing import canonical_json
from auditor.core.messages import message
from auditor.models.preserve import weights_digest
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.testbeds.shapes.attack_settings import SETTINGS
from benchmarks.concept_truth.rescaled import rescale


def parameters(**more):
    short = {"checkpoints": (1, 3), "pictures": 2, "batch_size": 2}
    return UNetRelearningParameters(**short | more)


def lesson(subject, evaluator, seed=0, **more):
    facts = evaluator.sets.forget
    images = evaluator.images(facts, image_shape(subject))
    prompts = [fact.prompt for fact in facts]
    return denoising_learner(subject, images, prompts, parameters(**more), seed)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_runs_on_every_layout_and_leaves_nothing_behind(
    layout, method, subjects, evaluator, tmp_path
):
    subject = subjects[layout]
    digest, processors = weights_digest(subject.network), dict(subject.denoiser.attn_processors)
    modules = [(name, type(m)) for name, m in subject.network.named_modules()]
    state = torch.get_rng_state()
    before = subject.generate(["a orb"], [3])
    attack = UNetRelearning(parameters(method=method, learning_rate=1e-2))
    record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert {row.fact for row in record.rows} == {fact.id for fact in evaluator.sets.forget}
    assert torch.equal(torch.get_rng_state(), state)
    assert weights_digest(subject.network) == digest
    assert [(name, type(m)) for name, m in subject.network.named_modules()] == modules
    assert subject.denoiser.attn_processors == processors
    assert torch.equal(subject.generate(["a orb"], [3]), before)


def test_k_is_the_mean_of_the_curve_after_its_start(subjects, evaluator, tmp_path):
    attack = UNetRelearning(parameters(learning_rate=1e-2))
    record = attack.measure(subjects["pixel"], AttackContext(evaluator, 0, tmp_path))
    notes = {"unlearned": json.loads(canonical_json(record.notes))}
    (curve,) = attack.curves(notes)
    steps, means = zip(*curve.points, strict=True)
    assert steps == (0, 1, 3)
    assert len(set(means)) == 3  # the training shows
    assert np.mean(means[1:]) == pytest.approx(np.mean([row.k for row in record.rows]))
    assert curve.of == "unlearned"
    assert list(curve.remarks) == [
        message("lora_trained", rank=4),
        message("pictures_taught", data="forget"),
        message("first_seed"),
    ]


def test_success_is_counted_in_the_pictures_after_the_last_step(subjects, evaluator, tmp_path):
    """The means of two checkpoints are 0.45, 0.3 and 0.6: one success, where two pictures show."""
    ids = [fact.id for fact in evaluator.sets.forget]
    readings = []

    class Known(ImageEvaluator):
        """Draws as ever, with the K that is wanted at each step."""

        def evaluate(self, *asked):
            ks = [(0.0, 0.0, 0.0), (0.9, 0.0, 0.6), (0.0, 0.6, 0.6)][len(readings)]
            rows = super().evaluate(*asked)
            readings.append([row._replace(k=ks[ids.index(row.fact)]) for row in rows])
            return tuple(readings[-1])

    known = Known(evaluator.sets, ["concept"], evaluator.classifier, evaluator.pictures)
    attack = UNetRelearning(parameters(learning_rate=1e-2))
    record = attack.measure(subjects["pixel"], AttackContext(known, 0, tmp_path))
    assert [row.k for row in record.rows] == [0.45, 0.3, 0.6]
    assert [row.picture for row in record.rows] == [row.picture for row in readings[2]]
    (figure,) = attack.side_figures({"unlearned": record.notes})
    assert figure.value == 2 / 3
    assert list(figure.remarks[:2]) == [
        message("after_last_step", step=3),
        message("k_at_least", metric="concept", least=0.5),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lora_is_on_the_projections_of_all_attention(layout, subjects, evaluator):
    subject = subjects[layout]
    expected = {
        f"{name}.{part}"
        for name, module in subject.denoiser.named_modules()
        if name.endswith(("attn1", "attn2", "attn"))
        for part in (
            *("to_q", "to_k", "to_v", "to_out.0"),
            *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        )
        if any(f"{name}.{part}" == known for known, _ in subject.denoiser.named_modules())
    }
    assert any("add_k_proj" in name for name in expected) == (layout in FLOWS)
    with lesson(subject, evaluator):
        names = [n for n, p in subject.denoiser.named_parameters() if p.requires_grad]
    assert {name.partition(".lora_")[0] for name in names} == expected != set()


def test_full_training_is_adamw_on_the_error_of_the_noise(subjects, evaluator):
    """Against a plain loop over the same batches, in the frames of the weights."""
    subject = subjects["pixel"]
    facts = evaluator.sets.forget
    with lesson(subject, evaluator, seed=4, method="full", learning_rate=1e-3) as taught:
        taught.advance(2)
        found = {n: p.detach().clone() for n, p in subject.denoiser.named_parameters()}
    pipeline = make_pipeline("pixel")
    unet, scheduler = pipeline.unet, pipeline.scheduler
    clean = evaluator.images(facts, image_shape(subject)) * 2 - 1
    hidden = subject.encode([fact.prompt for fact in facts])
    start = {name: parameter.detach().clone() for name, parameter in unet.named_parameters()}
    factors = {name: math.prod(each) for name, each in parameter_factors(unet).items()}
    values = {name: torch.zeros_like(weight, requires_grad=True) for name, weight in start.items()}
    optimizer = torch.optim.AdamW(values.values(), lr=1e-3, weight_decay=0)

    def weights():
        return {name: start[name] + factors[name] * values[name] for name in start}

    drawn = noised_batches(3, subject.input_shape, 1000, parameters(), 4)
    for _ in range(2):
        losses = []
        for item in next(drawn):
            picture, noise = clean[item.picture][None], item.noise[None]
            timestep = torch.tensor([item.timestep])
            noisy = scheduler.add_noise(picture, noise, timestep)
            states = hidden[item.picture][None]
            predicted = torch.func.functional_call(
                unet, weights(), (noisy, timestep), {"encoder_hidden_states": states}
            ).sample
            losses.append((predicted - noise).square().mean())
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    for name, weight in weights().items():
        torch.testing.assert_close(found[name], weight.detach(), rtol=0, atol=1e-5)


def test_what_is_drawn_depends_on_the_seed_alone():
    def batches(seed):
        drawn = noised_batches(5, (3, 2, 2), 10, parameters(batch_size=4), seed)
        return [item for _ in range(200) for item in next(drawn)]

    first, again, other = batches(0), batches(0), batches(1)
    assert [i[:2] for i in first] == [i[:2] for i in again] != [i[:2] for i in other]
    assert all(torch.equal(a.noise, b.noise) for a, b in zip(first, again, strict=True))
    assert {item.timestep for item in first} == set(range(10))
    assert np.bincount([item.picture for item in first]).tolist() == [160] * 5
    values = torch.stack([item.noise for item in first])
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1, abs=0.05)


def test_parts_of_a_batch_have_the_gradients_of_the_whole(subjects, evaluator):
    subject = subjects["sd1"]

    def gradients(part):
        found = {}
        with lesson(subject, evaluator, method="full", batch_size=3) as taught:
            taught._part = part
            for parameter in subject.denoiser.parameters():
                parameter.register_post_accumulate_grad_hook(
                    lambda p: found.update({p: p.grad.clone()})
                )
            taught.advance(1)
        return found

    whole, parts = gradients(3), gradients(2)
    assert whole
    assert whole.keys() == parts.keys()
    for parameter, gradient in whole.items():
        torch.testing.assert_close(parts[parameter], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_half_types_learn_too(dtype, method, subjects, evaluator, tmp_path):
    subject = open_pipeline(subjects["sd1"].location.model, dtype=dtype)
    attack = UNetRelearning(parameters(method=method, learning_rate=1e-2, checkpoints=(4,)))
    record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    (_, start), (_, end) = record.notes["curve"]
    assert start != end
    assert subject.denoiser.dtype == getattr(torch, dtype)


def test_the_pictures_come_from_the_seed_and_the_set(subjects, evaluator, tmp_path):
    def taught(seed, **more):
        attack = UNetRelearning(parameters(checkpoints=(1,), **more))
        return attack.measure(subjects["pixel"], AttackContext(evaluator, seed, tmp_path)).notes[
            "taught"
        ]

    ids = {fact.id for fact in evaluator.sets.forget}
    assert taught(0) == taught(0)
    assert len({tuple(taught(seed)) for seed in range(6)}) > 1
    assert set(taught(0)) < ids
    assert set(taught(0, pictures=16)) == ids
    assert taught(0, data="retain") == [fact.id for fact in evaluator.sets.retain]


def test_without_pictures_it_is_unavailable(subjects, tmp_path):
    bare = image_evaluator(tmp_path, pictures=False)
    with pytest.raises(UnavailableError, match=r"no pictures of retain facts .*data\.images"):
        UNetRelearning(parameters(data="retain")).measure(
            subjects["pixel"], AttackContext(bare, 0, tmp_path)
        )


def test_levels_have_names_of_their_own():
    attacks = [
        UNetRelearning(UNetRelearningParameters(**preset.parameters))
        for preset in UNetRelearning.presets
    ]
    assert [a.variant for a in attacks] == ["lora forget", "full forget", "lora retain"]
    assert attacks[0].forward_tokens(10) == 3 * 200 * 4 + 5 * 10


@pytest.mark.parametrize(("method", "rate"), [("lora", 1e-1), ("full", 1e-3)])
def test_layers_rescaled_without_a_change_of_pictures_are_taught_alike(
    method, rate, evaluator, tmp_path
):
    make_pipeline("pixel").save_pretrained(tmp_path / "plain")
    plain, scaled = (open_pipeline(tmp_path / "plain") for _ in range(2))
    rescale(as_pipeline(scaled))
    drawn = [model.generate(["a orb"], [3]) for model in (plain, scaled)]
    torch.testing.assert_close(*drawn, rtol=0, atol=1e-4)
    attack = UNetRelearning(parameters(method=method, learning_rate=rate, checkpoints=(5,)))
    before, after = (
        [
            attack.measure(model, AttackContext(evaluator, 0, tmp_path)).notes["effect"][moment]
            for model in (plain, scaled)
        ]
        for moment in ("before", "after")
    )
    assert before[0] == pytest.approx(before[1], rel=1e-3)
    assert after[0] < before[0]
    assert after[0] == pytest.approx(after[1], rel=1e-2)


@pytest.mark.slow
@pytest.mark.nightly
def test_erased_shapes_are_drawn_again_and_a_new_one_is_not(shapes_world, tmp_path):
    evaluator = shapes_examiner(shapes_world, 24)
    attack = UNetRelearning(UNetRelearningParameters(**SETTINGS["relearning/unet"][0]))

    def k(name):
        subject = open_shapes(shapes_world, name)
        record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
        assert record.notes["curve"][0][1] < 0.1
        return np.mean([row.k for row in record.rows])

    retrained = k("retrained-0")
    assert retrained < 0.25
    assert min(k("uce"), k("mace")) > retrained + 0.25
