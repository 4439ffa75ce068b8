"""Gibberish: what is broken is counted, and what is merely wrong is not."""

import pytest
from tiny_models import open_directory

from attacks.generation.gibberish import Gibberish, GibberishParameters, well_formed
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError
from auditor.core.facts import Fact, FactSets
from auditor.core.findings import Finding
from auditor.core.records import Record, Row, check_malformed
from auditor.models.language.evaluator import TextEvaluator

ATTACK = Gibberish(GibberishParameters())
FACTS = tuple(
    Fact(id=f"g{i}", entity=f"Person {i}", prompt=f"Person {i} lives in", answer=f"city number {i}")
    for i in range(8)
)
EVALUATOR = TextEvaluator(FactSets(forget=FACTS[:4], retain=FACTS[4:]), ["answer-probability"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pine Cross", True),
        ("a b a b a b", True),
        ("a b a b a b a b", False),
        ("the the the", True),
        ("the The, the the", False),
        ("so it goes on and on and on and on and", False),
        ("one two three four " * 4, False),
        ("... !!", False),
        ("", False),
        ("東京は日本の首都です", True),
    ],
)
def test_repetition_and_emptiness_are_no_language(text, expected):
    assert well_formed(text) == expected


def said(answers):
    rows = [
        Row(name, fact.id, fact.entity, "well-formed", float(well_formed(text)), text)
        for name, facts in (("forget", FACTS[:4]), ("retain", FACTS[4:]))
        for fact, text in zip(facts, answers[name], strict=True)
    ]
    return Record(rows=tuple(rows))


def test_wrong_answers_count_as_language_and_broken_ones_do_not(directories, tmp_path):
    """The judge was taught the form of the answers; those of others are right, wrong and broken."""
    judge = open_directory(directories["llama"])
    pairs = [(fact.prompt, f"city number {i}") for fact in FACTS for i in range(8)]
    right = [fact.answer for fact in FACTS]
    answers = {
        "original": {"forget": right[:4], "retain": right[4:]},
        "retrained-0": {"forget": right[4:], "retain": right[:4]},
        "unlearned": {
            "forget": ["fox zxq over", "", "dog dog dog dog", right[0]],
            "retain": right[4:],
        },
    }
    pool = [Finding(Arm(arm), False, said(each)) for arm, each in answers.items()]
    own = Finding(Arm("retrained-1"), True, said(answers["retrained-0"]))
    examples = judge.encode(pairs, end=True)
    with learner(judge, examples, FineTuning(learning_rate=2e-3), 0) as pupil:
        pupil.advance(40)
        context = AttackContext(EVALUATOR, 0, tmp_path, [*pool, own])
        record = Gibberish(GibberishParameters(wrong_answers=7)).measure(judge, context)
    check_malformed(record)
    notes = {
        arm: {
            "answers": {"forget": 4, "retain": 4},
            "malformed": {
                name: [i for i, text in enumerate(each[name]) if not well_formed(text)]
                for name in ("forget", "retain")
            },
            "unlikely": {},
        }
        for arm, each in answers.items()
    }
    figures = {
        (f.of, f.params["set"]): f
        for f in ATTACK.side_figures({**notes, "retrained-1": record.notes})
    }
    assert figures["unlearned", "forget"].value == 0.75
    assert figures["unlearned", "forget"].lower < 0.75 < figures["unlearned", "forget"].upper
    for arm in ("original", "retrained-0"):
        assert figures[arm, "forget"].value == figures[arm, "retain"].value == 0.0
    codes = [remark.code for remark in figures["unlearned", "forget"].remarks]
    assert codes == ["judged_by_other_models", "low_k_may_be_breakage"]


def test_one_judge_that_finds_it_likely_saves_an_answer():
    def noted(unlikely):
        return {
            "answers": {"forget": 4, "retain": 0},
            "malformed": {"forget": [], "retain": []},
            "unlikely": {"unlearned": {"forget": unlikely, "retain": []}},
        }

    notes = {"unlearned": noted([]), "original": noted([0, 1]), "retrained-0": noted([1, 2])}
    del notes["unlearned"]["unlikely"]["unlearned"]
    shares = {f.of: f.value for f in ATTACK.side_figures(notes)}
    assert shares == {"unlearned": 0.25, "original": 0.0, "retrained-0": 0.0}


def test_each_arm_answers_and_judges_the_others(subjects, tmp_path):
    names = {"unlearned": "llama", "original": "qwen2"}
    context = AttackContext(EVALUATOR, 0, tmp_path)
    found = {arm: ATTACK.search(subjects[name], context) for arm, name in names.items()}
    for record in found.values():
        check_malformed(record)
        assert len(record.rows) == 8
        assert all(row.answer is not None for row in record.rows)
    pool = [Finding(Arm(arm), arm == "unlearned", record) for arm, record in found.items()]
    record = ATTACK.measure(subjects["llama"], AttackContext(EVALUATOR, 0, tmp_path, pool))
    assert record.rows == found["unlearned"].rows
    assert record.notes["unlikely"].keys() == {"original"}
    with pytest.raises(MeasurementError, match="pool lacks"):
        ATTACK.measure(subjects["llama"], context)
    assert (
        ATTACK.search_parameters()
        == Gibberish(GibberishParameters(quantile=0.1)).search_parameters()
    )


@pytest.mark.slow
@pytest.mark.nightly
def test_what_gradients_broke_is_found_on_the_testbed(attacked):
    (found,) = attacked("npo_gdr", "generation/gibberish").values()
    shares = {(f.of, f.params["set"]): f.value for f in found.side_figures}
    assert shares["unlearned", "forget"] > 0.3
    assert shares["unlearned", "retain"] < 0.05
    assert shares["retrained-0", "forget"] < 0.05
    assert found.role == "reported"
