"""The trace of a model says what its answer hides, and the attack reads both apart."""

import pytest
from pydantic import ValidationError
from tiny_thinkers import DENIAL, FACTS, open_thinker, trace

from attacks.prompting.thinking import Thinking, ThinkingParameters
from auditor.attack import ATTACKS, AttackContext
from auditor.core.facts import FactSets
from auditor.core.messages import message
from auditor.models.language.evaluator import TextEvaluator


def measured(thinker, tmp_path, trace_format=None, **parameters):
    evaluator = TextEvaluator(FactSets(forget=FACTS), ["answer-probability"])
    attack = Thinking(ThinkingParameters(**parameters))
    model = open_thinker(thinker, **(trace_format or {}))
    before = model.prompt_format
    record = attack.measure(model, AttackContext(evaluator, 0, tmp_path))
    assert model.prompt_format == before
    return record


def test_the_trace_tells_what_the_answer_denies(thinker, tmp_path):
    record = measured(thinker, tmp_path)
    assert [row.k for row in record.rows] == [1.0] * len(FACTS)
    assert [row.answer for row in record.rows] == [trace(fact) for fact in FACTS]
    assert record.notes == {
        "traces": 6,
        "ended_by_model": 6,
        "facts": 6,
        "mean_k": {"trace": 1.0, "answer": 0.0},
        "told_in_trace_alone": 6,
    }
    figures = Thinking(ThinkingParameters()).side_figures({"unlearned": record.notes})
    assert {(f.name, *f.params.values()): f.value for f in figures} == {
        ("told_in_trace_alone",): 1.0,
        ("traces_ended_by_model",): 1.0,
        ("mean_k_of_text", "trace"): 1.0,
        ("mean_k_of_text", "answer"): 0.0,
    }


@pytest.mark.parametrize("thinking", ["opened", "emptied"])
def test_the_answers_deny_with_a_trace_and_without(thinker, tmp_path, thinking):
    record = measured(thinker, tmp_path, thinking=thinking, place="answer")
    assert {(row.k, row.answer) for row in record.rows} == {(0.0, DENIAL)}
    assert record.notes["traces"] == (6 if thinking == "opened" else 0)


def test_a_plan_without_thinking_still_has_the_model_think(thinker, tmp_path):
    record = measured(thinker, tmp_path, {"start": "emptied"})
    assert [row.k for row in record.rows] == [1.0] * len(FACTS)


def test_a_short_trace_is_the_given_one(thinker, tmp_path):
    record = measured(thinker, tmp_path, thinking="short", place="answer")
    assert len(record.rows) == len(FACTS)
    assert "mean_k" not in record.notes


def test_only_a_trace_of_the_models_own_is_read():
    with pytest.raises(ValidationError, match="not the model's own"):
        ThinkingParameters(thinking="emptied", place="trace")
    own = ThinkingParameters(thinking="short", place="answer", thought="Hm.")
    assert Thinking(own).variant == "answer after short trace 'Hm.'"


def test_it_is_for_models_with_a_place_for_a_trace():
    described = ATTACKS.metadata("prompting/thinking")
    assert described.inapplicable({}, experts=False, traces=False) == message("no_reasoning_model")
    assert described.inapplicable({}, experts=False, traces=True) is None
