"""Text side of a model of shapes.

It is a CLIP tokenizer in which every known word is one token.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from auditor.testbeds.shapes import captions
from auditor.testbeds.shapes.drawing import COLORS

LENGTH = 24
"""Tokens of a prompt with begin and end: room for a caption behind 16 searched tokens."""

BEGIN, END = "<|startoftext|>", "<|endoftext|>"

_WORD_END = "</w>"


def vocabulary() -> tuple[str, ...]:
    """Return every word that is one token, sorted.

    They are the words of captions and the colours.
    """
    return tuple(sorted({*captions.words(), *COLORS}))


def write_tokenizer(folder: Path, words: Iterable[str]) -> CLIPTokenizer:
    """Write a tokenizer in CLIP's layout, and open it.

    The files are ``vocab.json`` and ``merges.txt``.

    Each word becomes one token. Any other text is spelt in bytes, as in CLIP (arXiv
    2103.00020), so no token is ever unknown.

    Args:
        folder: Existing; the files are written to it.
        words: Words in lower case.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = merges(words)
    pieces = [*alphabet, *(byte + _WORD_END for byte in alphabet), *map("".join, pairs), BEGIN, END]
    ids = {piece: index for index, piece in enumerate(pieces)}
    text = json.dumps(ids, ensure_ascii=False, indent=0) + "\n"
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    lines = ["#version: 0.2", *map(" ".join, pairs)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges (arXiv 1508.07909) until every word is one piece, in order.

    The most frequent pair comes first and the first in the alphabet among equals: the trainer of
    the ``tokenizers`` library breaks ties by chance, and the same words must give the same ids.
    """
    spelt = [[*word[:-1], word[-1] + _WORD_END] for word in sorted(words)]
    found = []
    while pairs := Counter(pair for pieces in spelt for pair in pairwise(pieces)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        spelt = [_merged(pieces, best) for pieces in spelt]
    return found


def _merged(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def encode(tokenizer: CLIPTokenizer, prompts: Iterable[str]) -> torch.Tensor:
    """Token ids [n, LENGTH], padded with the end token as CLIP is."""
    ids: torch.Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    )["input_ids"]
    return ids


def text_encoder(tokenizer: CLIPTokenizer, width: int, layers: int, heads: int) -> CLIPTextModel:
    """A CLIP text encoder with random weights, float32."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
