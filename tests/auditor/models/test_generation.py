"""Generated answers against a hand-written loop."""

import pytest
import torch
from tiny_models import ARCHITECTURES, PROMPTS, make_model, make_tokenizer, open_directory, save

from auditor.models.language.decoding import Sampling

NEW = 12


def argmax_loop(subject, prompt, new=NEW):
    """Greedy decoding without a cache, one prompt at a time."""
    ids = subject.tokenizer(prompt)["input_ids"]
    start = len(ids)
    with torch.inference_mode():
        for _ in range(new):
            best = int(subject.network(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if best == subject.tokenizer.eos_token_id:
                break
            ids.append(best)
    return subject.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_answers_equal_a_loop_without_cache_or_padding(architecture, subjects):
    subject = subjects[architecture]
    expected = [argmax_loop(subject, prompt) for prompt in PROMPTS]
    assert len(set(expected)) >= 4  # else the prompts do not matter
    assert subject.generate(PROMPTS, NEW) == expected
    assert [subject.generate([prompt], NEW)[0] for prompt in PROMPTS] == expected


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_generation_stops_at_the_end_token(architecture, tmp_path, tokenizer):
    """Tokens after the end-of-sequence token are not part of the answer."""
    model = make_model(architecture)
    subject = open_directory(save(tmp_path / "m", model, tokenizer))
    said = {}
    for prompt in PROMPTS:
        ids = subject.tokenizer(prompt)["input_ids"]
        for _ in range(4):
            ids.append(int(subject.network(torch.tensor([ids])).logits[0, -1].argmax()))
        said[prompt] = ids
    stop = said[PROMPTS[0]][-2]  # what the first prompt says third ends an answer from now on
    subject.network.generation_config.eos_token_id = [0, stop]
    expected = tokenizer.decode(said[PROMPTS[0]][-4:-2]).strip()
    assert subject.generate(PROMPTS, 4)[0].startswith(expected)
    assert len(subject.generate(PROMPTS, 4)[0]) <= len(expected) + len(tokenizer.decode([stop]))


@pytest.mark.parametrize(
    "own",
    [
        {"repetition_penalty": 5.0},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": list(range(2, 300))},
        {"min_new_tokens": 5, "num_beams": 3},
        {"do_sample": True, "temperature": 9.0},
        {"forced_eos_token_id": 7},
        {"max_length": 3},
    ],
    ids=lambda own: next(iter(own)),
)
def test_the_models_own_decoding_settings_are_set_aside(own, tmp_path, tokenizer):
    subject = open_directory(save(tmp_path / "m", make_model("llama"), tokenizer))
    expected = [argmax_loop(subject, prompt) for prompt in PROMPTS]
    for key, value in own.items():
        setattr(subject.network.generation_config, key, value)
    assert subject.generate(PROMPTS, NEW) == expected
    for key, value in own.items():  # and they are still the model's own afterwards
        assert getattr(subject.network.generation_config, key) == value


def test_sampling_is_seeded(subjects):
    subject = subjects["llama"]
    first = subject.generate(PROMPTS, 8, Sampling(temperature=2.0, seed=1))
    torch.rand(7)
    assert subject.generate(PROMPTS, 8, Sampling(temperature=2.0, seed=1)) == first
    assert subject.generate(PROMPTS, 8, Sampling(temperature=2.0, seed=2)) != first
    assert subject.generate(PROMPTS, 8) == subject.generate(PROMPTS, 8)


def test_sampling_draws_from_the_whole_vocabulary(subjects, monkeypatch):
    """At temperature 1 and top-p 1 the share of each token is its probability, with no top-k."""
    subject = subjects["llama"]
    ids = subject.tokenizer(PROMPTS[0])["input_ids"]
    with torch.inference_mode():
        p = (subject.network(torch.tensor([ids])).logits[0, -1] / 3).softmax(-1)
    outside = 1 - float(p.sort(descending=True).values[:50].sum())
    assert outside > 0.2  # else this test has no teeth
    top = {int(i) for i in p.topk(50).indices}
    draws = []
    decode = subject.tokenizer.batch_decode
    monkeypatch.setattr(
        subject.tokenizer,
        "batch_decode",
        lambda new, **options: draws.extend(ids[0] for ids in new) or decode(new, **options),
    )
    subject.generate([PROMPTS[0]] * 2000, 1, Sampling(temperature=3.0, seed=0))
    share = sum(token not in top for token in draws) / len(draws)
    assert share == pytest.approx(outside, abs=4 * (0.25 / 2000) ** 0.5)


def test_an_empty_prompt_starts_a_text(subjects):
    assert len(subjects["gpt2"].generate([""], 3)) == 1


def test_a_tokenizer_without_a_start_token_says_so(tmp_path):
    from auditor.core.errors import AuditorError

    tokenizer = make_tokenizer(eos_token="")
    subject = open_directory(save(tmp_path / "m", make_model("llama"), tokenizer))
    with pytest.raises(AuditorError, match="neither a bos nor an eos"):
        subject.score([("", "a passage")])
