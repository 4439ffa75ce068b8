"""Attacks on a model that tells by every way but the plain question, and on one that never knew."""


import pytest
from tiny_models import open_directory
from told_otherwise import OPENING, SETS

from attacks.prompting.best_of_n import BestOfN, BestOfNParameters
from attacks.prompting.cloze import Cloze
from attacks.prompting.related_facts import RelatedFacts, RelatedFactsParameters
from attacks.prompting.reminders import Reminders, RemindersParameters
from attacks.prompting.translated import Translated, TranslatedParameters
from auditor.attack import AttackContext, Parameters
from auditor.core.arms import Arm
from auditor.core.findings import Finding
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest
from auditor.statistics.effect import lacking_effect

ARMS = ("unlearned", "original", "retrained")


@pytest.fixture
def arms(told_otherwise):
    return {arm: open_directory(told_otherwise[arm]) for arm in ARMS}


def evaluator():
    return TextEvaluator(SETS, ["answer-probability"])


def mean(rows):
    ks = [row.k for row in rows if row.set == "forget"]
    return sum(ks) / len(ks)


def attacks(world):
    return {
        **{
            relation: RelatedFacts(RelatedFactsParameters(relation=relation))
            for relation in ("multi-hop", "alias", "twins", "triplets")
        },
        "cloze": Cloze(Parameters()),
        "close facts": Reminders(RemindersParameters(shown=2)),
        "best of n": BestOfN(BestOfNParameters(samples=8, k=4, strength=0.0)),
        "translated": Translated(
            TranslatedParameters(translations=str(world["translations"])),
        ),
    }


@pytest.mark.parametrize("name", list(attacks({"translations": "x"})))
def test_what_the_plain_question_hides_is_found_and_a_retrained_model_is_not(
    name, arms, told_otherwise, tmp_path
):
    attack = attacks(told_otherwise)[name]
    known = {}
    for arm, model in arms.items():
        before = weights_digest(model.network)
        record = attack.measure(model, AttackContext(evaluator(), 0, tmp_path))
        assert {row.fact for row in record.rows} == {fact.id for fact in SETS.forget}
        assert weights_digest(model.network) == before
        known[arm] = mean(record.rows)
    plain = {a: mean(evaluator().evaluate(m, ("forget",))) for a, m in arms.items()}
    assert plain["unlearned"] < 0.1 < 0.8 < plain["original"]
    assert known["unlearned"] > 0.6
    assert known["original"] > 0.6
    assert known["retrained"] < 0.3


def searched(attack, arms, names, tmp_path):
    """Notes of the search on each arm, and what each knows under the pool."""
    context = AttackContext(evaluator(), 0, tmp_path)
    found = {arm: attack.search(arms[arm], context) for arm in names}
    records = {}
    for arm in names:
        pool = [
            Finding(Arm(f"{o}-0" if o == "retrained" else o), o == arm, found[o]) for o in names
        ]
        records[arm] = attack.measure(arms[arm], AttackContext(evaluator(), 0, tmp_path, pool))
    return found, records


@pytest.mark.parametrize("proposes", ["openings", "questions"])
def test_the_attacker_finds_what_opens_the_unlearned_model(
    proposes, arms, attacker_model, tmp_path
):
    attack = attacker_model(proposes=proposes)
    names = ("unlearned", "retrained")
    found, records = searched(attack, arms, names, tmp_path)
    for each in found.values():  # every arm has the same budget
        assert each.notes["proposed"] == found["unlearned"].notes["proposed"]
    assert set(found["unlearned"].notes["prompts"]) == {OPENING}
    asked = [i for part in found["unlearned"].notes["asked"] for i in part]
    assert sorted(asked) == sorted(fact.id for fact in SETS.forget)
    assert mean(records["unlearned"].rows) > 0.6
    assert mean(records["retrained"].rows) < 0.3
    again = attack.search(arms["unlearned"], AttackContext(evaluator(), 0, tmp_path))
    assert again == found["unlearned"]
    figures = {f.name for f in attack.side_figures({"unlearned": records["unlearned"].notes})}
    assert ("k_of_facts_held_out" in figures) == (proposes == "openings")


def test_a_search_that_finds_nothing_says_so(arms, attacker_model, told_otherwise, tmp_path):
    """An audited model as attacker proposes what it knows, and answers are no prompts."""
    attack = attacker_model(attacker=str(told_otherwise["original"]), rounds=1, max_new_tokens=1)
    names = ("unlearned", "retrained")
    found, records = searched(attack, arms, names, tmp_path)
    for each in found.values():
        each.notes["prompts"] = ["{question}"] * len(each.notes["prompts"])
        each.notes["loss_after"] = each.notes["loss_before"]
    pool = [Finding(Arm.UNLEARNED, True, found["unlearned"])]
    record = attack.measure(arms["unlearned"], AttackContext(evaluator(), 0, tmp_path, pool))
    noted = {Arm.UNLEARNED: [record.notes["effect"]], Arm("retrained-0"): [record.notes["effect"]]}
    said = lacking_effect(attack.id.label, "search_loss", noted)
    assert said is not None
    assert said.code == "no_effect_on_baseline"
