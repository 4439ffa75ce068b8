"""Models of random weights, of which only time and memory are measured."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def random_llama(
    vocabulary: int, width: int, layers: int, heads: int, seed: int = 0, **config: Any
) -> LlamaForCausalLM:
    """Return a Llama of random weights with a context of 512 tokens.

    Args:
        vocabulary: rows of the embedding, which is the output head too.
        width: hidden size; inner layers are four times as wide.
        layers: number of layers.
        heads: attention heads.
        seed: of the weights.
        config: other settings of ``LlamaConfig``.
    """
    torch.manual_seed(seed)
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    return LlamaForCausalLM(LlamaConfig(**settings | config))


def write_random_llama(
    folder: Path, vocabulary: int, width: int, layers: int, heads: int, seed: int = 0, **config: Any
) -> None:
    """Write such a model with a byte-level tokenizer."""
    network = random_llama(vocabulary, width, layers, heads, seed, **config)
    network.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 300 tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator(["some words of text"], trainer)
    specials = {"eos_token": "<eos>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **specials)
