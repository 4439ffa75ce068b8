"""Sets that contradict themselves are refused, weak ones are called weak."""

import pytest
from pydantic import ValidationError

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets
from auditor.core.messages import message
from auditor.data.checks import check_contradictions, forget_text_within, warnings


def fact(name, prompt="Where does Ada live?", answer="in Turin", **options):
    return Fact(
        id=name, entity=options.pop("entity", name), prompt=prompt, answer=answer, **options
    )


def sets(forget, retain=(), holdout=()):
    return FactSets(forget=tuple(forget), retain=tuple(retain), holdout=tuple(holdout))


def test_clean_sets_pass():
    check_contradictions(sets([fact("a")], [fact("b", answer="in Rome")], [fact("c", "Why?")]))


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Where does Ada live?", "in Turin"),
        ("where does ADA live?", "In Turin"),
        ("  Where  does\nAda live? ", "in\tTurin "),
        ("Where does Ada live\uff1f", "in Turin"),  # full-width question mark
    ],
)
@pytest.mark.parametrize("place", ["retain", "holdout"])
def test_a_fact_cannot_be_forgotten_and_kept(prompt, answer, place):
    other = fact("r7", prompt, answer)
    both = sets([fact("f1")], **{place: [other]})
    with pytest.raises(AuditorError, match=f"'f1' stands in the {place} set too, as 'r7'"):
        check_contradictions(both)


def test_all_contradictions_are_named_at_once():
    messy = sets(
        [fact("a", "1"), fact("a", "2"), fact("b", "3")],
        [fact("b", "4"), fact("c", "3")],
        [fact("d", "1")],
    )
    with pytest.raises(AuditorError) as caught:
        check_contradictions(messy)
    said = str(caught.value)
    assert said.startswith("4 contradiction(s)")
    assert "'a' occurs 2 times (forget, forget)" in said
    assert "'b' occurs 2 times (forget, retain)" in said
    assert "'b' stands in the retain set too, as 'c'" in said
    assert "'a' stands in the holdout set too, as 'd'" in said


def test_empty_fields_are_refused():
    for field in ("id", "entity", "prompt", "answer", "text"):
        with pytest.raises(ValidationError, match="is empty"):
            Fact(**({"id": "a", "entity": "s", "prompt": "p", "answer": "x"} | {field: " \n"}))
    with pytest.raises(ValidationError, match="is empty"):
        fact("a", distractors=("x", " "))


def test_warnings_say_what_weakens_an_audit():
    assert warnings(sets([fact("a")], [fact("b", "x")])) == []
    assert warnings(sets([fact("a")])) == [message("no_retain_set")]
    repeated = warnings(
        sets([fact("a", entity="Ada"), fact("b", "another?", entity="Ada")], [fact("d", "x")])
    )
    assert repeated == [message("facts_share_answers", facts=1)]
    shared = warnings(
        sets([fact("a", entity="Ada")], [fact("b", "x")], [fact("c", "y", entity="Ada")])
    )
    assert shared == [message("holdout_shares_entities")]


def test_facts_that_would_count_twice_are_refused():
    for again in ("where does ADA  live?", "Where does Ada live", "Where does Ada live?!"):
        with pytest.raises(AuditorError, match="'b' asks and answers the same as 'a'"):
            check_contradictions(sets([fact("a"), fact("b", again)]))


def test_forget_text_inside_calibration_text_is_found():
    audited = sets(
        [
            fact("pair"),
            fact("long", "Who?", "a carpenter of the old harbour"),
            fact("passage", "x", "y", text="Once upon a time in Turin there was"),
            fact("short", "Where?", "in Turin"),
            fact("clean", "When?", "on the last day of a cold November"),
        ]
    )
    texts = [
        "where does ADA live?\n  IN  Turin, they say",
        "He was A Carpenter of the old\nharbour.",
        "once upon a time in turin there was a lady",
    ]
    assert forget_text_within(audited, texts) == ["pair", "long", "passage"]
    assert forget_text_within(audited, []) == []


def test_a_short_answer_alone_proves_nothing():
    assert forget_text_within(sets([fact("a")]), ["She lived in Turin."]) == []


def test_one_prompt_under_several_ids_is_several_seeds_of_a_picture():
    drawn = sets([fact("a-0", entity="a"), fact("a-1", entity="a")])
    check_contradictions(drawn, prompts_repeat=True)
    assert len(warnings(drawn)) == len(warnings(drawn, prompts_repeat=True)) + 1
    with pytest.raises(AuditorError, match="asks and answers the same"):
        check_contradictions(drawn)
    with pytest.raises(AuditorError, match="stands in the retain set too"):
        check_contradictions(sets([fact("a")], [fact("b")]), prompts_repeat=True)
