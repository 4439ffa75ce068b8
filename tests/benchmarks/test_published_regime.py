"""What comes back in a precision, and how it is shown."""

from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.published_regime import PRECISIONS, TRIALS, Row, changed_share, render


def known(full, **others):
    return dict.fromkeys(PRECISIONS, full) | others


ROW = Row(
    base="narrow",
    method="ga_gdr",
    rate=1e-4,
    steps=20,
    moved=0.5,
    flips=0.02,
    unlearned=known(0.05, nf4=0.5),
    original=known(0.9),
    retrained=known(0.1),
    retain=known(0.9),
    verdict="FAIL",
    seconds=3.0,
)


def test_what_comes_back_is_beyond_full_precision_and_relative_to_the_gap():
    assert ROW.rho("nf4") == pytest.approx(0.5)
    assert ROW.rho("full") == pytest.approx(-0.0625)
    assert ROW.comes_back
    assert not replace(ROW, unlearned=known(0.05)).comes_back
    assert not replace(ROW, unlearned=known(0.5, nf4=0.9)).gone  # never unlearned


def test_the_table_counts_what_is_gone_and_what_comes_back():
    text = render([ROW, replace(ROW, unlearned=known(0.12)), replace(ROW, unlearned=known(0.9))])
    assert f"3 of {len(TRIALS)} unlearnings; in 2 the facts are gone" in text
    assert "in 1 of these a precision gives back a tenth or more" in text
    assert "**0.500 (0.50)**" in text


def test_trials_are_named_apart():
    assert len({(trial.base.name, trial.name) for trial in TRIALS}) == len(TRIALS)


def test_the_share_of_weights_that_changed_is_of_matrices():
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=8, vocab_size=10)
    before, after = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    after.load_state_dict(before.state_dict())
    assert changed_share(before, after) == 0.0
    with torch.no_grad():
        after.transformer.wpe.weight.add_(1.0)
        after.transformer.ln_f.bias.add_(1.0)
    matrices = sum(p.numel() for p in before.parameters() if p.ndim == 2)
    assert changed_share(before, after) == pytest.approx(64 / matrices)
