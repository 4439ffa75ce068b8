"""Causal, blind to padding, and asked alike in any batch."""

import pytest
import torch
from tiny_models import PROMPTS, edit_json, make_model, make_tokenizer, open_directory, save
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    RobertaConfig,
    RwkvConfig,
)

from attacks.relearning.fine_tuning import adapter, matrices
from auditor.core.errors import AuditorError, MeasurementError, OpeningError, UnavailableError
from auditor.models.batching import by_length
from auditor.models.causal_lm.behaviour import batching, is_causal, is_causal_by_design
from auditor.models.causal_lm.model import CausalLM
from auditor.models.kind import parse_spec
from auditor.models.opening import check_unopenable, locate
from auditor.models.preserve import weights_digest

COMMON = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 1}
COMMON |= {"bos_token_id": 0, "eos_token_id": 0}
ENCODER = {"num_attention_heads": 4, "intermediate_size": 32, "max_position_embeddings": 96}


def random(config, seed=0):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def rwkv():
    return random(RwkvConfig(**COMMON, attention_hidden_size=32, context_length=96))


@pytest.mark.parametrize("config", [BertConfig, RobertaConfig])
def test_encoders_are_refused_before_any_weight_is_read(config, tmp_path, tokenizer):
    save(tmp_path / "m", random(config(**COMMON, **ENCODER)), tokenizer)
    spec = parse_spec(str(tmp_path / "m"))
    with pytest.raises(AuditorError, match="no causal language model"):
        check_unopenable(spec, locate(spec))


def test_encoders_that_became_decoders_are_taken(tmp_path, tokenizer):
    save(tmp_path / "m", random(BertConfig(**COMMON, **ENCODER, is_decoder=True)), tokenizer)
    spec = parse_spec(str(tmp_path / "m"))
    check_unopenable(spec, locate(spec))


def test_a_loaded_network_is_asked_itself(tokenizer):
    """A large one is not built at random, and one in memory has no files."""
    network = BertLMHeadModel(BertConfig(**COMMON, **ENCODER)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    with pytest.raises(OpeningError, match="no causal language model"):
        CausalLM.wrap(network, tokenizer).score([("a", "b")])


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "qwen2", "gemma", "opt"])
def test_decoders_are_causal_and_blind_to_padding(architecture):
    network = make_model(architecture)
    assert is_causal_by_design(AutoModelForCausalLM, network.config)
    assert is_causal(network)
    assert is_causal(network.to(torch.bfloat16))
    assert batching(network, 1) == "padded"


def test_a_large_network_is_not_built_at_random():
    config = make_model("llama").config
    config.intermediate_size = 10**6
    assert is_causal_by_design(AutoModelForCausalLM, config) is None


def test_asking_leaves_the_generator_of_random_numbers_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    is_causal_by_design(AutoModelForCausalLM, MambaConfig(**COMMON, state_size=2))
    network = make_model("gpt2")
    torch.set_rng_state(before)
    batching(network, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_reads_padding_answers_as_one_by_one(tokenizer):
    network = rwkv()
    assert batching(network, 1) == "single"  # its decoding also mixes the rows of a batch
    prompts = ["Please say, " * (i % 3) + PROMPTS[0] for i in range(6)]
    pairs = [(prompt, "city number 21.") for prompt in prompts]
    many, one = (CausalLM.wrap(network, tokenizer, token_budget=budget) for budget in (4096, 1))
    assert many.generate(prompts, 5) == one.generate(prompts, 5)
    assert [s.mean_log_probability for s in many.score(pairs)] == pytest.approx(
        [s.mean_log_probability for s in one.score(pairs)], abs=1e-5
    )


def test_a_network_whose_padding_alone_leaks_is_asked_in_batches_of_one_length(tokenizer):
    """Absolute positions that count padding, as of some code that models bring."""

    class Counting(GPT2LMHeadModel):
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, **rest):
            return super().forward(input_ids=input_ids, **rest)

    config = GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=96)
    torch.manual_seed(0)
    network = Counting(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert batching(network, 1) == "equal"
    many, one = (CausalLM.wrap(network, tokenizer, token_budget=budget) for budget in (4096, 1))
    assert many.generate(PROMPTS, 5) == one.generate(PROMPTS, 5)


def test_batches_of_one_length():
    found = list(by_length([3, 5, 5, 3, 5, 2], 10, equal=True))
    assert found == [[1, 2], [4], [0, 3], [5]]


@pytest.fixture
def padded_beyond(tmp_path):
    """A model whose tokenizer got a pad token that has no embedding."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PADDING]"})
    assert tokenizer.pad_token_id == 400
    return save(tmp_path / "m", make_model("llama"), tokenizer)


def test_a_pad_token_beyond_the_vocabulary_changes_nothing(padded_beyond, directories):
    one, other = (open_directory(folder) for folder in (padded_beyond, directories["llama"]))
    pairs = [(prompt, "city number 21.") for prompt in PROMPTS]
    assert [s.mean_log_probability for s in one.score(pairs)] == pytest.approx(
        [s.mean_log_probability for s in other.score(pairs)], abs=1e-6
    )
    assert one.generate(PROMPTS, 6) == other.generate(PROMPTS, 6)


def test_a_token_beyond_the_vocabulary_is_named(padded_beyond):
    with pytest.raises(MeasurementError, match="the token 400"):
        open_directory(padded_beyond).score([("[PADDING] Person 3", "lives")])


def test_lora_is_put_on_the_layers_of_mamba_that_take_it():
    network = random(MambaConfig(**COMMON, state_size=4))
    before = weights_digest(network)
    with adapter(network, 2, 0, matrices(network)) as trained:
        assert trained
    assert weights_digest(network) == before


def test_a_network_is_left_as_it_was_where_peft_gives_up():
    network = random(MambaConfig(**COMMON, state_size=4))
    before = weights_digest(network)
    layers = {n: m for n, m in matrices(network).items() if n.endswith("out_proj")}
    with pytest.raises(UnavailableError, match="out_proj"), adapter(network, 2, 0, layers):
        pass
    assert weights_digest(network) == before


def test_a_limit_of_the_context_is_that_of_the_text(llama):
    edit_json(llama / "config.json", max_position_embeddings=-1)
    assert open_directory(llama).context_length is None


def test_weights_that_do_not_load_are_an_error_of_opening(llama):
    weights = dict(open_directory(llama).network.state_dict())
    weights.pop("model.layers.1.mlp.up_proj.weight")
    (llama / "model.safetensors").unlink()
    torch.save(weights, llama / "pytorch_model.bin")
    subject = open_directory(llama, allow_pickle=True)
    with pytest.raises(OpeningError, match=r"lacks weights.*up_proj"):
        subject.score([("a", "b")])
    assert OpeningError.exit_code == 2
