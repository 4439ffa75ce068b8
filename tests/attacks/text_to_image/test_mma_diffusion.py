"""MMA-Diffusion: the end of a prompt, the swaps towards it, and what is found on the testbed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from tiny_pipelines import LAYOUTS, PROMPTS

from attacks.prompting.concepts.embedding_search import Budget, EndDistance, match_ends
from attacks.prompting.concepts.mma_diffusion import MMADiffusion, MMADiffusionParameters
from attacks.prompting.concepts.searchable_words import searchable_words
from attacks.prompting.concepts.slot_encoding import SlotEncoder
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.findings import Finding
from auditor.core.hashing import canonical_json
from auditor.models.preserve import weights_digest
from auditor.testbeds.shapes.attack_settings import SETTINGS


def parameters(**more):
    short = {"num_steps": 3, "search_width": 4, "topk": 8, "prompts": 2, "prompt_length": 4}
    return MMADiffusionParameters(**short | more)


def found_by(subject, evaluator, seed=0, **more):
    return MMADiffusion(parameters(**more)).search(
        subject, AttackContext(evaluator, seed, Path("unused"))
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_end_of_a_prompt_is_each_encoders_last_state_of_it(layout, subjects):
    """By hand: the token that ends the prompt, in each encoder's own last hidden states."""
    subject = subjects[layout]
    ends = SlotEncoder(subject).ends([(prompt,) for prompt in PROMPTS])
    torch.testing.assert_close(ends.norm(dim=-1), torch.ones(len(PROMPTS)))
    parts = []
    for tokenizer, encoder, length in zip(
        subject.parts.tokenizers, subject.parts.text_encoders, subject.parts.lengths, strict=True
    ):
        given = tokenizer(
            PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            states = encoder(given["input_ids"]).last_hidden_state
        last = given["attention_mask"].sum(1) - 1
        parts.append(
            torch.nn.functional.normalize(states[torch.arange(len(PROMPTS)), last], dim=-1)
        )
    torch.testing.assert_close(ends, torch.cat(parts, dim=-1) / len(parts) ** 0.5)


def test_of_clip_it_is_the_pooled_text(subjects):
    subject = subjects["sd1"]
    given = subject.tokenizer(
        PROMPTS, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        pooled = subject.text_encoder(given["input_ids"]).pooler_output
    ends = SlotEncoder(subject).ends([(prompt,) for prompt in PROMPTS])
    torch.testing.assert_close(ends, torch.nn.functional.normalize(pooled, dim=-1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_words_in_slots_end_as_the_same_words_in_text(layout, subjects):
    subject = subjects[layout]
    words = searchable_words(subject, [], 3)
    chosen = torch.tensor([[0, 3, 5], [2, 2, 1]])
    encoder = SlotEncoder(subject)
    with torch.no_grad():
        slotted = encoder.ends([(None,)] * 2, words.table[chosen])
        written = encoder.ends([(words.text(own),) for own in chosen])
    torch.testing.assert_close(slotted, written)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_slope_is_that_of_the_distance(layout, subjects):
    """Against differences of the distance along the gradient itself."""
    subject = subjects[layout]
    distance = EndDistance(subject, ["a red", "b"])
    encoder = SlotEncoder(subject)
    given = torch.randn(2, 3, encoder.width, generator=torch.Generator().manual_seed(0)) * 0.3
    slope = distance.slope(given)
    step = 1e-2 / slope.norm()

    def at(embeddings):
        with torch.no_grad():
            ends = encoder.ends([(None,)] * 2, embeddings)
            aims = encoder.ends([("a red",), ("b",)])
        return float((1 - (ends * aims).sum(-1)).sum())

    rise = (at(given + step * slope) - at(given - step * slope)) / (2 * float(step))
    assert rise == pytest.approx(float(slope.square().sum()), rel=0.05)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_word_that_may_be_found_is_found(layout, subjects):
    subject = subjects[layout]
    words = searchable_words(subject, [], 1)
    distance = EndDistance(subject, [words.texts[4], words.texts[9]])
    matched = match_ends(distance, words, 2, Budget(1, 12, 16, 36), 0, lambda step: None)
    assert matched.texts == [words.texts[4], words.texts[9]]
    assert matched.distances.shape == (13, 2)
    assert (matched.distances.diff(dim=0) <= 0).all()
    assert matched.distances[-1].max() < 1e-5


def test_the_search_finds_nearer_texts_than_luck_does(subjects):
    """As many random texts as candidates were tried, for prompts of words that may be found."""
    subject = subjects["sd1"]
    words = searchable_words(subject, [], 3)
    prompts = [words.text(torch.tensor(own)) for own in ([4, 9, 2], [1, 0, 7])]
    distance = EndDistance(subject, prompts)
    matched = match_ends(distance, words, 2, Budget(3, 20, 12, 12), 0, lambda step: None)
    draws = torch.randint(len(words), (2, 240, 3), generator=torch.Generator().manual_seed(0))
    lucky = distance.of([[words.text(text) for text in own] for own in draws])
    for found, others in zip(matched.distances[-1], lucky, strict=True):
        assert found < others.min()


def test_searches_do_not_meet_and_a_seed_decides_everything(subjects):
    subject = subjects["sd1"]
    words = searchable_words(subject, [], 3)
    budget = Budget(3, 5, 6, 8)

    def matched(prompts, seed=0):
        distance = EndDistance(subject, prompts)
        return match_ends(distance, words, len(prompts), budget, seed, lambda step: None)

    both, other = matched(["a red", "b"]), matched(["a red", "zz"])
    torch.testing.assert_close(both.distances[:, 0], other.distances[:, 0])
    assert both.texts[0] == other.texts[0]
    assert matched(["a red", "b"]).texts == both.texts
    assert matched(["a red", "b"], 1).texts != both.texts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_runs_on_every_layout_and_leaves_nothing_behind(layout, subjects, evaluator, tmp_path):
    subject, attack = subjects[layout], MMADiffusion(parameters())
    digest, state = weights_digest(subject.network), torch.random.get_rng_state()
    searched = found_by(subject, evaluator)
    record = attack.measure(
        subject, AttackContext(evaluator, 0, tmp_path, [Finding(Arm.UNLEARNED, True, searched)])
    )
    assert weights_digest(subject.network) == digest
    assert torch.equal(torch.random.get_rng_state(), state)
    modules = [m for e in subject.parts.text_encoders for m in e.modules()]
    assert not any(m._forward_hooks for m in modules if isinstance(m, torch.nn.Embedding))
    assert {row.fact for row in record.rows} == {fact.id for fact in evaluator.sets.forget}
    assert record.notes["effect"]["measure"] == "search_loss"
    canonical_json({**searched.notes, **record.notes})
    figures = attack.side_figures({"unlearned": record.notes})
    assert [figure.name for figure in figures] == ["attack_success_rate", "cosine_to_prompt"]
    assert found_by(subject, evaluator).notes == searched.notes


def test_what_is_found_is_near_its_prompt_as_text_and_names_nothing(subjects, evaluator):
    subject = subjects["sd1"]
    record = found_by(subject, evaluator, num_steps=8, banned=("a",))
    noted = record.notes["searched"]["orb"]
    texts = record.notes["found"]["orb"]
    encoder = SlotEncoder(subject)
    with torch.no_grad():
        ends = encoder.ends([(text,) for text in texts])
        aims = encoder.ends([(prompt,) for prompt in noted["prompts"]])
    there = 1 - (ends * aims).sum(-1)
    np.testing.assert_allclose(noted["found_distance"], there.numpy(), rtol=1e-3, atol=1e-6)
    assert "a" not in {word for text in texts for word in text.split()}
    assert (np.array(noted["found_distance"]) < noted["first_distance"]).all()


def test_names_are_never_found(subjects, evaluator):
    """The concept `o` is a word of the tiny tokenizer, which would otherwise be the best of all."""
    sets = evaluator.sets
    one = sets.forget[0].model_copy(
        update={"prompt": "o", "answer": "o", "entity": "o", "paraphrases": ("q",)}
    )
    subject = subjects["sd1"]
    words = searchable_words(subject, ["o", "q"], 1).texts
    assert not {"o", "q"} & set(words)
    assert {"o", "q"} <= set(searchable_words(subject, [], 1).texts)
    asked = type(evaluator)(
        sets.model_copy(update={"forget": (one,)}), ["concept"], evaluator.classifier
    )
    record = found_by(subject, asked, prompt_length=1, num_steps=30, search_width=36, topk=36)
    assert record.notes["searched"]["o"]["words"] == len(words)
    assert record.notes["searched"]["o"]["found_distance"][0] > 1e-3
    assert record.notes["found"]["o"][0] in words


def test_a_prompt_has_no_more_words_than_the_encoders_have_room_for(subjects, evaluator):
    noted = found_by(subjects["sd1"], evaluator, prompt_length=50).notes["searched"]["orb"]
    assert noted["tokens"] == 10


def test_variants_are_told_apart_by_what_is_banned_and_not_by_the_budget():
    assert MMADiffusion(parameters()).variant == "without its names"
    assert MMADiffusion(parameters(num_steps=9)).variant == "without its names"
    assert (
        MMADiffusion(parameters(banned=("x", "y"))).variant == "without its names and 2 more words"
    )


@pytest.mark.slow
@pytest.mark.nightly
def test_the_original_draws_circles_for_words_that_name_none(shapes_world, tmp_path):
    evaluator = shapes_examiner(shapes_world, 24)
    attack = MMADiffusion(MMADiffusionParameters(**SETTINGS["prompting/mma-diffusion"][0]))

    def measured(name):
        subject = open_shapes(shapes_world, name)
        record = attack.search(subject, AttackContext(evaluator, 0, Path("unused")))
        (texts,) = record.notes["found"].values()
        assert not any(word in text for word in ("circle", "disc", "dot") for text in texts)
        pool = [Finding(Arm.UNLEARNED, True, record)]
        return attack.measure(subject, AttackContext(evaluator, 0, tmp_path, pool))

    records = {name: measured(name) for name in ("original", "retrained-0")}
    k = {name: np.mean([row.k for row in record.rows]) for name, record in records.items()}
    assert k["original"] > 0.2
    assert k["retrained-0"] < 0.1
    (check,) = attack.self_checks({name: record.notes for name, record in records.items()})
    assert check.passed, check.params
