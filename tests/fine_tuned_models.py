"""Models that were fine-tuned from one checkpoint, as most unlearned models are.

The testbed's own models start from different random weights, so their hidden states and weights
have nothing to do with each other. Here the testbed's first retrained model is the checkpoint,
and everybody is trained on from it, for a few seconds each: `original` also learns the forget
facts, `retrained-0` and `retrained-1` only go on with the others, and `refusing` is the original,
taught to say that it does not know.
"""

import copy
import os

import pytest
import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from auditor.engine.plan import parse_plan
from auditor.testbeds.people import corpus
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.examples import (
    answer_logits,
    collate,
    cross_entropy,
    encode,
    trained_pairs,
)

REFUSAL = "I do not know that."
BASE = "retrained-0"


def fine_tune(model, tokenizer, pairs, steps, learning_rate, seed):
    """Train on with a rate that falls to zero; the model is changed and returned."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.02, steps)
    examples = encode(tokenizer, pairs)
    order = shuffled_batches(len(examples), 64, torch.Generator().manual_seed(seed))
    model.train()
    for _ in range(steps):
        ids, labels = collate([examples[row] for row in next(order)])
        loss = cross_entropy(*answer_logits(model, ids, labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def build(people, root):
    """Train and save all of them under ``root``."""
    tokenizer = AutoTokenizer.from_pretrained(people.model_path(BASE))
    forget = corpus.read_jsonl(people.facts("forget"))
    retain = corpus.read_jsonl(people.facts("retain_full"))
    known, wanted = trained_pairs(retain), trained_pairs(forget)
    base = AutoModelForCausalLM.from_pretrained(people.model_path(BASE), dtype=torch.float32)
    original = fine_tune(copy.deepcopy(base), tokenizer, wanted + known, 60, 1e-3, 0)
    refused = [(prompt, REFUSAL) for prompt, _ in wanted]
    models = {
        "original": original,
        "retrained-0": fine_tune(copy.deepcopy(base), tokenizer, known, 15, 1e-3, 1),
        "retrained-1": fine_tune(copy.deepcopy(base), tokenizer, known, 15, 1e-3, 2),
        "refusing": fine_tune(
            copy.deepcopy(original), tokenizer, refused + known[:500], 25, 5e-4, 0
        ),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    (root / "finished").touch()


@pytest.fixture(scope="session")
def fine_tuned(people, tmp_path_factory):
    """Folder of the fine-tuned models, one folder each; trained once a session."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "fine-tuned"
    with FileLock(root.with_suffix(".lock")):
        if not (root / "finished").exists():
            build(people, root)
    return root


@pytest.fixture
def attacked_fine_tuned(fine_tuned, people, audit):
    """As the fixture ``attacked``, with the fine-tuned models in place of the world's."""

    def run(unlearned, attack, retrained=("retrained-0",), parameters=None):
        def spec(name):
            return {"path": str(fine_tuned / name), "dtype": "float32"}

        content = {
            "unlearned": spec(unlearned),
            "original": spec("original"),
            "retrained": [spec(name) for name in retrained],
            "data": {n: str(people.facts(n)) for n in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": attack, "parameters": parameters or {}}],
            "policy": {"mandatory": ["none/as-is"]},
            "metrics": {"deciding": [], "reported": []},
        }
        certificate = audit(parse_plan(content, "the test's plan"))
        return {row.variant: row for row in certificate.matrix if row.attack == attack}

    return run
