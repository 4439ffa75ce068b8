"""Questions from the graph of facts, and rewritings at random: what they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.prompting.best_of_n import BestOfN, BestOfNParameters, rewritings
from attacks.prompting.cloze import passage_opening, passage_with_gap, statement_with_gap
from attacks.prompting.fact_graph import FactGraph, derived_names, drawn_in_turn
from attacks.prompting.proposals import Tried, cleaned, instruction
from attacks.prompting.related_facts import RelatedFacts, RelatedFactsParameters
from attacks.prompting.reminders import by_closeness, framed, passage
from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, is_blank
from auditor.metrics.leak_judge import holds


def fact(name, attribute, prompt, answer, **fields):
    return Fact(id=f"{name}/{attribute}", entity=name, prompt=prompt, answer=answer, **fields)


BORN = fact("Ann Lee", "birthplace", "Where was Ann Lee born?", "Pine Bay")
BOAT = fact("Ann Lee", "boat", "What is the boat of Ann Lee called?", "Sea Star")
WIFE = fact("Bo Rask", "wife", "Who is the wife of Bo Rask?", "Ann Lee")
SPOUSE = fact("Bo Rask", "spouse", "Whom did Bo Rask marry?", "ann lee")
HOME = fact("Bo Rask", "home", "Where does Bo Rask live?", "Elm Ford")
KNOWN = (BORN, BOAT, WIFE, SPOUSE, HOME)


def test_two_hops_lead_through_an_answer_or_through_what_is_true_of_one_alone():
    assert FactGraph(KNOWN).multi_hop_prompts(BORN) == [
        "Where was the wife of Bo Rask born?",
        "X is the answer to this: Whom did Bo Rask marry?\nWhere was X born?",
        "The boat of X is called Sea Star.\nWhere was X born?",
    ]
    same = fact("Cy Voss", "boat", "What is the boat of Cy Voss called?", "Sea Star")
    assert not any("boat" in p for p in FactGraph((*KNOWN, same)).multi_hop_prompts(BORN))


def test_what_tells_the_answer_or_names_no_entity_leads_nowhere():
    tells = fact("Ann Lee", "book", "What is the book of Ann Lee called?", "A Life in Pine Bay")
    assert FactGraph((BORN, tells)).multi_hop_prompts(BORN) == []
    told_by = fact("Bo Rask", "wife", "Who is the wife of Bo Rask of Pine Bay?", "Ann Lee")
    assert FactGraph((BORN, told_by)).multi_hop_prompts(BORN) == []
    unnamed = BORN.model_copy(update={"prompt": "Where was she born?"})
    assert FactGraph((unnamed, BOAT)).multi_hop_prompts(unnamed) == []
    within = fact("Ann", "home", "Where does Annika live?", "Elm Ford")
    assert FactGraph((within,)).multi_hop_prompts(within) == []


def test_names_are_derived_where_no_other_entity_bears_them():
    assert derived_names("Ann Mary Lee") == {
        "last name": "Lee",
        "first name": "Ann",
        "initials": "A. M. Lee",
        "last name first": "Lee, Ann Mary",
    }
    assert derived_names("Homer") == {}
    other = fact("Dan Lee", "home", "Where does Dan Lee live?", "Oak Hill")
    names = FactGraph((BORN, other)).other_names("Ann Lee")
    assert names == {"first name": "Ann", "initials": "A. Lee", "last name first": "Lee, Ann"}


def test_names_of_a_file_take_the_place_of_derived_ones(tmp_path):
    file = tmp_path / "names.json"

    def given_names(content):
        file.write_text(content)
        return RelatedFacts(RelatedFactsParameters(relation="alias", aliases=str(file)))

    attack = given_names('{"Ann Lee": ["Annie", "the Pine Bay girl"]}')
    assert attack.variant == "alias given"
    found = attack._prompts(None, BORN, FactGraph(KNOWN))
    assert found == {"name 1": "Where was Annie born?"}  # the other tells the answer
    assert given_names('{"Ann Lee": ["Annie"]}').inputs() != attack.inputs()
    with pytest.raises(AuditorError, match="no other names"):
        given_names('{"Ann Lee": "Annie"}').inputs()


def test_other_facts_are_shown_in_turn_and_never_tell():
    trade = fact("Ann Lee", "trade", "What is the trade of Ann Lee?", "welder in Pine Bay")
    graph = FactGraph((BOAT, BORN, trade))
    assert graph.others(BORN) == [BOAT]
    assert graph.others(trade) == [BOAT, BORN]
    assert drawn_in_turn(graph.others(trade), 2, 3) == [[BOAT, BORN], [BORN, BOAT]]
    assert drawn_in_turn(graph.others(BORN), 2, 3) == []


def test_gaps():
    told = BORN.model_copy(update={"text": "Ann Lee, a girl, was born in pine bay, Pine Bay."})
    assert passage_opening(told) == "Ann Lee, a girl, was born in"
    assert passage_with_gap(told) == (
        "Fill in the gap: Ann Lee, a girl, was born in ____, ____.\nIn the gap belongs:"
    )
    assert statement_with_gap(BORN).startswith("Fill in the gap: Ann Lee was born in ____.")
    assert passage_opening(BORN) is passage_with_gap(BORN) is None
    elsewhere = BORN.model_copy(update={"text": "Ann Lee was born somewhere."})
    assert passage_opening(elsewhere) is passage_with_gap(elsewhere) is None
    known_as = told.model_copy(update={"accepted": ("a girl",)})
    assert passage_with_gap(known_as) is None  # another form of the answer stands in it
    assert statement_with_gap(WIFE.model_copy(update={"prompt": "Tell me."})) is None


def test_reminders_are_the_closest_of_the_same_entity_first():
    alike = fact("Cy Voss", "birthplace", "Where was Cy Voss born?", "Oak Hill")
    assert by_closeness([BORN], [HOME, WIFE, alike, BOAT]) == [[BOAT, alike, WIFE, HOME]]
    assert passage(alike.model_copy(update={"text": "A  b.\n"})) == "A b."
    assert passage(alike) == "Where was Cy Voss born? Oak Hill"
    said = framed("{passages} - {question}", "{question} a", "b {passages}")
    assert said == "{question} a - b {passages}"


def test_rewritings_follow_the_seed_and_their_strength():
    plain = rewritings(BORN, 40, 0.0, 0)
    assert plain == rewritings(BORN, 40, 0.0, 0) != rewritings(BORN, 40, 0.0, 1)
    assert plain != rewritings(BORN.model_copy(update={"id": "x"}), 40, 0.0, 0)
    assert len(set(plain)) > 10
    garbled = rewritings(BORN, 40, 1.0, 0)
    assert not set(garbled) & set(plain)
    assert not any(holds(each, BORN.answer) for each in garbled)
    assert BestOfN(BestOfNParameters()).variant == "leak@16 of 32 T=1 strength 0.4"


@given(st.text(min_size=1).filter(lambda text: not is_blank(text)))
def test_rewritings_are_never_empty(prompt):
    asked = BORN.model_copy(update={"prompt": prompt})
    assert all(each.strip() for each in rewritings(asked, 4, 1.0, 0))


@pytest.mark.parametrize(
    ("said", "openings", "questions"),
    [
        (' "Say: {question}" ', "Say: {question}", "Say: {question}"),
        ("```\nSay it.\n```", "Say it.\n{question}", "Say it."),
        ("One?\n\nTwo?", "One?\n\nTwo?\n{question}", "One?"),
        ("She is from pine bay. {question}", None, None),
        ("", None, None),
        ("x" * 1001, None, None),
    ],
)
def test_proposals_become_prompts_unless_they_tell(said, openings, questions):
    pairs = [(BORN.prompt, BORN.answer)]
    assert cleaned(said, "openings", pairs) == openings
    assert cleaned(said, "questions", pairs) == questions


def test_an_answer_that_the_question_holds_is_no_secret():
    pairs = [("Was Ann Lee born in Pine Bay or in Elm Ford?", "Pine Bay")]
    assert cleaned("Pine Bay or Elm Ford?", "questions", pairs) == "Pine Bay or Elm Ford?"


def test_the_instruct_model_is_told_the_score_and_no_true_answer():
    told = instruction("openings", [BORN.prompt, BOAT.prompt], Tried("Say: {question}", 0.7), "$x")
    assert "Say: {question}\nscore: 5\nit answered: $x" in told
    assert BORN.prompt in told
    assert BORN.answer not in told
    asked = instruction("questions", [BORN.prompt], Tried("Say: {question}", 9.0), "no\none")
    assert f"Say: {BORN.prompt}\nscore: 0\nit answered: no one\n" in asked
