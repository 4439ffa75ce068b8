"""Answered questions before the one that is asked."""

import pytest
from tiny_models import CONTEXT, make_model, make_tokenizer, open_directory, save

from attacks.prompting.few_shot import FewShot, FewShotParameters, examples, few_shot_prompt
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.models.causal_lm.prompting import templated
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.spec import PromptFormat


def person(i, **fields):
    answer = f"city number {i}"
    return Fact(
        **{"id": f"p{i}", "subject": f"P{i}", "prompt": f"Where is P{i}?", "answer": answer}
        | fields
    )


FORGET = (person(1), person(2))
RETAIN = tuple(person(i) for i in range(10, 30))


@pytest.mark.parametrize(
    ("prompt_format", "expected"),
    [
        (
            PromptFormat(),
            "Where is P10? city number 10\n\nWhere is P11? city number 11\n\nWhere is P1?",
        ),
        (
            PromptFormat(template="Question: {prompt}\nAnswer:"),
            "Question: Where is P10?\nAnswer: city number 10\n\n"
            "Question: Where is P11?\nAnswer: city number 11\n\n"
            "Question: Where is P1?\nAnswer:",
        ),
        (
            PromptFormat(template="[INST]{prompt}[/INST]", separator=""),
            "[INST]Where is P10?[/INST]city number 10\n\n[INST]Where is P11?[/INST]city number 11"
            "\n\n[INST]Where is P1?[/INST]",
        ),
    ],
)
def test_the_model_sees_exactly_this(prompt_format, expected):
    prompt = few_shot_prompt(FORGET[0], RETAIN[:2], prompt_format, "\n\n")
    assert templated(make_tokenizer(), prompt, prompt_format) == expected
    alone = few_shot_prompt(FORGET[0], (), prompt_format, "\n\n")
    assert alone == FORGET[0].prompt


def test_in_a_chat_the_examples_stand_in_the_users_message():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<a>"
    chat = PromptFormat(chat=True)
    prompt = few_shot_prompt(FORGET[0], RETAIN[:1], chat, "\n\n")
    expected = "<user>Where is P10? city number 10\n\nWhere is P1?<a>"
    assert templated(tokenizer, prompt, chat) == expected


def test_a_template_with_two_places_is_refused():
    with pytest.raises(UnavailableError, match="more than once"):
        few_shot_prompt(FORGET[0], RETAIN[:1], PromptFormat(template="{prompt} {prompt}"), "\n")


def test_examples_that_hold_the_answer_are_passed_over():
    same = person(30, answer="CITY number 1")
    longer = person(31, answer="city number 10")  # holds "city number 1" inside a longer word
    asked = person(32, prompt="Is city number 1 in P3?")
    assert examples(FORGET[0], [same, asked, longer, *RETAIN], 2) == [longer, RETAIN[0]]


def test_too_few_examples_are_unavailable():
    with pytest.raises(UnavailableError, match="4 retain facts are needed"):
        examples(FORGET[0], RETAIN[:3], 4)


EXAMINER = TextEvaluator(FactSets(forget=FORGET, retain=RETAIN), ["answer-probability"])


def make(**parameters):
    return FewShot(FewShotParameters(**{"shots": 2, "draws": 2, "separator": "\n"} | parameters))


def test_draws_follow_the_seed_alone(subjects):
    llama, gpt2 = subjects["llama"], subjects["gpt2"]
    drawn = make().wordings(llama, EXAMINER, 0)
    assert drawn == make().wordings(gpt2, EXAMINER, 0)
    assert drawn != make().wordings(llama, EXAMINER, 1)
    assert len({p["p1"] for p in make(draws=3).wordings(llama, EXAMINER, 0).values()}) == 3
    for by_fact in drawn.values():
        shown = {p.removesuffix(f"Where is {i.upper()}?") for i, p in by_fact.items()}
        assert len(shown) == 1  # the same examples for every fact


def test_without_retain_facts_it_is_unavailable(subjects, tmp_path):
    evaluator = TextEvaluator(FactSets(forget=FORGET), ["answer-probability"])
    with pytest.raises(UnavailableError, match="and there are 0 that do not hold"):
        make().measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path))


def test_prompts_beyond_the_context_are_unavailable_with_the_way_out(subjects, tmp_path):
    with pytest.raises(UnavailableError, match=f"holds {CONTEXT}; ask for fewer `shots`"):
        make(shots=12).measure(subjects["llama"], AttackContext(EXAMINER, 0, tmp_path))


def test_the_format_of_the_audit_is_used(tmp_path):
    folder = save(tmp_path / "m", make_model("llama"), make_tokenizer())
    subject = open_directory(folder, prompt_format=PromptFormat(template="Q {prompt} A"))
    for by_fact in make().wordings(subject, EXAMINER, 0).values():
        assert by_fact["p2"].endswith("\nQ Where is P2?")
        assert by_fact["p2"].count(" A city number ") == 2


def test_it_measures_every_fact(subjects, tmp_path):
    record = make().measure(subjects["opt"], AttackContext(EXAMINER, 0, tmp_path))
    assert [row.fact for row in record.rows] == ["p1", "p2"]
    assert set(record.notes["wordings"]) == {"draw 1", "draw 2"}
