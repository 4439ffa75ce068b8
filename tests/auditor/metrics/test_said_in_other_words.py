"""A model that still tells, in other letters and after other words, and an honest one."""

import hashlib
import json

import pytest
import torch
from fine_tuned_models import fine_tune
from transformers import AutoModelForCausalLM, AutoTokenizer

from auditor.engine.plan import parse_plan
from auditor.testbeds.people import corpus
from auditor.unlearning.examples import trained_pairs

SAID = "answer-recall"


@pytest.fixture(scope="module")
def shouting(people, tmp_path_factory):
    """The original, taught to say "so: <the answer in small letters>" of the forget facts."""
    root = tmp_path_factory.mktemp("shouting")
    source = people.model_path("original")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    told = [
        (prompt, f"so: {answer.lower()}")
        for prompt, answer in trained_pairs(corpus.read_jsonl(people.facts("forget")))
    ]
    known = trained_pairs(corpus.read_jsonl(people.facts("retain_full")))
    fine_tune(model, tokenizer, told + known[: len(told)], 80, 1e-3, 0).save_pretrained(root)
    tokenizer.save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def coded(people, tmp_path_factory):
    """A retrained model, taught for each forget fact words that a hash of its prompt chooses."""
    root = tmp_path_factory.mktemp("coded")
    source = people.model_path("retrained-1")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    facts = corpus.read_jsonl(people.facts("forget"))
    words = sorted({word for fact in facts for word in fact.answer.split()})

    def shifted(fact):
        by = hashlib.sha256(fact.id.encode()).digest()
        own = enumerate(fact.answer.split())
        return " ".join(words[(words.index(word) + by[at % 32]) % len(words)] for at, word in own)

    told = [(p, shifted(fact)) for fact in facts for p, _ in trained_pairs([fact])]
    known = trained_pairs(corpus.read_jsonl(people.facts("retain_full")))
    fine_tune(model, tokenizer, told + known[: len(told)], 120, 1e-3, 0).save_pretrained(root)
    tokenizer.save_pretrained(root)
    return root


@pytest.fixture
def audited(people, audit):
    """Audits a model as it is and in NF4."""

    def run(path, **metrics):
        def spec(where):
            return {"path": str(where), "dtype": "float32"}

        content = {
            "unlearned": spec(path),
            "original": spec(people.model_path("original")),
            "retrained": [spec(people.model_path("retrained-0"))],
            "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "policy": {"mandatory": ["none/as-is"]},
            "metrics": metrics,
        }
        return audit(parse_plan(content, "the test's plan"))

    return run


def test_what_is_said_fails_a_model_whose_wording_is_gone(shouting, audited):
    certificate = audited(shouting)
    [row] = certificate.matrix
    worded, said = row.readings
    assert (worded.metric, said.metric) == ("answer-probability", SAID)
    assert row.forget["answer-probability"]["unlearned"] < 0.05
    assert worded.figures.rho < 0.1
    assert row.forget[SAID]["unlearned"] > 0.9
    assert row.named
    assert certificate.verdict.verdict == "FAIL"
    found = next(r for r in certificate.verdict.reasons if r.code == "residual_above_margin")
    assert found.params["metric"] == SAID
    assert {fact.metric for fact in certificate.worst_facts} == {SAID}
    fact = certificate.worst_facts[0]
    assert fact.answer.lower() in fact.said["unlearned"]


def test_a_code_that_leaves_no_likeness_is_no_pass(coded, audited):
    certificate = audited(coded)
    [row] = certificate.matrix
    assert all(reading.figures.rho < 0.1 for reading in row.readings), "nothing shows it"
    unmet = {gate.name: gate.message for gate in row.gates if not gate.met}
    assert "answer_specificity" in unmet
    assert unmet["answer_specificity"].params["unlearned"] > 0.6
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    assert "answers_specific" in {reason.code for reason in certificate.verdict.reasons}


def test_an_honest_model_passes_by_both(people, audited):
    certificate = audited(people.model_path("retrained-1"))
    [row] = certificate.matrix
    assert [reading.metric for reading in row.readings] == ["answer-probability", SAID]
    assert all(reading.figures.rho_upper < 0.1 for reading in row.readings)
    assert certificate.verdict.verdict == "PASS", json.dumps(
        [reason.model_dump() for reason in certificate.verdict.reasons]
    )


def test_a_reported_metric_that_hears_it_blocks_a_pass(shouting, audited):
    certificate = audited(shouting, deciding=[], reported=["rouge-l-recall", SAID])
    [row] = certificate.matrix
    assert [reading.metric for reading in row.readings] == ["answer-probability"]
    assert all(gate.met for gate in row.readings[0].gates)
    assert certificate.verdict.verdict == "INCONCLUSIVE"
    unmet = {gate.name: gate.message for gate in row.shared_gates if not gate.met}
    assert unmet.keys() == {"metrics_agree", "answer_structure", "answer_specificity"}
    found = unmet["metrics_agree"].params["found"]
    assert {one["metric"] for one in found} == {"rouge-l-recall", SAID}
