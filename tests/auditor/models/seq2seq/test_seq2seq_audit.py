"""Audits of tiny T5s, trained here: original, retrained, and unlearned by gradient ascent."""

import pytest
from tiny_seq2seq import (
    make_t5,
    make_tokenizer,
    save,
    train,
    unlearn,
    world,
    write,
)

from auditor.core.roles import Status
from auditor.engine.plan import parse_plan
from auditor.models.seq2seq.model import Seq2SeqLM

ATTACKS = [
    {"attack": "quantization/bnb", "parameters": {"format": ["int8", "nf4"]}},
    {"attack": "relearning/held-out-facts"},
    {"attack": "quantization/half-types"},
    {"attack": "probing/output-probe"},
    {"attack": "tampering/revive"},
    {"attack": "membership/likelihood", "parameters": {"score": ["loss", "reference"]}},
]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A plan for an audit of one of the models; no kind is named in it."""
    root, sets = tmp_path_factory.mktemp("seq2seq"), world()
    taught = {
        "original": (sets.forget + sets.retain, 0),
        "retrained-0": (sets.retain, 1),
        "retrained-1": (sets.retain, 2),
        "retrained-2": (sets.retain, 3),
    }
    for name, (facts, seed) in taught.items():
        model = Seq2SeqLM.wrap(make_t5(seed), make_tokenizer())
        train(model, facts, steps=90)
        save(root / name, model.network, model.tokenizer)
        if name == "original":
            for name_, least in (("half-forgotten", 0.5), ("forgotten", 3.0)):
                unlearn(model, sets, least)
                save(root / name_, model.network, model.tokenizer)
    data = {
        name: str(write(sets.named(name), root / f"{name}.jsonl"))
        for name in ("forget", "retain", "holdout")
    }

    def make(unlearned, **changes):
        content = {
            "unlearned": str(root / unlearned),
            "original": str(root / "original"),
            "retrained": [str(root / "retrained-0"), str(root / "retrained-1")],
            "data": data,
            "profile": None,
            "attacks": ATTACKS,
            "policy": {"mandatory": ["none/as-is", "quantization/bnb nf4"]},
            "seeds": [0],
        }
        return parse_plan(content | changes, "the test's plan")

    return make


@pytest.mark.nightly
def test_what_is_left_is_found_by_every_attack(plan, audit, tmp_path):
    certificate = audit(plan("half-forgotten"), tmp_path)
    assert certificate.identity.kind == "seq2seq"
    assert {row.status for row in certificate.matrix} == {Status.MEASURED}
    rows = {(row.attack, row.variant): row for row in certificate.matrix}
    assert len(rows) == 1 + 2 + 1 + 2
    named = {row.attack for row in certificate.matrix if row.named}
    assert named >= {"none/as-is", "quantization/bnb", "relearning/held-out-facts"}
    assert certificate.verdict.verdict == "FAIL"
    for format_ in ("int8", "nf4"):
        noted = rows["quantization/bnb", format_].notes["unlearned"]
        kept = noted["layers_at_full_precision"]
        assert {name.rsplit(".", 1)[-1] for name in kept} == {"wo"}
        assert noted["layers_quantized"] > len(kept)


def test_what_is_gone_does_not_come_back(plan, audit, tmp_path):
    certificate = audit(plan("forgotten"), tmp_path)
    rows = {row.attack: row for row in certificate.matrix}
    for attack in ("none/as-is", "relearning/held-out-facts"):
        assert rows[attack].figures.rho < 0.2
        assert rows[attack].figures.gap_lower > 0.5


@pytest.mark.nightly
def test_a_model_that_never_knew_does_not_fail(plan, audit, tmp_path):
    certificate = audit(plan("retrained-2"), tmp_path)
    assert certificate.verdict.verdict != "FAIL"
    assert not [row.label for row in certificate.matrix if row.named]
