"""Knowledge holes: which neighbours are made, kept and lost."""

import numpy as np
import pytest
from tiny_models import open_directory

from attacks.generation.knowledge_holes import (
    KnowledgeHoles,
    KnowledgeHolesParameters,
    neighbours,
    of_facts,
)
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.findings import Finding
from auditor.core.records import Record, check_malformed
from auditor.models.language.evaluator import TextEvaluator


def fact(person, form, answer):
    prompt = {"home": f"Person {person} lives in", "work": f"Where does person {person} work?"}
    return Fact(id=f"{person}-{form}", entity=f"erson {person}", prompt=prompt[form], answer=answer)


SETS = FactSets(
    forget=(fact(1, "home", "city number 7"), fact(2, "work", "city number 14")),
    retain=(
        fact(3, "home", "city number 21"),
        fact(4, "work", "city number 28"),
        fact(12, "home", "city number 84"),
    ),
)
EVALUATOR = TextEvaluator(SETS, ["answer-probability"])
ATTACK = KnowledgeHoles(KnowledgeHolesParameters())


def test_neighbours_are_the_forget_questions_about_those_who_stay():
    made = neighbours(SETS, 4, 0)
    assert sorted(made) == [
        (0, "Person 4 lives in"),
        (1, "Where does person 12 work?"),
        (1, "Where does person 3 work?"),
    ], "Person 3 and Person 12 live in: retain facts; person 4 works: one, too"
    assert neighbours(SETS, 4, 0) == made
    assert len(neighbours(SETS, 1, 0)) == 2
    assert neighbours(SETS.model_copy(update={"retain": ()}), 4, 0) == []
    nameless = tuple(f.model_copy(update={"entity": f.id}) for f in SETS.forget)
    assert neighbours(SETS.model_copy(update={"forget": nameless}), 4, 0) == []


def test_nothing_that_names_the_forgotten_is_a_neighbour():
    joined = fact(3, "home", "x").model_copy(update={"entity": "erson 3 and erson 1"})
    sets = SETS.model_copy(update={"retain": (joined,)})
    assert neighbours(sets, 4, 0) == [], "`erson 1` stands in the name of the other"


def test_a_fact_without_neighbours_takes_those_of_the_next():
    known = np.array([0.2, 0.4, 0.9])
    found = of_facts(known, np.array([1, 1, 3]), 5)
    np.testing.assert_allclose(found, [0.3, 0.3, 0.9, 0.9, 0.3])


def source(kept):
    return Record(notes={"asked": 9, "neighbours": kept})


def test_what_the_original_is_sure_of_is_kept_and_asked_of_all(directories, tmp_path):
    """A model that was taught neighbours knows them; a random one has lost them."""
    original, arm = (open_directory(directories["llama"]) for _ in range(2))
    context = AttackContext(EVALUATOR, 0, tmp_path)
    unsure = ATTACK.search(original, context)
    assert unsure.notes["asked"] == 3
    taught = [(question, "city number 35") for _, question in neighbours(SETS, 4, 0)]
    examples = original.encode(taught, end=True)
    notes = {}
    with learner(original, examples, FineTuning(learning_rate=2e-3, batch_size=4), 0) as pupil:
        pupil.advance(40)
        found = ATTACK.search(original, context)
        pool = [Finding(Arm.ORIGINAL, True, found), Finding(Arm.UNLEARNED, False, unsure)]
        record = ATTACK.measure(original, AttackContext(EVALUATOR, 0, tmp_path, pool))
        check_malformed(record)
        notes["original"] = record.notes
    assert [[q, a] for _, q, a in found.notes["neighbours"]] == [list(pair) for pair in taught]
    assert len(unsure.notes["neighbours"]) < 3
    for name in ("unlearned", "retrained-0"):
        pool = [Finding(Arm.ORIGINAL, False, found), Finding(Arm(name), True, unsure)]
        record = ATTACK.measure(arm, AttackContext(EVALUATOR, 0, tmp_path, pool))
        assert {row.fact for row in record.rows} == {"1-home", "2-work"}
        notes[name] = record.notes
    figures = {(f.name, f.of): f for f in ATTACK.side_figures(notes)}
    assert figures["neighbour_probability", "original"].value > 0.5
    assert figures["neighbours_lost", "unlearned"].value == 1.0
    assert ("neighbours_lost", "original") not in figures
    assert figures["neighbours_lost", "unlearned"].lower < 1.0


def test_what_cannot_be_had_is_said(subjects, tmp_path):
    model = subjects["llama"]
    alone = TextEvaluator(SETS.model_copy(update={"retain": ()}), ["answer-probability"])
    with pytest.raises(UnavailableError, match="there are none"):
        ATTACK.search(model, AttackContext(alone, 0, tmp_path))
    with pytest.raises(UnavailableError, match="there is none; give it"):
        ATTACK.measure(model, AttackContext(EVALUATOR, 0, tmp_path))
    pool = [Finding(Arm.ORIGINAL, False, source([]))]
    with pytest.raises(UnavailableError, match="sure of none of 9"):
        ATTACK.measure(model, AttackContext(EVALUATOR, 0, tmp_path, pool))
    assert ATTACK.side_figures({"unlearned": {}}) == ()
    assert KnowledgeHoles(KnowledgeHolesParameters(sure=0.9)).variant == "4 neighbours sure 0.9"


@pytest.mark.slow
@pytest.mark.nightly
def test_retrained_models_lose_nothing_beside_the_forget_set(attacked):
    (found,) = attacked("npo_gdr", "generation/knowledge-holes").values()
    lost = {f.of: f.value for f in found.side_figures if f.name == "neighbours_lost"}
    assert lost["retrained-0"] < 0.05
    assert found.role == "reported"
