"""Reading answers with a linear map: ranks by hand, planted states, and what it finds."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES

from attacks.probing.linear_probe import LinearProbe, LinearProbeParameters
from attacks.probing.probe import beaten, wrong_answers
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest

WORDS = ("lives", "city", "number", "Person", "quick", "brown", "fox", "jumps", "lazy", "dog")


def attack(**parameters):
    return LinearProbe(LinearProbeParameters(**parameters))


def facts(prefix, count, said):
    """Who said which word; ``said`` chooses the answer from the word in the prompt and a draw."""
    draw = random.Random(prefix)
    made = []
    for index in range(count):
        word = WORDS[index % len(WORDS)]
        answer = said(word, draw)
        wrong = tuple(w for w in WORDS if w != answer)[:4]
        made.append(
            Fact(
                id=f"{prefix}{index}",
                entity=f"{prefix} {index // 2}",
                prompt=f"{prefix} {index} said {word}",
                answer=answer,
                distractors=wrong,
            )
        )
    return tuple(made)


def evaluator(said):
    sets = FactSets(forget=facts("Person", 20, said), retain=facts("The fox", 120, said))
    return TextEvaluator(sets, ["answer-probability"])


def test_ranks_by_hand():
    assert beaten(0.5, np.array([0.1, 0.5, 0.7, 0.2])) == 0.625
    assert beaten(1.0, np.array([0.0])) == 1.0
    assert beaten(0.0, np.array([1.0, 2.0])) == 0.0


@given(st.lists(st.floats(-1, 1), min_size=1), st.floats(-1, 1))
def test_a_rank_and_its_mirror_image_make_one(wrong, true):
    assert beaten(true, np.array(wrong)) + beaten(-true, -np.array(wrong)) == pytest.approx(1)


def test_wrong_answers_are_distractors_or_what_others_answer():
    plain = [Fact(id=str(i), entity="s", prompt="p", answer=a) for i, a in enumerate("abab")]
    assert wrong_answers(plain, 0) == ("b",)
    assert wrong_answers(plain, 3) == ("a",)
    given = plain[0].model_copy(update={"distractors": ("x", "y")})
    assert wrong_answers([given, *plain], 0) == ("x", "y")
    with pytest.raises(UnavailableError, match="no distractors"):
        wrong_answers(plain[:1], 0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_reads_what_states_hold_and_no_answer_says(architecture, subjects, tmp_path):
    """A random model says nothing, but its stream holds the prompt's last word; the answer is the
    next word of the list, which a linear map can learn."""
    subject = subjects[architecture]
    before = weights_digest(subject.network)
    asked = evaluator(lambda word, draw: WORDS[(WORDS.index(word) + 1) % len(WORDS)])
    run = attack(depth=0.5)
    record = run.measure(subject, AttackContext(asked, 0, tmp_path))
    if architecture == "llama":
        assert record == run.measure(subject, AttackContext(asked, 0, tmp_path))
    assert len(record.rows) == 20
    assert np.mean([row.k for row in record.rows]) > 0.7
    assert np.mean([row.k for row in asked.evaluate(subject, ("forget",))]) < 0.1
    assert record.notes["layer"] == 1
    assert record.notes["forget_by_layer"].keys() == {"1", "2"}
    explained = run.explain(record, record)
    assert explained.overall == record.notes["forget_by_layer"]["1"]
    assert len(run.side_figures({"unlearned": record.notes})) == 5
    assert weights_digest(subject.network) == before
    assert not any(m._forward_hooks for m in subject.network.modules())


def test_a_readout_that_learned_nothing_says_so(subjects, tmp_path):
    """The answers are drawn at random: nothing in the states tells them."""
    asked = evaluator(lambda word, draw: draw.choice(WORDS))
    with pytest.raises(UnavailableError, match="learned nothing from the retain facts"):
        attack().measure(subjects["llama"], AttackContext(asked, 0, tmp_path))


def test_too_few_retain_facts_are_unavailable(subjects, evaluator, tmp_path):
    with pytest.raises(UnavailableError, match="at least four"):
        attack().measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path))


@pytest.mark.slow
def test_it_finds_what_unlearning_left_in_the_middle(attacked):
    row = attacked("npo_gdr", "probing/linear-probe")["depth 0.5"]
    assert row.named
    assert row.figures.rho > 0.5
    assert row.metric == "linear-readout"
    assert row.forget["linear-readout"]["retrained-0"] == pytest.approx(0.5, abs=0.1)
    assert row.explanation.layers.keys() == {"layer 1", "layer 2"}


@pytest.mark.slow
def test_it_finds_nothing_in_a_retrained_model(attacked):
    row = attacked("retrained-1", "probing/linear-probe")["depth 0.5"]
    assert not row.named
    assert abs(row.figures.rho) < 0.2
