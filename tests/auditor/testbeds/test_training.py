import pytest
import torch
from transformers import GPT2Config, GPTNeoXConfig

from auditor.core.progress import SilentProgress
from auditor.models.language.scoring import IGNORED
from auditor.testbeds.people.training import TrainingSettings, train
from auditor.unlearning.examples import Example, answer_scores, collate, encode, trained_pairs

SETTINGS = TrainingSettings(steps=4, batch_size=4, learning_rate=3e-3)


def test_tokens_of_a_prompt_begin_the_tokens_of_prompt_and_answer(people, tokenizer):
    for fact in people.forget:
        whole = tokenizer(f"{fact.prompt} {fact.answer}")["input_ids"]
        prompt = tokenizer(fact.prompt)["input_ids"]
        assert whole[: len(prompt)] == prompt
        assert prompt[0] == tokenizer.bos_token_id
        assert whole[-1] != tokenizer.eos_token_id
        assert tokenizer.decode(whole[len(prompt) :]) == f" {fact.answer}"


def test_tokenizer_reads_any_text(tokenizer):
    text = "Größe 東京 \N{PILE OF POO}"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_labels_cover_the_answer_and_the_end_token_only():
    ids, labels = collate([Example((1, 5, 6, 7, 2), 2), Example((1, 8, 2), 2)])
    assert ids.tolist() == [[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]]
    assert labels.tolist() == [[IGNORED, 6, 7, 2], [IGNORED, 2, IGNORED, IGNORED]]


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_embd=64, n_layer=1, n_head=2, n_positions=64),
        GPTNeoXConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2
        ),
    ],
    ids=["gpt2", "gpt-neox"],
)
def test_any_causal_architecture_trains(config, people, tokenizer):
    examples = encode(tokenizer, trained_pairs(people.forget))
    model = train(config, tokenizer, examples, SETTINGS, 0, SilentProgress())
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_a_seed_gives_the_same_weights(tiny_config, people, tokenizer):
    examples = encode(tokenizer, trained_pairs(people.forget))
    first, second, other = (
        train(tiny_config, tokenizer, examples, SETTINGS, seed, SilentProgress()).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_scores_agree_with_greedy_generation(tiny_config, people, tokenizer):
    facts = people.forget[:4]
    examples = encode(tokenizer, [(fact.prompt, fact.answer) for fact in facts])
    settings = TrainingSettings(steps=25, batch_size=8, learning_rate=3e-3)
    model = train(tiny_config, tokenizer, examples, settings, 0, SilentProgress())
    scores = answer_scores(model, examples, batch_size=3)
    assert 0 < scores.mean_probability < 1
    for fact, example, exact, probability in zip(
        facts, examples, scores.exact, scores.probability, strict=True
    ):
        prompt = tokenizer(fact.prompt, return_tensors="pt")
        answered = model.generate(**prompt, max_new_tokens=12, do_sample=False)
        assert (answered[0].tolist() == list(example.ids)) == bool(exact)
        answer = torch.tensor(example.ids[:-1])
        with torch.no_grad():
            log_probabilities = model(answer[None]).logits[0].log_softmax(-1)
        start = example.prompt_length
        told = [log_probabilities[i - 1, answer[i]] for i in range(start, len(answer))]
        assert probability.item() == pytest.approx(torch.stack(told).mean().exp().item(), rel=1e-4)


def test_progress_hears_of_every_step(tiny_config, people, tokenizer):
    from contextlib import contextmanager

    heard = []

    class Listener:
        @contextmanager
        def task(self, description, total):
            heard.append((description, total))
            yield lambda n=1, note="": heard.append(n)

    examples = encode(tokenizer, trained_pairs(people.forget))
    train(tiny_config, tokenizer, examples, SETTINGS, 0, Listener(), "learns one person")
    assert heard == [("learns one person", 4), 1, 1, 1, 1]
