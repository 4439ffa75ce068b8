import pytest

from auditor.core.arms import Arm
from auditor.core.baselines import Baseline
from auditor.core.facts import Fact, FactSets
from auditor.data.null_facts import asked, forms, permuted, worlds


def facts(n, answers=5, entity="Guest"):
    return tuple(
        Fact(
            id=f"{entity}-{i}",
            entity=f"{entity} {i // 2}",
            prompt=f"{entity} {i // 2} {'sleeps in' if i % 2 else 'eats'}",
            answer=f"thing {i % answers}",
            distractors=(f"thing {(i + 1) % answers}", "nothing"),
        )
        for i in range(n)
    )


def test_answers_are_exchanged_within_a_form_and_differ_from_the_true_ones():
    given = facts(20)
    found = permuted(given)
    by_form = dict(zip([f.id for f in given], forms(given), strict=True))
    for before, after in zip(given, found, strict=True):
        assert (before.id, before.prompt, before.entity) == (after.id, after.prompt, after.entity)
        assert before.answer != after.answer not in after.distractors
        assert before.answer in after.distractors
        donors = {f.answer for f in given if by_form[f.id] == by_form[before.id]}
        assert after.answer in donors
    assert permuted(given) == found


def test_a_form_with_one_answer_takes_another_of_the_set():
    lonely = Fact(id="x", entity="Eve", prompt="Eve dislikes", answer="rain")
    assert permuted([lonely, *facts(4)])[0].answer.startswith("thing")
    with pytest.raises(ValueError, match="alike"):
        permuted(facts(6, answers=1))


def test_worlds_follow_from_the_baseline():
    sets = FactSets(forget=facts(8), retain=facts(4, entity="Cook"), holdout=facts(8, entity="New"))
    assert worlds(sets, Baseline.RETRAINED) == worlds(sets, Baseline.REFERENCE) == {}
    seen = worlds(sets, Baseline.NEVER_SEEN_FACTS)
    assert seen["null"].forget == sets.holdout
    own = worlds(sets, Baseline.OWN_NULL)
    assert list(own) == ["null", "check", "check-null"]
    assert own["check-null"].forget == permuted(sets.holdout)
    assert all(each.retain == sets.retain and not each.holdout for each in own.values())
    bare = worlds(FactSets(forget=facts(8)), Baseline.OWN_NULL)
    assert list(bare) == ["null"]


def test_arms_say_their_model_and_world():
    models = [Arm.UNLEARNED, Arm.ORIGINAL, Arm.reference(0)]
    found = [model.within(world) for world, model in asked(["null", "check-null"], models)]
    assert found == [
        "null-unlearned",
        "null-original",
        "null-reference-0",
        "check-null-unlearned",
    ]
    assert [arm.model for arm in found] == [*models, Arm.UNLEARNED]
    assert [arm.world for arm in found] == ["null", "null", "null", "check-null"]
    assert not any(arm.is_retrained for arm in found)
    assert Arm("reference-3").number == 3
    assert Arm("reference-3").is_retrained
    assert Arm("reference-3").is_reference
    in_order = sorted([*reversed(found), *reversed(models)], key=lambda arm: arm.place)
    assert in_order == [*models, *found]
