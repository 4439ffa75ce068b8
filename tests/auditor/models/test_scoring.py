"""Scores of answers against a reference in float64, one item at a time."""

import numpy as np
import pytest
import torch
from tiny_models import (
    ARCHITECTURES,
    CONTEXT,
    PAIRS,
    PROMPTS,
    make_model,
    make_tokenizer,
    open_directory,
    save,
    train_bpe,
)
from transformers import AutoModelForCausalLM, ByT5Tokenizer

from auditor.core.errors import AuditorError, MeasurementError
from auditor.models.language.scoring import AnswerLogits, token_scores
from auditor.models.spec import PromptFormat

FIELDS = ("log_probability", "mean", "deviation")


def reference(model, tokenizer, prompt, answer):
    """Full softmax over every position, batch size 1, float64."""
    text = f"{prompt} {answer}" if prompt else answer
    ids = tokenizer(text)["input_ids"]
    read = [i for i in range(len(ids)) if len(tokenizer.decode(ids[: i + 1])) > len(prompt)]
    if read[0] == 0:
        ids, read = [tokenizer.eos_token_id, *ids], [i + 1 for i in read]
    logits = model(torch.tensor([ids])).logits[0].double()
    p = (logits.exp() / logits.exp().sum(-1, keepdim=True)).detach().numpy()
    rows = p[np.array(read) - 1]
    mu = (rows * np.log(rows)).sum(-1)
    sigma = np.sqrt((rows * np.log(rows) ** 2).sum(-1) - mu**2)
    right = np.array([ids[i] for i in read])
    return np.log(rows[np.arange(len(read)), right]), mu, sigma, rows.argmax(-1) == right


def scored(logits, ids, answers):
    """Scores of marked tokens, by the logits of a whole batch."""
    marked = [(row, place) for row, places in enumerate(answers) for place in places]
    rows, places = torch.tensor(marked).T
    return token_scores(
        AnswerLogits(logits[rows, places - 1], ids[rows, places], list(map(len, answers)))
    )


def assert_same(one, other, tolerance):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for field in FIELDS:
            np.testing.assert_allclose(
                getattr(a, field), getattr(b, field), atol=tolerance, rtol=0, err_msg=field
            )
        np.testing.assert_array_equal(a.predicted, b.predicted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_equal_a_reference_in_double_precision(architecture, directories, subjects):
    model = AutoModelForCausalLM.from_pretrained(
        directories[architecture], dtype=torch.float64
    ).eval()
    subject = subjects[architecture]
    scores = subject.score(PAIRS)
    for (prompt, answer), score in zip(PAIRS, scores, strict=True):
        expected = reference(model, subject.tokenizer, prompt, answer)
        for field, values in zip((*FIELDS, "predicted"), expected, strict=True):
            np.testing.assert_allclose(
                getattr(score, field), values, atol=1e-4, rtol=0, err_msg=f"{field} of {answer!r}"
            )
        assert score.mean_log_probability == pytest.approx(expected[0].mean(), abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_greedy_answer_is_predicted_token_by_token(architecture, subjects):
    """What the model generates greedily is its own teacher-forced argmax."""
    subject = subjects[architecture]
    ids = subject.tokenizer("Person 3 lives in")["input_ids"]
    with torch.inference_mode():
        for _ in range(4):
            best = subject.network(torch.tensor([ids])).logits[0, -1].argmax()
            ids = [*ids, int(best)]
    logits = subject.network(torch.tensor([ids, ids])).logits
    wrong = torch.tensor([ids, [*ids[:-1], (ids[-1] + 1) % 400]])
    read = [list(range(len(ids) - 4, len(ids)))] * 2
    first, second = scored(logits, wrong, read)
    assert first.predicted.tolist() == [True] * 4
    assert second.predicted.tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_do_not_depend_on_the_batch(architecture, directories, subjects):
    together = subjects[architecture].score(PAIRS)
    alone = [subjects[architecture].score([pair])[0] for pair in PAIRS]
    assert_same(together, alone, 1e-4)
    narrow = open_directory(directories[architecture], token_budget=90)
    assert_same(together, narrow.score(PAIRS), 1e-4)
    assert_same(together, subjects[architecture].score(PAIRS[::-1])[::-1], 1e-4)


def test_nothing_to_score_costs_nothing(subjects):
    before = subjects["llama"].meter.forward_tokens
    assert subjects["llama"].score([]) == []
    assert subjects["llama"].meter.forward_tokens == before


def test_the_meter_counts_padded_tokens(directories):
    subject = open_directory(directories["llama"])
    lengths = [len(subject.tokenizer(f"{p} {a}")["input_ids"]) for p, a in PAIRS if p]
    subject.score([pair for pair in PAIRS if pair[0]])
    assert subject.meter.forward_tokens == max(lengths) * len(lengths)


def test_uniform_logits_have_no_deviation():
    """Over V equally likely tokens: log p = mean = -log V, deviation = 0."""
    logits = torch.full((1, 3, 50_000), 7.0)
    score = scored(logits, torch.zeros((1, 3), dtype=torch.long), [[1, 2]])[0]
    np.testing.assert_allclose(score.log_probability, -np.log(50_000), rtol=1e-6)
    np.testing.assert_allclose(score.mean, -np.log(50_000), rtol=1e-5)
    np.testing.assert_allclose(score.deviation, 0, atol=1e-4)


def test_nearly_uniform_logits_keep_their_small_deviation():
    """One token in two has its logit raised by 2e-3: the deviation is 1e-3."""
    logits = torch.zeros((1, 2, 50_000))
    logits[..., ::2] += 2e-3
    score = scored(logits, torch.zeros((1, 2), dtype=torch.long), [[1]])[0]
    assert score.deviation[0] == pytest.approx(1e-3, rel=2e-2)


@pytest.mark.parametrize("masked", [-torch.inf, torch.finfo(torch.float32).min])
def test_a_token_that_is_masked_out_has_no_part_in_the_mean(masked):
    """p = (1/2, 1/4, 1/4, 0): mean = -1.5 log 2, and 0 log 0 = 0."""
    logits = torch.tensor([[[2.0, 1.0, 1.0, masked]] * 2]) * np.log(2)
    score = scored(logits, torch.zeros((1, 2), dtype=torch.long), [[1]])[0]
    assert score.log_probability[0] == pytest.approx(-np.log(2))
    assert score.mean[0] == pytest.approx(-1.5 * np.log(2))
    assert score.deviation[0] == pytest.approx(0.5 * np.log(2))


def test_blocks_of_answer_positions_join_seamlessly(monkeypatch):
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 20, 30), torch.randint(30, (3, 20))
    answers = [list(range(1, 20)), [5], list(range(7, 20))]
    whole = scored(logits, ids, answers)
    monkeypatch.setattr("auditor.models.language.scoring._ROWS", 4)
    assert_same(whole, scored(logits, ids, answers), 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_scored(value, llama):
    subject = open_directory(llama)
    with torch.no_grad():
        subject.network.model.layers[0].mlp.down_proj.weight[3, 5] = value
    with pytest.raises(MeasurementError, match="not finite"):
        subject.score(PAIRS)
    with pytest.raises(MeasurementError, match="not finite"):
        subject.generate(["Person 3"], 3)


def test_an_item_longer_than_the_context_is_not_measured(subjects):
    with pytest.raises(MeasurementError, match=f"context holds {CONTEXT}"):
        subjects["gpt2"].score([("Person 3", "é" * CONTEXT)])
    with pytest.raises(MeasurementError, match=f"context holds {CONTEXT}"):
        subjects["gpt2"].generate(["Person 3"], CONTEXT)


def test_an_item_that_fills_the_context_is_measured(subjects):
    pair = ("", "é" * ((CONTEXT - 2) // 2) + "!")
    assert len(subjects["opt"].score([pair])[0].log_probability) == CONTEXT - 1


def test_an_answer_without_tokens_is_not_measured(subjects):
    with pytest.raises(MeasurementError, match="no tokens"):
        subjects["llama"].score([("", "")])


def shift_by(tokenizer_options, tmp_path, template, specials):
    """Ids that the model sees when the tokenizer wraps texts in ``template``."""
    tokenizer = make_tokenizer(train_bpe(specials, template), **tokenizer_options)
    directory = save(tmp_path / "wrapped", make_model("llama"), tokenizer)
    subject = open_directory(directory)
    seen = []
    subject.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"][0].tolist()),
        with_kwargs=True,
    )
    return subject, seen


@pytest.mark.parametrize("template", ["<bos> $A", "$A <eos>", "<bos> $A <eos>"])
@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[2]], ids=["pair", "passage"])
def test_special_tokens_that_a_tokenizer_adds_are_seen_but_never_scored(template, pair, tmp_path):
    specials = ("<eos>", "<pad>", "<bos>")
    subject, seen = shift_by({"bos_token": "<bos>"}, tmp_path, template, specials)
    score = subject.score([pair])[0]
    plain = make_tokenizer(train_bpe(specials))
    text = " ".join(part for part in pair if part)
    body = plain(text)["input_ids"]
    answer = [i for i in range(len(body)) if len(plain.decode(body[: i + 1])) > len(pair[0])]
    assert len(score.log_probability) == len(answer)
    before = [2] if template.startswith("<bos>") or not pair[0] else []
    assert seen[0] == before + body + ([0] if template.endswith("<eos>") else [])


def test_generation_starts_from_the_prompt_without_the_end_token(tmp_path):
    subject, seen = shift_by(
        {"bos_token": "<bos>"}, tmp_path, "<bos> $A <eos>", ("<eos>", "<pad>", "<bos>")
    )
    subject.generate(["Person 3"], 1)
    assert seen[0] == [2, *subject.tokenizer("Person 3", add_special_tokens=False)["input_ids"]]


def test_whitespace_in_an_answer_counts_where_the_tokenizer_trims_its_offsets(tmp_path):
    """Pythia's and OPT's tokenizers report a token of spaces alone as a span of no width."""
    from tokenizers import processors

    bpe = train_bpe()
    bpe.post_processor = processors.ByteLevel(trim_offsets=True)
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer(bpe)))
    plain = open_directory(save(tmp_path / "n", make_model("llama"), make_tokenizer()))
    pairs = [("Person 3", "a   b"), ("", "a   b"), ("Person 3", "b  ")]
    assert_same(subject.score(pairs), plain.score(pairs), 0)


def test_token_type_ids_never_reach_the_model(tmp_path):
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = make_tokenizer(model_input_names=names)
    assert "token_type_ids" in tokenizer("Person 3")  # else this test has no teeth
    subject = open_directory(save(tmp_path / "opt", make_model("opt"), tokenizer))
    subject.score(PAIRS)
    subject.generate(PROMPTS, 2)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_missing_pad_token_changes_nothing(architecture, directories, tmp_path, subjects):
    model = make_model(architecture)
    directory = save(tmp_path / "m", model, make_tokenizer(pad_token=""))
    subject = open_directory(directory)
    assert_same(subject.score(PAIRS), subjects[architecture].score(PAIRS), 1e-5)
    assert subject.tokenizer.pad_token_id == subject.tokenizer.eos_token_id
    assert subject.generate(PROMPTS, 5) == subjects[architecture].generate(PROMPTS, 5)


def test_no_pad_and_no_eos_token_is_refused(llama):
    bpe = train_bpe(("<a>", "<b>"))
    make_tokenizer(bpe, eos_token="", pad_token="").save_pretrained(llama)
    with pytest.raises(AuditorError, match="no pad and no eos"):
        open_directory(llama).score(PAIRS)


def test_a_slow_tokenizer_scores_the_same_bytes(tmp_path):
    """ByT5's tokenizer is written in Python and has no offsets: one token a byte, then </s>."""
    tokenizer = ByT5Tokenizer()
    model = make_model("llama", vocabulary=384)
    subject = open_directory(save(tmp_path / "bytes", model, tokenizer))
    assert not subject.tokenizer.is_fast
    for prompt, answer in (("abc", "dé"), ("", "hello"), ("Person 3 lives in", "city")):
        text = f"{prompt} {answer}" if prompt else answer
        body = [b + 3 for b in text.encode()]  # pad, eos and unk come first
        ids = [1, *body] if not prompt else body
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        start = len(prompt.encode()) if prompt else 1
        expected = [float(logits[i - 1, ids[i]]) for i in range(start, len(ids))]
        score = subject.score([(prompt, answer)])[0]
        np.testing.assert_allclose(score.log_probability, expected, atol=1e-4)
    assert len(subject.generate(["abc", "a"], 3)) == 2


CHAT = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_a_chat_template_wraps_the_prompt_with_its_system_message(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT
    directory = save(tmp_path / "chat", make_model("llama"), tokenizer)
    chat = open_directory(
        directory, prompt_format=PromptFormat(chat=True, system="Be brief.", template="Q: {prompt}")
    )
    by_hand = open_directory(
        directory,
        prompt_format=PromptFormat(
            template="[system]Be brief.\n[user]Q: {prompt}\n[assistant]", separator=""
        ),
    )
    pairs = [pair for pair in PAIRS if pair[0]]
    assert_same(chat.score(pairs), by_hand.score(pairs), 0)
    prompts = [p for p, _ in pairs]
    assert chat.generate(prompts, 6) == by_hand.generate(prompts, 6)


def test_braces_in_a_prompt_are_text(subjects):
    assert len(subjects["llama"].score([("{prompt} {0} {{x}}", "y")])) == 1


def test_a_chat_without_a_template_is_refused(directories):
    subject = open_directory(directories["llama"], prompt_format=PromptFormat(chat=True))
    for ask in (lambda: subject.score(PAIRS), lambda: subject.generate(["x"], 1)):
        with pytest.raises(AuditorError, match=r"tokenizer has none; set `chat: false`"):
            ask()


def test_a_template_without_the_prompt_is_refused():
    with pytest.raises(ValueError, match="template"):
        PromptFormat(template="Question:")
