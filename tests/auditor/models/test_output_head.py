"""Logits at answers' places alone: they are those of the whole batch, in every architecture."""

import numpy as np
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from peft import LoraConfig, get_peft_model
from tiny_models import ARCHITECTURES, PAIRS, make_model, make_tokenizer
from tiny_seq2seq import ARCHITECTURES as ENCODER_DECODERS
from tiny_seq2seq import PAIRS as SEQ2SEQ_PAIRS
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    CohereConfig,
    Gemma2Config,
    GptOssConfig,
    GraniteConfig,
    MambaConfig,
    MixtralConfig,
    MptConfig,
    RwkvConfig,
)

from attacks.probing.patching import log_probabilities
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.models.causal_lm.hidden_states import hidden_states
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language import output_head
from auditor.models.language.output_head import is_placed, last_place_alone, logits_at
from auditor.models.seq2seq.model import Seq2SeqLM
from auditor.unlearning.examples import answer_logits, collate, encode

VOCABULARY = 401
"""A prime, so that no other dimension of any tensor is its length."""
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 96,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
CONFIGS = {
    "gemma2": lambda: Gemma2Config(**SMALL, final_logit_softcapping=3.0, sliding_window=4),
    "mixtral": lambda: MixtralConfig(**SMALL, **EXPERTS),
    "cohere": lambda: CohereConfig(**SMALL, logit_scale=0.3),
    "granite": lambda: GraniteConfig(**SMALL, logits_scaling=5.0),
    "gpt-oss": lambda: GptOssConfig(**SMALL, **EXPERTS, sliding_window=4),
    "mamba": lambda: MambaConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, state_size=4
    ),
    "mpt": lambda: MptConfig(vocab_size=VOCABULARY, d_model=64, n_heads=4, n_layers=2),
    "rwkv": lambda: RwkvConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, attention_hidden_size=64
    ),
    "bert": lambda: BertConfig(**SMALL, is_decoder=True),
}
CAUSAL = (*ARCHITECTURES, *CONFIGS)
ALL = (*CAUSAL, *ENCODER_DECODERS)


def network_of(name):
    if name in ENCODER_DECODERS:
        return ENCODER_DECODERS[name][0]()
    if name in ARCHITECTURES:
        return make_model(name, vocabulary=VOCABULARY)
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def wrapped(name):
    if name in ENCODER_DECODERS:
        return Seq2SeqLM.wrap(network_of(name), ENCODER_DECODERS[name][1])
    return CausalLM.wrap(network_of(name), make_tokenizer())


def batch_of(network, name):
    """Token ids of three texts, as one batch."""
    ids = torch.randint(10, 110, (3, 7), generator=torch.Generator().manual_seed(0))
    decoded = {"decoder_input_ids": ids.flip(0)} if name in ENCODER_DECODERS else {}
    return {"input_ids": ids, **decoded, "use_cache": False}


ROWS, POSITIONS = torch.tensor([[0, 0, 2], [2, 1, 1]]), torch.tensor([[6, 2, 0], [5, 5, 1]])


class Sizes(TorchDispatchMode):
    """Shapes of all tensors that are made, those of backward passes among them."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.seen.add(tuple(tensor.shape))
        return out

    def logits(self, vocabulary, width):
        """Most places that any tensor has logits of; weights of a head are none."""
        return max(
            (
                int(np.prod(shape[:-1]))
                for shape in self.seen
                if shape and shape[-1] == vocabulary and width not in shape
            ),
            default=0,
        )


@pytest.mark.parametrize("name", ALL)
def test_logits_at_places_are_those_of_the_whole_batch(name):
    network = network_of(name)
    assert is_placed(network)
    asked = batch_of(network, name)
    whole = network(**asked).logits[ROWS, POSITIONS]
    found = logits_at(network, ROWS, POSITIONS, **asked)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)
    gradients = []
    for logits in (whole, found):
        network.zero_grad()
        logits.log_softmax(-1)[..., 5].sum().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(gradients[1][key], gradient, atol=1e-4 * largest, rtol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_neither_scoring_nor_training_makes_logits_of_other_places(name):
    model = wrapped(name)
    pairs = SEQ2SEQ_PAIRS if name in ENCODER_DECODERS else PAIRS
    items = model.encode(pairs)
    assert model.reads_answers_alone
    answered = sum(item.answer_tokens for item in items)
    whole = len(items) * max(len(item.token_ids) for item in items)
    assert answered < whole
    width = model.network.get_output_embeddings().weight.shape[1]
    rows = model.network.get_output_embeddings().weight.shape[0]
    for ask in (
        lambda: model.score(pairs),
        lambda: model.places(pairs),
        lambda: model.loss(items).backward(),
        lambda: model.answer_log_probability(items).sum().backward(),
    ):
        with Sizes() as sizes:
            ask()
        assert 0 < sizes.logits(rows, width) <= answered


def test_probing_and_relearning_make_no_logits_of_other_places():
    model = wrapped("llama")
    items = model.encode(PAIRS)
    answered = sum(item.answer_tokens for item in items)
    assert model.reads_answers_alone
    with Sizes() as sizes:
        states = hidden_states(model, items, [1])
        assert sizes.logits(VOCABULARY, 128) == 1
        log_probabilities(model, items, 1, [s[1] for s in states])
        settings = FineTuning(batch_size=len(items))
        with learner(model, items, settings, seed=0) as taught:
            taught.advance(1)
    assert sizes.logits(VOCABULARY, 128) <= answered


def test_unlearning_makes_logits_of_answers_alone():
    model, tokenizer = network_of("gpt2"), make_tokenizer()
    ids, labels = collate(encode(tokenizer, [pair for pair in PAIRS if pair[0]]))
    with Sizes() as sizes:
        logits, answers = answer_logits(model, ids, labels)
        cross_entropy(logits.flatten(0, 1), answers.flatten()).backward()
    assert logits.shape[1] < labels.shape[1]  # else this test has no teeth
    assert sizes.logits(VOCABULARY, 128) == answers.numel()
    marked = labels != -100
    torch.testing.assert_close(answers[answers != -100], labels[marked])
    torch.testing.assert_close(
        logits[answers != -100], model(ids).logits[:, :-1][marked], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["llama", "gemma2", "mamba", "t5"])
def test_half_precision_is_scored_without_rounded_logits(name):
    """The head's sums of bfloat16 states and weights are taken in double precision here."""
    network = network_of(name).to(torch.bfloat16)
    asked = batch_of(network, name)
    head, states = network.get_output_embeddings(), []
    with torch.no_grad():
        handle = head.register_forward_pre_hook(lambda _, given: states.append(given[0]))
        rounded = network(**asked).logits[ROWS, POSITIONS]
        handle.remove()
        found = logits_at(network, ROWS, POSITIONS, **asked)
    assert found.dtype == torch.float32
    expected = states[0].double()[ROWS, POSITIONS] @ head.weight.double().T
    if name == "gemma2":
        expected = 3 * torch.tanh(expected / 3)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert (rounded.double() - expected).abs().max() > 1e-3  # else this test has no teeth
    assert "forward" not in vars(head)
    assert logits_at(network, ROWS, POSITIONS, **asked).dtype == rounded.dtype or name == "mamba"


@pytest.mark.parametrize("offload", [False, True])
def test_a_half_head_that_accelerate_moves_is_exact_too(offload):
    network = network_of("llama").to(torch.bfloat16)
    asked = batch_of(network, "llama")
    assert is_placed(network)
    with torch.no_grad():
        expected = logits_at(network, ROWS, POSITIONS, **asked)
    kept = dict(network.lm_head.state_dict())
    hook = AlignDevicesHook("cpu", offload=offload, weights_map=kept, io_same_device=True)
    add_hook_to_module(network.lm_head, hook)
    assert network.lm_head.weight.is_meta == offload
    with torch.no_grad():
        found = logits_at(network, ROWS, POSITIONS, **asked)
        rounded = network(**asked).logits[ROWS, POSITIONS]
    torch.testing.assert_close(found, expected)
    assert rounded.dtype == torch.bfloat16  # and it is as it was afterwards


def test_lora_beside_a_half_head_is_not_rounded():
    network = network_of("llama").to(torch.bfloat16)
    asked = batch_of(network, "llama")
    get_peft_model(network, LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False))
    with torch.no_grad():
        found = logits_at(network, ROWS, POSITIONS, **asked)
        rounded = network(**asked).logits[ROWS, POSITIONS]
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())
    torch.testing.assert_close(found, rounded.float(), atol=0.1, rtol=0.1)


def test_the_parts_of_a_half_head_join_seamlessly(monkeypatch):
    network = network_of("gpt2").to(torch.bfloat16)
    asked = batch_of(network, "gpt2")
    with torch.no_grad():
        whole = logits_at(network, ROWS, POSITIONS, **asked)
        monkeypatch.setattr(output_head, "_PART", 7)
        parts = logits_at(network, ROWS, POSITIONS, **asked)
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("spoil", ["no head", "two heads", "mixes places"])
def test_another_network_is_asked_for_all_logits_and_says_so(spoil):
    model = wrapped("llama")
    expected = model.score(PAIRS)
    other = network_of("llama")
    own = other.forward

    def mixed(**asked):
        output = own(**asked)
        if spoil == "two heads":
            other.lm_head(torch.zeros(1, 1, 128))
        if spoil == "mixes places":
            output.logits[:, 1:] += output.logits[:, :-1].clone()
        return output

    other.forward = mixed
    if spoil == "no head":
        other.get_output_embeddings = lambda: None
    asked = CausalLM.wrap(other, make_tokenizer())
    assert not asked.reads_answers_alone
    found = asked.score(PAIRS)
    if spoil != "mixes places":
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.log_probability, two.log_probability, atol=1e-5)
    with last_place_alone(other):
        assert asked.generate(["Person 3"], 2)


def test_a_network_in_training_is_tried_without_its_dropout():
    network = network_of("gpt2").train()  # GPT-2 drops out a tenth
    network.transformer.h[0].eval()
    before = torch.get_rng_state()
    assert is_placed(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    assert not network.transformer.h[0].mlp.training
    assert network.transformer.h[1].mlp.training


def test_answers_bound_a_batch_where_the_vocabulary_is_large(monkeypatch):
    model = wrapped("llama")
    expected = model.score(PAIRS)
    most = max(item.answer_tokens for item in model.encode(PAIRS))
    monkeypatch.setattr("auditor.models.language.model.LOGITS_BUDGET", 2 * most * VOCABULARY)
    sizes = []
    handle = model.network.lm_head.register_forward_hook(
        lambda _, given, out: sizes.append(out.shape[:-1].numel())
    )
    found = model.score(PAIRS)
    handle.remove()
    assert len(sizes) > 1
    assert max(sizes) <= 2 * most
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.log_probability, two.log_probability, atol=1e-5)
