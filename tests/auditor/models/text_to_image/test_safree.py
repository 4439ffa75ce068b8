"""SAFREE: against a plain loop over its formulas, and what passes by it."""

import math

import pytest
import torch
from tiny_pipelines import PROMPTS, SAMPLING, make_pipeline, open_pipeline

from auditor.core.errors import AuditorError
from auditor.models.opening import check_unopenable
from auditor.models.text_to_image.safree import Safree, SafreeSettings
from auditor.models.text_to_image.text_encoding import PromptReader

CONCEPTS = ("orb", "a round ball")
SEEDS = [5, 6, 7]


def opened(folder, **settings):
    return open_pipeline(folder, eraser={"name": "safree", "concepts": list(CONCEPTS)} | settings)


def projection(vectors):
    """On the space of some vectors, through an orthonormal basis of it."""
    left, sizes, _ = torch.linalg.svd(torch.stack(vectors, dim=1).double(), full_matrices=False)
    basis = left[:, sizes > 1e-5 * sizes.max()]
    return basis @ basis.T


def by_hand(pipeline, prompt, alpha, most_steps):
    """States of a prompt with words moved, and first steps with them, by plain loops."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder

    def read(ids):
        with torch.no_grad():
            return encoder(torch.tensor([ids]))

    def padded(text):
        length = tokenizer.model_max_length
        return tokenizer(text, padding="max_length", max_length=length, truncation=True).input_ids

    space = projection([read(padded(text)).pooler_output[0] for text in CONCEPTS])
    away = torch.eye(len(space), dtype=torch.float64) - space
    ids = tokenizer(prompt, truncation=True).input_ids
    count = len(ids) - 2
    if not count:
        return read(padded(prompt)).last_hidden_state[0], 0
    pooled = []
    for place in range(1, count + 1):
        masked = padded(prompt)
        masked[place] = 0
        pooled.append(read(masked).pooler_output[0])
    own = projection(pooled)
    distances = [float((away @ one.double()).norm()) for one in pooled]
    states = read(padded(prompt)).last_hidden_state[0].double()
    found = states.clone()
    for word in range(count):
        rest = distances[:word] + distances[word + 1 :]
        if not rest or distances[word] >= (1 + alpha) * sum(rest) / len(rest):
            found[word + 1] = away @ own @ states[word + 1]
    cosines = []
    for state in states[: len(ids)]:
        moved = away @ own @ state
        cosines.append(float(moved @ state / moved.norm() / state.norm()))
    distance = 1 - sum(cosines) / len(cosines)
    share = 1 / (1 + math.exp(-2 * 2.5 * (10 * distance - 5.333)))
    return found.float(), round(most_steps * share) + 1


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.2])
def test_words_that_lead_to_the_concepts_are_moved(alpha, folders):
    subject, pipeline = opened(folders["sd1"]), make_pipeline("sd1")
    prompts = [*PROMPTS, "a"]
    eraser = Safree(SafreeSettings(concepts=CONCEPTS, alpha=alpha))
    reader = PromptReader(subject.parts, subject.token_budget)
    found = eraser.replaced(prompts, subject.encode(prompts), reader)
    moved = []
    for prompt, states, steps in zip(prompts, found.states, found.steps, strict=True):
        expected, count = by_hand(pipeline, prompt, alpha, most_steps=10)
        torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-3)
        assert int(steps) == count
        moved.append(int((states != subject.encode([prompt])[0]).any(1).sum()))
    assert moved[-1] == 1, "a word alone leads there"
    assert sum(moved) > (0 if alpha > 0.1 else 1)


@pytest.mark.parametrize("most_steps", [0, 3, None])
def test_what_is_drawn_is_what_the_replaced_states_draw(most_steps, folders):
    """In the first steps the moved words and then the prompt's own, away from the concepts."""
    subject = opened(folders["sd1"], alpha=0.0, most_steps=most_steps, midpoint=0.0)
    plain = open_pipeline(folders["sd1"])
    eraser = Safree(SafreeSettings(**subject.spec.eraser.settings))
    reader = PromptReader(subject.parts, subject.token_budget)
    replaced = eraser.replaced(PROMPTS[:3], subject.encode(PROMPTS[:3]), reader)
    pipeline = make_pipeline("sd1")
    pipeline.set_progress_bar_config(disable=True)
    negative = plain.encode([", ".join(CONCEPTS)])
    drawn = []
    for row, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=False)):
        own, moved = plain.encode([prompt]), replaced.states[row : row + 1]
        last = int(replaced.steps[row])

        def switched(pipe, step, timestep, kwargs, own=own, last=last):
            if step + 1 == last:
                kwargs["prompt_embeds"] = torch.cat([negative, own])
            return kwargs

        drawn.append(
            pipeline(
                prompt_embeds=moved,
                negative_prompt_embeds=negative,
                num_inference_steps=SAMPLING["steps"],
                guidance_scale=SAMPLING["guidance"],
                generator=[torch.Generator().manual_seed(seed)],
                output_type="np",
                callback_on_step_end=switched,
                callback_on_step_end_tensor_inputs=["prompt_embeds"],
            ).images
        )
    expected = torch.cat([torch.as_tensor(each).permute(0, 3, 1, 2) for each in drawn])
    found = subject.generate(PROMPTS[:3], SEEDS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (plain.generate(PROMPTS[:3], SEEDS) - found).abs().max() > 1e-3


@pytest.mark.parametrize("layout", ["sd1", "sd2", "pixel"])
def test_an_image_depends_on_its_prompt_and_seed_alone(layout, folders):
    together = opened(folders[layout], alpha=0.0, most_steps=2).generate(PROMPTS[:3], SEEDS)
    one = open_pipeline(
        folders[layout],
        eraser={"name": "safree", "concepts": list(CONCEPTS), "alpha": 0.0, "most_steps": 2},
        token_budget=1,
    )
    torch.testing.assert_close(together, one.generate(PROMPTS[:3], SEEDS), atol=2e-5, rtol=0)


def test_of_no_prompt_nothing_is_drawn(folders):
    assert opened(folders["sd1"]).generate([], []).shape[0] == 0


def test_states_that_are_given_pass_by_it(folders):
    """As those of a searched word do, which no prompt spells: it moves words of prompts alone."""
    subject = opened(folders["sd1"], alpha=0.0, most_steps=None, negative=False)
    plain = open_pipeline(folders["sd1"])
    states = plain.encode(PROMPTS[:2])
    found = subject.generate(None, SEEDS[:2], embeddings=states)
    torch.testing.assert_close(found, plain.generate(PROMPTS[:2], SEEDS[:2]), atol=1e-6, rtol=0)
    assert (subject.generate(PROMPTS[:2], SEEDS[:2]) - found).abs().max() > 1e-3


@pytest.mark.parametrize("layout", ["sdxl", "sd3"])
def test_other_text_encoders_are_refused(layout, folders):
    subject = opened(folders[layout])
    with pytest.raises(AuditorError, match="one text encoder, CLIP's"):
        check_unopenable(subject.spec, subject.location)


def test_settings_that_do_not_fit_are_refused(folders):
    with pytest.raises(AuditorError, match="concepts"):
        open_pipeline(folders["sd1"], eraser={"name": "safree", "concepts": []})
    with pytest.raises(AuditorError, match="alpha"):
        opened(folders["sd1"], alpha=-1)
