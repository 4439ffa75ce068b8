"""Small mixtures of experts in the forms that are deployed."""

import torch
from tiny_models import CONTEXT
from transformers import (
    AutoModelForCausalLM,
    GptOssConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
)

MIXTURES = ("mixtral", "qwen3-moe", "gpt-oss")
EXPERTS = 4


def make_config(form: str, vocabulary: int = 400, width: int = 64) -> PretrainedConfig:
    """The configuration of a form with two layers of four experts, two of them chosen."""
    common = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "max_position_embeddings": CONTEXT,
        "num_experts_per_tok": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 1,
    }
    if form == "mixtral":
        return MixtralConfig(**common, intermediate_size=96, num_local_experts=EXPERTS)
    if form == "qwen3-moe":
        return Qwen3MoeConfig(
            **common, intermediate_size=96, moe_intermediate_size=96, num_experts=EXPERTS
        )
    scaling = {"rope_type": "default", "rope_theta": 10_000.0}
    return GptOssConfig(
        **common, intermediate_size=96, num_local_experts=EXPERTS, rope_parameters=scaling
    )


def make_mixture(form: str, seed: int = 0, vocabulary: int = 400) -> torch.nn.Module:
    """A mixture of random weights."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(make_config(form, vocabulary)).eval().float()
