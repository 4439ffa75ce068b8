"""Answers of a model that thinks: what stands outside of its trace."""

import pytest
from tiny_models import make_model, make_tokenizer, open_directory, save
from tiny_thinkers import DENIAL, FACTS, ROOM, open_thinker, thinking_tokenizer, trace

from auditor.core.errors import UnavailableError
from auditor.core.facts import FactSets
from auditor.models.language.decoding import Sampling
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.reasoning import Writer
from auditor.models.language.traces import FAMILIES
from auditor.models.spec import PromptFormat

PROMPTS = [fact.prompt for fact in FACTS]


def test_the_answer_is_what_stands_behind_the_trace(thinker):
    model = open_thinker(thinker)
    assert model.generate(PROMPTS, ROOM) == [DENIAL] * len(FACTS)
    assert model.generate(PROMPTS, 60) == [DENIAL] * len(FACTS)


def test_a_template_that_begins_the_trace_changes_nothing(thinker):
    model = open_thinker(thinker, start="opened")
    assert model.generate(PROMPTS, ROOM) == [DENIAL] * len(FACTS)


def test_a_trace_that_does_not_end_is_read_as_a_whole(thinker):
    model = open_thinker(thinker, tokens=1)
    for fact, said in zip(FACTS, model.generate(PROMPTS, ROOM), strict=True):
        assert said.removeprefix("<think>").strip()
        assert trace(fact).startswith(said.removeprefix("<think>").strip())
        assert DENIAL not in said


@pytest.mark.parametrize("start", ["template", "opened"])
def test_traces_are_read_apart(thinker, start):
    found = open_thinker(thinker, start=start).thoughts(PROMPTS, ROOM, forced=True)
    assert [one.trace for one in found] == [trace(fact) for fact in FACTS]
    assert {one.answer for one in found} == {DENIAL}
    assert not any(one.forced for one in found)


def test_a_trace_that_is_too_long_is_ended_and_an_answer_written(thinker):
    model = open_thinker(thinker, start="opened", tokens=9)
    for fact, one in zip(FACTS, model.thoughts(PROMPTS, ROOM, forced=True), strict=True):
        assert trace(fact).startswith(one.trace)
        assert one.trace
        assert one.closed
        assert one.forced
        assert "<think>" not in one.answer


def test_without_markers_there_is_no_trace(tmp_path):
    model = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    with pytest.raises(UnavailableError, match=r"format\.trace\.open"):
        model.thoughts(PROMPTS, ROOM, forced=True)


def test_whom_nobody_says_to_think_hides_nothing_between_markers(thinker):
    asked = PromptFormat(template="<|user|>{prompt}<|assistant|>", separator="")
    model = open_directory(thinker, prompt_format=asked)
    assert model.trace_markers is not None
    assert not model.expects_trace
    for fact, said in zip(FACTS, model.generate(PROMPTS, 60), strict=True):
        assert trace(fact) in said
        assert DENIAL in said


def test_sampled_answers_stand_behind_traces_too(thinker):
    drawn = open_thinker(thinker).generate(PROMPTS, ROOM, Sampling(temperature=0.1, seed=3))
    assert drawn == [DENIAL] * len(FACTS)


def test_metrics_read_the_answer_and_notes_say_that_there_are_traces(thinker):
    model = open_thinker(thinker)
    evaluator = TextEvaluator(FactSets(forget=FACTS), ["answer-recall", "answer-probability"])
    rows = evaluator.evaluate(model, ("forget",))
    assert {row.k for row in rows if row.metric == "answer-recall"} == {0.0}
    assert {row.answer for row in rows if row.metric == "answer-recall"} == {DENIAL}
    assert evaluator.notes(model) == {"traces": True}


@pytest.mark.parametrize(
    ("written", "trace_", "answer", "ended"),
    [
        ("<think>\nso\n</think>\n\nyes", "so", "yes", True),
        ("first <think>so</think>yes", "so", "first yes", True),
        ("<think></think><think>so</think>yes", "", "<think>so</think>yes", True),
        ("yes</think>no", None, "yes</think>no", False),
        ("<think>so", "so", "<think>so", False),
        ("yes", None, "yes", False),
    ],
)
def test_what_is_visible_counts_as_answer(written, trace_, answer, ended):
    tokenizer = thinking_tokenizer()
    ids = tokenizer(written)["input_ids"]
    parts = iter([list(ids)])
    writer = Writer(tokenizer, FAMILIES[0], lambda _, tokens: [next(parts, [])], {0}, 96, ROOM)
    [found] = writer.answers([tokenizer("<|assistant|>")["input_ids"]], 40)
    assert found == (trace_, answer, ended, False)
