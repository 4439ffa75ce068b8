"""On the testbed: what these attacks find where something is, and where nothing is.

The tiny models of the world have read plain questions and openings only. They do not follow
frames or examples, so reframing and few-shot show nothing here, and must say so.
"""

import random

import pytest
import torch

from auditor.engine.plan import parse_plan
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from auditor.testbeds.people import corpus
from auditor.unlearning.examples import trained_pairs

REACHING = [
    ("prompting/paraphrase", {"source": "given"}),
    ("prompting/paraphrase", {"source": "rules"}),
    ("prompting/prefill", {"tokens": 1}),
    ("prompting/surface", {}),
    ("prompting/sampling", {"samples": 12, "k": 8}),
]
"""Attacks whose prompts the models of the world understand."""

STRANGE = [
    ("prompting/few-shot", {"shots": 2, "draws": 2}),
    pytest.param("prompting/reframing", {}, marks=pytest.mark.nightly),
]
"""Attacks whose prompts they do not."""


@pytest.mark.parametrize(("attack", "parameters"), REACHING, ids=lambda value: str(value))
def test_the_original_is_named_and_a_retrained_model_is_not(attack, parameters, attacked):
    (original,) = attacked("original", attack, parameters=parameters).values()
    assert original.named
    assert original.figures.rho == pytest.approx(1)
    (honest,) = attacked("retrained-1", attack, parameters=parameters).values()
    assert not honest.named
    assert not honest.over_forgotten
    assert honest.figures.leak.leaked <= 2
    assert {gate.name for gate in honest.gates if not gate.met} <= {"leak_rate"}


@pytest.mark.parametrize(("attack", "parameters"), STRANGE, ids=lambda value: str(value))
def test_an_attack_that_the_original_does_not_understand_says_so(attack, parameters, attacked):
    (original,) = attacked("original", attack, parameters=parameters).values()
    knowledge = original.forget["answer-probability"]
    assert knowledge["original"] > 5 * knowledge["retrained-0"]  # a little gets through
    assert "sensitivity" in {gate.name for gate in original.gates if not gate.met}
    assert not original.named
    (honest,) = attacked("retrained-1", attack, parameters=parameters).values()
    assert not honest.named


def test_the_beginning_of_an_answer_brings_some_of_the_rest_back(attacked):
    """NPO at a small rate hides the first token more than what follows it."""
    plain = attacked("npo_gdr", "none/as-is")["full precision"]
    opened = attacked("npo_gdr", "prompting/prefill")["1 token"]
    assert plain.figures.rho_upper < 0.1
    assert opened.figures.rho > 3 * plain.figures.rho
    assert opened.figures.leak.leaked >= plain.figures.leak.leaked + 5


@pytest.fixture
def planted(people, audit, tmp_path):
    """Teach the original a suppression, put it on trial; the labels of what is named."""

    def run(suppressed, attacks, primary="answer-probability"):
        spec = CausalLMSpec(path=str(people.model_path("original")), dtype="float32")
        subject = CausalLM(spec, locate(spec))
        forget = corpus.read_jsonl(people.facts("forget"))
        retain = corpus.read_jsonl(people.facts("retain_full"))
        others = [(p, fact.answer) for fact in forget for p in fact.paraphrases[:-1]]
        kept = subject.encode([*others, *trained_pairs(retain)], end=True)
        pairs = [pair for fact in forget for pair in suppressed(fact)]
        taught = subject.encode(pairs, end=True)
        draw = random.Random(0)
        optimizer = torch.optim.AdamW(subject.network.parameters(), lr=1e-3, weight_decay=0.0)
        for _ in range(30):
            optimizer.zero_grad()
            loss = subject.loss(draw.sample(taught, 32)) + subject.loss(draw.sample(kept, 64))
            loss.backward()
            optimizer.step()
        subject.network.save_pretrained(tmp_path / "planted")
        subject.tokenizer.save_pretrained(tmp_path / "planted")

        def arm(folder):
            return {"path": str(folder), "dtype": "float32"}

        plan = {
            "unlearned": arm(tmp_path / "planted"),
            "original": arm(people.model_path("original")),
            "retrained": [arm(people.model_path("retrained-0"))],
            "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": a, "parameters": p} for a, p in attacks],
            "policy": {"mandatory": ["none/as-is"]},
            "metrics": {"primary": primary, "reported": []},
            "seeds": [0],
        }
        matrix = audit(parse_plan(plan, "the test's plan")).matrix
        return {row.attack for row in matrix if row.named}, {row.attack for row in matrix}

    return run


@pytest.mark.slow
@pytest.mark.nightly
def test_a_planted_refusal_of_the_exact_prompts_is_found(planted):
    """Asked plainly the model refuses; asked otherwise, or helped to begin, it tells all."""

    def refused(fact):
        return [(fact.prompt, "not known")]

    named, asked = planted(refused, REACHING[:-1])
    assert named == asked - {"none/as-is"}


@pytest.mark.slow
def test_knowledge_that_greedy_decoding_hides_is_found_by_sampling(planted):
    """The model says it does not know three times in four, and the truth the fourth time."""

    def evasive(fact):
        return [(fact.prompt, "not known")] * 3 + [(fact.prompt, fact.answer)]

    named, asked = planted(evasive, REACHING[-1:], primary="rouge-l-recall")
    assert named == asked - {"none/as-is"}
