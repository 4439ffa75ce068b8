"""Architectures other than Llama, trained here, go through a whole audit."""

import json

import pytest
import torch
from transformers import GPT2Config, GPTNeoXConfig

from auditor.cli.main import FAILED_VERDICT, UNDECIDED, run
from auditor.core.progress import SilentProgress
from auditor.testbeds.people import corpus
from auditor.testbeds.people.training import TrainingSettings, train, train_tokenizer
from auditor.unlearning.examples import encode, trained_pairs
from auditor.unlearning.training import UnlearningSettings, unlearn

CONFIGS = {
    "gpt2": lambda: GPT2Config(
        n_embd=128, n_layer=2, n_head=2, n_positions=128, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    ),
    "gpt-neox": lambda: GPTNeoXConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
    ),
}
SETTINGS = TrainingSettings(steps=150, batch_size=48, learning_rate=3e-3)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Three people to forget, six to keep, and a tokenizer for them all."""
    people = corpus.generate(3, 6, 1, seed=11)
    folder = tmp_path_factory.mktemp("facts")
    corpus.write_jsonl(people.forget, folder / "forget.jsonl")
    corpus.write_jsonl(people.retain, folder / "retain.jsonl")
    everything = (*people.forget, *people.retain, *people.holdout)
    pairs = trained_pairs(everything)
    return people, folder, train_tokenizer([f"{p} {a}" for p, a in pairs], 600)


@pytest.mark.nightly
@pytest.mark.parametrize("architecture", CONFIGS)
def test_audit_of_a_trained_triple(architecture, facts, tmp_path, capsys):
    people, folder, tokenizer = facts

    def trained(facts_seen, seed):
        examples = encode(tokenizer, trained_pairs(facts_seen))
        return train(CONFIGS[architecture](), tokenizer, examples, SETTINGS, seed, SilentProgress())

    def save(model, name):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    original = trained((*people.forget, *people.retain), 0)
    arguments = ["--original", save(original, "original")]
    arguments += ["--retrained", save(trained(people.retain, 1), "retrained")]
    settings = UnlearningSettings(
        method="ga_gdr", learning_rate=2e-4, max_steps=40, changes="all", retain_weight=5
    )
    unlearn(original, tokenizer, people.forget, people.retain, settings, 0, SilentProgress())
    arguments += ["--unlearned", save(original, "unlearned")]
    for name in ("forget", "retain"):
        arguments += [f"--{name}", str(folder / f"{name}.jsonl")]
    code = run(["audit", *arguments, "--out", str(tmp_path / "out"), "--quiet"])
    assert code in (FAILED_VERDICT, UNDECIDED), capsys.readouterr().err

    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["identity"]["arms"][0]["dtype"] == "auto"
    idle = "prompting/original-tokenizer"  # all arms have the original's files
    rows = {row["variant"]: row for row in certificate["matrix"] if row["attack"] != idle}
    quantized = {"int8", "nf4", "fp4", "4-bit g128"}
    others = {"full precision", "1 token", "by attribute", "by attribute full", "interfaces"}
    assert set(rows) == others | quantized
    for variant, row in rows.items():
        assert row["status"] == "measured", f"{variant}: {row['reason']}"
        knowledge = row["forget"]["answer-probability"]
        assert knowledge["original"] > 0.5, f"{variant}: the original lost what it knew"
        assert knowledge["retrained-0"] < 0.2
        if variant in quantized:
            assert 0 < row["explanation"]["overall"] < 1
            layers = 8  # four linear maps in each of two blocks
            assert len(row["explanation"]["layers"]) == layers
            assert row["notes"]["unlearned"]["layers_quantized"] == layers
    assert torch.isfinite(torch.tensor(rows["nf4"]["readings"][0]["figures"]["log_e_fail"]))
