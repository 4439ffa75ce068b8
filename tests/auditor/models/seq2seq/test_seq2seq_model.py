"""Encoder-decoders: what they score and write is what their own library computes for one item."""

import numpy as np
import pytest
import torch
from tiny_models import make_model
from tiny_models import make_tokenizer as make_decoder_tokenizer
from tiny_models import save as save_decoder
from tiny_seq2seq import (
    ARCHITECTURES,
    PAIRS,
    PROMPTS,
    make_t5,
    make_tokenizer,
    open_directory,
    save,
)

from auditor.core.errors import AuditorError, MeasurementError
from auditor.models.causal_lm.model import CausalLM
from auditor.models.kind import parse_spec
from auditor.models.opening import check_unopenable, locate
from auditor.models.preserve import weights_digest
from auditor.models.seq2seq.model import Seq2SeqLM
from auditor.models.spec import PromptFormat


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request, tmp_path_factory):
    make, tokenizer = ARCHITECTURES[request.param]
    return open_directory(save(tmp_path_factory.mktemp(request.param), make(), tokenizer))


def one(model, prompt, answer):
    """Log-probabilities of an answer's tokens by the library, without batch or padding."""
    read = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
    target = model.tokenizer(answer)["input_ids"]
    ids = torch.tensor([[model.network.config.decoder_start_token_id, *target]])
    with torch.inference_mode():
        logits = model.network(input_ids=read, decoder_input_ids=ids[:, :-1]).logits
    log_p = logits[0].double().log_softmax(-1)
    special = set(model.tokenizer.all_special_ids)
    return [float(log_p[i, t]) for i, t in enumerate(target) if t not in special]


def test_answers_are_scored_by_the_decoder(model):
    for score, pair in zip(model.score(PAIRS), PAIRS, strict=True):
        np.testing.assert_allclose(score.log_probability, one(model, *pair), atol=1e-5)


@pytest.mark.parametrize("budget", [1, 20, 40])
def test_batches_change_no_score(model, budget):
    alone = open_directory(model.location.model, token_budget=budget)
    for score, other in zip(alone.score(PAIRS), model.score(PAIRS), strict=True):
        np.testing.assert_allclose(score.log_probability, other.log_probability, atol=1e-5)


def test_it_writes_the_most_probable_tokens(model):
    for prompt, written in zip(PROMPTS, model.generate(PROMPTS, 6), strict=True):
        read = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
        ids = [model.network.config.decoder_start_token_id]
        for _ in range(6):
            with torch.inference_mode():
                logits = model.network(input_ids=read, decoder_input_ids=torch.tensor([ids])).logits
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] == model.tokenizer.eos_token_id:
                break
        assert written == model.tokenizer.decode(ids[1:], skip_special_tokens=True).strip()


def test_it_goes_on_from_the_beginning_of_an_answer(model):
    prompt, answer = PAIRS[0]
    opened = [model.opened(prompt, answer, shown) for shown in (0, 2, 99)]
    assert [o.rest for o in opened] == ["in the old town city4", "old town city4", "city4"]
    openings = [o.ids for o in opened]
    together = model.generate([prompt] * 3, 4, openings=openings)
    alone = [model.generate([prompt], 4, openings=[ids])[0] for ids in openings]
    assert together == alone


def test_the_loss_is_the_librarys(model):
    items = model.encode(PAIRS, end=True)
    losses, tokens = [], 0
    for prompt, answer in PAIRS:
        read = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
        labels = model.tokenizer(text_target=answer, return_tensors="pt")["input_ids"]
        logits = model.network(input_ids=read, labels=labels).logits
        kept = labels[0] != model.tokenizer.convert_tokens_to_ids("<s>")
        log_p = logits[0].log_softmax(-1)[torch.arange(labels.shape[1]), labels[0]][kept]
        losses.append(-log_p.sum())
        tokens += int(kept.sum())
    assert sum(item.answer_tokens for item in items) == tokens
    losses = [loss.item() for loss in losses]
    assert model.loss(items).item() == pytest.approx(sum(losses) / tokens, abs=1e-5)
    found = model.answer_log_probability(items).detach()
    np.testing.assert_allclose(found, np.negative(losses), atol=1e-4)


def test_no_end_token_belongs_to_a_scored_answer(model):
    plain, ended = model.encode(PAIRS[:1])[0], model.encode(PAIRS[:1], end=True)[0]
    assert plain.answer_tokens == 5
    assert ended.answer_tokens == 6
    assert ended.target[:-1] == plain.target
    assert ended.target[-1] == model.tokenizer.eos_token_id


def test_the_prompt_format_is_read_by_the_encoder_alone(model):
    asked = open_directory(model.location.model, PromptFormat(template="what {prompt} town"))
    pair, plain = asked.encode([("person3", "city4")])[0], model.encode([("person3", "city4")])[0]
    assert pair.target == plain.target
    assert asked.tokenizer.decode(pair.prompt, skip_special_tokens=True) == "what person3 town"


def test_an_item_beyond_the_context_is_no_measurement():
    make, tokenizer = ARCHITECTURES["bart"]
    bart = Seq2SeqLM.wrap(make(), tokenizer)
    assert bart.context_length == 48
    with pytest.raises(MeasurementError, match="holds 48"):
        bart.score([("person1 " * 60, "city1")])
    shortened = bart.shortened(bart.encode([("person1 " * 60, "in " * 60)])[0], 48)
    assert shortened.positions == 48
    assert torch.isfinite(bart.loss([shortened]))


def test_an_answer_without_tokens_is_no_measurement(model):
    with pytest.raises(MeasurementError, match="no tokens"):
        model.score([("where does person3 live", " ")])


def test_it_is_measured_in_memory_and_lent(tmp_path):
    wrapped = Seq2SeqLM.wrap(make_t5(), make_tokenizer())
    before, digest = wrapped.score(PAIRS), weights_digest(wrapped.network)
    with wrapped.preserve_weights() as network, torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert weights_digest(wrapped.network) == digest
    with wrapped.reloaded(tmp_path) as copy:
        for one_, other in zip(copy.score(PAIRS), before, strict=True):
            np.testing.assert_array_equal(one_.log_probability, other.log_probability)
    with pytest.raises(AuditorError, match="handed over in memory"):
        _ = wrapped.manifest


def test_what_the_architecture_keeps_in_float32_is_not_quantized():
    wrapped = Seq2SeqLM.wrap(make_t5(), make_tokenizer())
    layers = wrapped.quantizable_layers()
    assert layers
    assert not [name for name in layers if name.endswith(".wo") or name == "lm_head"]


def test_kinds_are_seen_from_the_files(model, tmp_path):
    folder = str(model.location.model)
    assert parse_spec(folder).kind == "seq2seq"
    wrong = parse_spec({"path": folder, "kind": "causal-lm"})
    with pytest.raises(AuditorError, match="set `kind: seq2seq`"):
        check_unopenable(wrong, locate(wrong))
    decoder = save_decoder(tmp_path / "llama", make_model("llama"), make_decoder_tokenizer())
    assert parse_spec(str(decoder)).kind == "causal-lm"
    wrong = parse_spec({"path": str(decoder), "kind": "seq2seq"})
    with pytest.raises(AuditorError, match="set `kind: causal-lm`"):
        check_unopenable(wrong, locate(wrong))


def test_a_network_of_another_kind_is_not_wrapped():
    with pytest.raises(AuditorError, match="no encoder-decoder"):
        Seq2SeqLM.wrap(make_model("llama"), make_decoder_tokenizer())
    with pytest.raises(AuditorError, match="no causal language model"):
        CausalLM.wrap(make_t5(), make_tokenizer())


def test_a_model_that_scoring_opens_can_be_trained(tmp_path):
    """Weights that are loaded in inference mode could not."""
    make, tokenizer = ARCHITECTURES["t5"]
    opened = open_directory(save(tmp_path / "t5", make(), tokenizer))
    assert opened.score(PAIRS)
    opened.loss(opened.encode(PAIRS)).backward()
    assert opened.network.lm_head.weight.grad is not None
