"""Batches in which answers are written: as many rows as keys and values leave room for."""

import pytest
import torch
from tiny_models import ARCHITECTURES, PROMPTS, make_model, make_tokenizer, open_directory
from tiny_seq2seq import ARCHITECTURES as ENCODER_DECODERS
from tiny_seq2seq import PROMPTS as SEQ2SEQ_PROMPTS
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DynamicCache,
    Gemma2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    RwkvConfig,
)

from auditor.core.facts import Fact, FactSets
from auditor.models import memory
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language import model as language_model
from auditor.models.language.cache_size import CacheSize, cache_size
from auditor.models.language.evaluator import Asking, TextEvaluator
from auditor.models.seq2seq.model import Seq2SeqLM

COMMON = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
ATTENTION = {
    "llama": lambda: LlamaConfig(**COMMON, num_key_value_heads=2),
    "mistral": lambda: MistralConfig(**COMMON, num_key_value_heads=2, sliding_window=5),
    "gemma2": lambda: Gemma2Config(**COMMON, num_key_value_heads=2, head_dim=32, sliding_window=5),
    "latent attention": lambda: DeepseekV3Config(
        **COMMON,
        num_key_value_heads=4,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_nope_head_dim=16,
        qk_rope_head_dim=8,
        v_head_dim=12,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        moe_intermediate_size=32,
        first_k_dense_replace=4,
    ),
}


def kept(network, tokens):
    """Numbers that the library's own cache holds after a text."""
    with torch.inference_mode():
        out = network(input_ids=torch.arange(10, 10 + tokens)[None], use_cache=True)
    cache = out.past_key_values
    assert isinstance(cache, DynamicCache)
    return sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)


@pytest.mark.parametrize("name", [*ATTENTION, *ARCHITECTURES])
def test_what_is_kept_is_known_from_the_configuration(name):
    network = (
        AutoModelForCausalLM.from_config(ATTENTION[name]()).eval()
        if name in ATTENTION
        else make_model(name)
    )
    size = cache_size(network.config)
    assert size.numbers(3) == kept(network, 3)
    last = sum(numbers for _, numbers in size.windowed)
    for tokens in (6, 20):  # beyond a window the library keeps its last tokens but one
        assert size.numbers(tokens) - last == kept(network, tokens)


def test_windows_are_those_of_the_layers():
    assert cache_size(ATTENTION["gemma2"]()) == CacheSize(2 * 128, ((5, 2 * 128),))
    assert cache_size(ATTENTION["mistral"]()) == CacheSize(0, ((5, 4 * 64),))


@pytest.mark.parametrize("make", [MambaConfig, RwkvConfig])
def test_other_states_are_not_guessed(make):
    assert cache_size(make()) is None


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_keeps_both_sides(name):
    make, _ = ENCODER_DECODERS[name]
    network = make()
    with torch.inference_mode():
        cache = network(
            input_ids=torch.tensor([[5, 6, 7]]), decoder_input_ids=torch.tensor([[0, 1]])
        ).past_key_values
    numbers = sum(
        layer.keys.numel() + layer.values.numel()
        for side in (cache.self_attention_cache, cache.cross_attention_cache)
        for layer in side.layers
    )
    assert cache_size(network.config).numbers(3 + 2) == numbers


def rows_of(model, prompts, new):
    """Answers, and the rows of each batch in which they were written."""
    rows = []
    handle = model.network.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    said = model.generate(prompts, new)
    handle.remove()
    return said, rows


def test_batches_fit_the_room_that_is_free(directories, subjects, monkeypatch):
    model = open_directory(directories["llama"])
    expected = subjects["llama"].generate(PROMPTS, 5)
    config, longest = model.config, max(len(model.tokenizer(p)["input_ids"]) for p in PROMPTS)
    row = 4 * (cache_size(config).numbers(longest + 5) + 24 * 128 * longest) + 16 * 400
    for fits in (1, 2):
        monkeypatch.setattr(language_model, "room_for_states", lambda gpus, n=fits: n * row)
        said, rows = rows_of(model, PROMPTS, 5)
        assert said == expected
        assert rows[0] == fits
    monkeypatch.setattr(language_model, "room_for_states", lambda gpus: 1 << 40)
    assert rows_of(model, PROMPTS, 5)[1][0] == len(PROMPTS)


def test_a_gpu_takes_more_rows_than_the_token_budget(directories, monkeypatch):
    """No GPU is asked; only its room is stated."""
    prompts = [f"Person {i}" for i in range(40)]
    model = open_directory(directories["llama"], token_budget=40)
    _, few = rows_of(model, prompts, 5)
    assert max(few) < 8
    monkeypatch.setattr(language_model, "gpus_of", lambda network: [0])
    monkeypatch.setattr(language_model, "room_for_states", lambda gpus: 1 << 40)
    _, many = rows_of(model, prompts, 5)
    assert many[0] == len(prompts)
    monkeypatch.setattr(language_model, "cache_size", lambda config: None)
    assert rows_of(model, prompts, 5)[1] == few


def test_small_differences_of_free_memory_make_no_other_batches(monkeypatch):
    sizes = iter([(40 << 30, 80 << 30), (61 << 30, 80 << 30), (30 << 30, 80 << 30)])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: next(sizes))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 4 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda gpu: 2 << 30)
    assert [memory.room_for_states([0]) >> 30 for _ in range(3)] == [16, 16, 16]


@pytest.mark.parametrize("kind", ["causal-lm", "seq2seq"])
def test_a_prompt_is_read_without_logits_of_its_tokens(kind):
    """The head sees one place of each row, in the first pass too."""
    if kind == "seq2seq":
        make, tokenizer = ENCODER_DECODERS["t5"]
        model, prompts = Seq2SeqLM.wrap(make(), tokenizer), SEQ2SEQ_PROMPTS
    else:
        model, prompts = CausalLM.wrap(make_model("gpt2"), make_tokenizer()), PROMPTS
    seen = []
    handle = model.network.get_output_embeddings().register_forward_hook(
        lambda _, given, out: seen.append(out.shape[1])
    )
    model.generate(prompts, 4)
    handle.remove()
    assert set(seen[-4:]) == {1}


def test_all_wordings_and_metrics_are_decoded_once(subjects, monkeypatch):
    """Rows are those of one wording at a time."""
    facts = tuple(
        Fact(id=f"f{i}", entity=f"Person {i}", prompt=f"Person {i}", answer=f"lives in city {i}")
        for i in range(4)
    )
    names = ("rouge-l-recall", "answer-recall", "answer-probability")
    evaluator = TextEvaluator(FactSets(forget=facts), names)
    askings = [
        Asking(lambda fact: fact, {"f0", "f1", "f2", "f3"}),
        Asking(lambda fact: fact.model_copy(update={"prompt": f"{fact.prompt} and"}), {"f1", "f3"}),
        Asking(lambda fact: fact, set()),
    ]
    model = subjects["llama"]
    expected = [
        evaluator.evaluate(model, ("forget",), asking.rewrite, only=asking.only)
        for asking in askings[:2]
    ]
    calls = []
    own = model.generate
    monkeypatch.setattr(model, "generate", lambda *given, **o: calls.append(1) or own(*given, **o))
    found = evaluator.evaluate_wordings(model, "forget", askings)
    assert len(calls) == 1
    assert found[2] == ()
    for rows, others in zip(found, expected, strict=False):
        assert [r._replace(k=0) for r in rows] == [r._replace(k=0) for r in others]
        assert [r.k for r in rows] == pytest.approx([r.k for r in others], rel=1e-4)
    assert evaluator.evaluate_wordings(model, "forget", askings[2:]) == [()]
