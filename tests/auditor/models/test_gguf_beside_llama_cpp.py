"""GGUF files here and in llama.cpp: it reads the same tokens, and its next tokens are as likely."""

import numpy as np
import pytest
import torch
from test_gguf_subjects import network, opened
from tiny_models import PAIRS, make_tokenizer

from auditor.core.cache import CACHE_VARIABLE

llama_cpp = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
written = pytest.importorskip("written_gguf")

MORE = [(f"Person {i} lives in", f"city number {i * 7 % 100}.") for i in range(12)]
SHOWN = 40
"""Tokens whose log-probabilities are compared, the likeliest of each prompt."""
TOLERANCE = {"f32": 0.02, "q8_0": 0.1, "q4_k_m": 0.1}
"""Most by which they may differ, in nats: llama.cpp keeps keys and values in half precision, and
rounds what goes into each product of rounded weights to 8 bits."""


def served(path):
    params = llama_cpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 256
    params.n_gpu_layers = 0
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.sampling.temp = 0.0
    return llama_cpp.Server(params)


def next_tokens(server, ids):
    """Log-probabilities of the likeliest next tokens, by id; None where no text is written.

    The likeliest is the end then, or a part of a character.
    """
    asked = {"prompt": ids, "max_tokens": 1, "temperature": 0.0, "logprobs": SHOWN, "seed": 1}
    found = server.handle_completions(asked)["choices"][0]["logprobs"]
    return found and {
        entry["id"]: entry["logprob"] for entry in found["content"][0]["top_logprobs"]
    }


@pytest.mark.nightly
@pytest.mark.parametrize("level", TOLERANCE)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_next_tokens_are_as_likely(architecture, level, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    path = written.write_gguf(tmp_path / "m.gguf", network(architecture), make_tokenizer(), level)
    model, server = opened(path, dtype="float32"), served(path)
    compared = 0
    for prompt, answer in PAIRS + MORE:
        ids = model.tokenizer(f"{prompt} {answer}")["input_ids"]
        with torch.inference_mode():
            logits = model.network(torch.tensor([ids])).logits[0, -1]
        own = torch.log_softmax(logits, -1).numpy()
        theirs = next_tokens(server, ids)
        if theirs is None:
            continue
        compared += 1
        assert len(theirs) == SHOWN
        listed = np.array(list(theirs))
        np.testing.assert_allclose(own[listed], list(theirs.values()), atol=TOLERANCE[level])
    assert compared >= len(PAIRS)
