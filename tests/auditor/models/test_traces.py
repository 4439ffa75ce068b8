"""Where a trace of thought stands, by its markers alone."""

import pytest
from pydantic import ValidationError
from tiny_models import make_model, make_tokenizer, open_directory, save
from tiny_thinkers import BEGUN, CHAT, FACTS, TEMPLATE, thinking_tokenizer

from auditor.core.errors import AuditorError
from auditor.core.facts import FactSets
from auditor.models.causal_lm.prompting import encode_pair, encode_prompt
from auditor.models.language.asking import asked_facts
from auditor.models.language.prompting import expects_trace, templated, trace_markers
from auditor.models.language.traces import FAMILIES, closed, find_markers, opened, state
from auditor.models.spec import PromptFormat, TraceFormat

THINK, _, HARMONY = FAMILIES[:3]
QWEN = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
OSS = "<|start|>user<|message|>Who?<|end|><|start|>assistant"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (QWEN, "none"),
        (QWEN + "<think>\n", "open"),
        (QWEN + "<think>\nSome ", "open"),
        (QWEN + "<think>\n\n</think>\n\n", "closed"),
        ("Put thoughts between <think> and </think>. Who?", "none"),
    ],
)
def test_how_a_prompt_ends(text, found):
    assert state(text, THINK) == found


def test_an_emptied_trace_is_that_of_the_published_templates():
    assert closed(QWEN, THINK) == QWEN + "<think>\n\n</think>\n\n"  # Qwen3, enable_thinking=False
    assert closed(QWEN + "<think>\n", THINK) == QWEN + "<think>\n\n</think>\n\n"
    assert closed(closed(QWEN, THINK), THINK) == closed(QWEN, THINK)
    assert closed(QWEN + "</think>", THINK) == QWEN + "</think>"  # DeepSeek V3.1
    assert closed(OSS, HARMONY) == (
        OSS + "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>"
    )


def test_a_trace_can_be_begun_again_behind_one_that_is_closed():
    assert opened(closed(QWEN, THINK), THINK) == QWEN + "<think>\n"
    assert opened(QWEN + "</think>", THINK) == QWEN + "<think>\n"
    assert opened(QWEN + "<think>\n", THINK) == QWEN + "<think>\n"


def test_a_given_thought_stands_in_the_trace_and_in_no_second_one():
    text = closed(closed(QWEN, THINK), THINK, "Easy.")
    assert text == QWEN + "<think>\nEasy.\n</think>\n\n"


def test_markers_are_given_or_of_the_template_or_of_the_vocabulary():
    plain = make_tokenizer()
    assert find_markers(plain, "", None) is None
    assert find_markers(plain, BEGUN + "</think>", None) == THINK
    assert find_markers(thinking_tokenizer(), "", None) == THINK
    given = TraceFormat(open="<s>\n", close="</s>")
    assert find_markers(plain, TEMPLATE, given) == ("<s>\n", "</s>")
    template = "<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>"
    assert find_markers(plain, template, None) == HARMONY


def test_a_vocabulary_alone_makes_no_place_for_a_trace():
    tokenizer = thinking_tokenizer(template=TEMPLATE.partition("{% if")[0])
    assert trace_markers(tokenizer, CHAT) == THINK
    assert not expects_trace(tokenizer, CHAT)
    assert not expects_trace(thinking_tokenizer(), PromptFormat())
    assert expects_trace(thinking_tokenizer(), CHAT)
    assert expects_trace(thinking_tokenizer(BEGUN), CHAT)
    assert expects_trace(tokenizer, PromptFormat(trace={"open": "<a>", "close": "</a>"}))


def test_the_switch_of_a_template_is_used():
    tokenizer = thinking_tokenizer()
    for given in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
        form = PromptFormat(chat=True, template_arguments=given, trace={"start": "opened"})
        assert templated(tokenizer, "Who?", form).endswith("<|assistant|><think>\n")
        form = PromptFormat(chat=True, template_arguments=given, trace={"start": "emptied"})
        assert templated(tokenizer, "Who?", form).endswith("<|assistant|><think>\n\n</think>\n\n")


@pytest.mark.parametrize("template", [TEMPLATE, BEGUN])
def test_no_given_answer_stands_in_the_place_of_a_trace(template):
    tokenizer = thinking_tokenizer(template)
    pair = encode_pair(tokenizer, "Who?", "me", CHAT)
    text = tokenizer.decode(pair.ids)
    assert text.endswith("<think>\n\n</think>\n\nme")
    assert tokenizer.decode([pair.ids[i] for i in pair.answer]) == "me"
    asked = tokenizer.decode(encode_prompt(tokenizer, "Who?", CHAT))
    assert "</think>" not in asked


def test_a_start_needs_markers():
    with pytest.raises(AuditorError, match=r"format\.trace\.open"):
        templated(make_tokenizer(), "Who?", PromptFormat(trace={"start": "opened"}))


@pytest.mark.parametrize(
    "given",
    [
        {"open": "<a>"},
        {"open": "<a>", "close": " <a> "},
        {"open": " ", "close": "</a>"},
        {"thought": "Easy."},
        {"tokens": 0},
    ],
)
def test_traces_that_cannot_be(given):
    with pytest.raises(ValidationError):
        PromptFormat(trace=given)


def test_formats_without_traces_are_what_they_were():
    assert "trace" not in PromptFormat().model_dump(mode="json")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, "split"),
        ({"template_arguments": {"enable_thinking": False}}, "emptied"),
        ({"chat": False}, "known"),
    ],
)
def test_a_plan_is_told_what_is_known_of_traces(tmp_path, changes, place):
    tokenizer = thinking_tokenizer()
    folder = save(tmp_path / "m", make_model("llama", vocabulary=len(tokenizer)), tokenizer)
    form = PromptFormat(**({"chat": True} | changes))
    found = asked_facts(
        open_directory(folder, prompt_format=form), FactSets(forget=FACTS), generates=True
    )
    assert found.traces is not None
    assert (found.traces.place, found.traces.tokens) == (place, 1024)
