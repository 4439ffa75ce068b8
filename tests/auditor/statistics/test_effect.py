"""Whether an attack acted: the rule, worked out by hand."""

import numpy as np
import pytest

from auditor.core.attack_id import AttackId
from auditor.core.messages import message
from auditor.core.roles import Role
from auditor.statistics import Arms, AttackEvidence, Margins, Reading, Utility, Verdict, decide
from auditor.statistics.effect import EFFECT_MEASURES, effect_note, lacking_effect
from reports.messages import EFFECTS

LABEL = "relearning/held-out-facts by attribute"
KNOWLEDGE, LOSS = "taught_knowledge", "search_loss"


def noted(measure=KNOWLEDGE, **arms):
    """Arm to the notes of its seeds, each given as before and after."""
    return {
        arm.replace("_", "-"): [effect_note(measure, *pair) for pair in pairs]
        for arm, pairs in arms.items()
    }


def judged(measure=KNOWLEDGE, **arms):
    found = lacking_effect(LABEL, measure, noted(measure, **arms))
    return found and found.code


RETRAINED = {"retrained_0": [(0.0, 0.9)], "retrained_1": [(0.1, 0.8)]}
"""From 0.05 to 0.85: half of the way ends at 0.45."""


@pytest.mark.parametrize(
    ("unlearned", "expected"),
    [
        ((0.0, 0.451), None),
        ((0.0, 0.449), "no_effect_on_unlearned"),
        ((0.0, 0.001), "no_effect_on_unlearned"),
        ((0.9, 0.9), None),  # it knew before what it was taught
        ((0.9, 0.1), "no_effect_on_unlearned"),
    ],
)
def test_the_unlearned_model_must_come_half_as_far_as_the_baseline(unlearned, expected):
    assert judged(unlearned=[unlearned], original=[(1.0, 1.0)], **RETRAINED) == expected


def test_the_message_says_how_far_it_came_and_how_far_it_should_have():
    notes = noted(unlearned=[(0.01, 0.02)], original=[(1.0, 1.0)], **RETRAINED)
    said = lacking_effect(LABEL, KNOWLEDGE, notes)
    assert {**said.params, "needed": round(said.params["needed"], 9)} == {
        "attack": LABEL,
        "effect": KNOWLEDGE,
        "before": 0.01,
        "after": 0.02,
        "needed": 0.45,
    }


@pytest.mark.parametrize(
    ("retrained", "expected"),
    [
        ((0.0, 0.101), None),
        ((0.0, 0.099), "no_effect_on_baseline"),
        ((0.5, 0.1), "no_effect_on_baseline"),
    ],
)
def test_the_baseline_must_move_where_it_knows_nothing(retrained, expected):
    found = judged(unlearned=[(0.0, 0.9)], original=[(1.0, 1.0)], retrained_0=[retrained])
    assert found == expected


@pytest.mark.parametrize(
    ("unlearned", "retrained", "expected"),
    [
        ((4.0, 2.9), (4.0, 2.0), None),
        ((4.0, 3.1), (4.0, 2.0), "no_effect_on_unlearned"),
        ((8.0, 5.9), (4.0, 2.0), None),  # a quarter of itself, half of the baseline's half
        ((8.0, 6.1), (4.0, 2.0), "no_effect_on_unlearned"),
        ((1.0, 1.0), (4.0, 2.0), None),  # lower from the beginning
        ((4.0, 4.0), (4.0, 3.97), "no_effect_on_baseline"),  # less than a hundredth
        ((4.0, 3.9), (4.0, 5.0), "no_effect_on_baseline"),
    ],
)
def test_a_loss_must_fall(unlearned, retrained, expected):
    arms = {"unlearned": [unlearned], "original": [(1.0, 0.5)], "retrained_0": [retrained]}
    assert judged(LOSS, **arms) == expected


def test_all_seeds_count():
    arms = {"original": [(1.0, 1.0)] * 2, "retrained_0": [(0.0, 0.8)] * 2}
    assert judged(unlearned=[(0.0, 0.8), (0.0, 0.1)], **arms) is None  # 0.45 on average
    assert judged(unlearned=[(0.0, 0.6), (0.0, 0.1)], **arms) == "no_effect_on_unlearned"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda notes: notes["unlearned"].__setitem__(0, None),
        lambda notes: notes["original"].__setitem__(0, {"measure": KNOWLEDGE, "before": 0.0}),
        lambda notes: notes["retrained-0"][0].update(after="much"),
        lambda notes: notes["retrained-0"][0].update(after=float("nan")),
        lambda notes: notes["unlearned"][0].update(measure=LOSS),
        lambda notes: notes.pop("unlearned"),
        lambda notes: [notes.pop(arm) for arm in ("retrained-0", "retrained-1")],
    ],
)
def test_what_is_not_noted_on_every_arm_is_no_effect(spoil):
    notes = noted(unlearned=[(0.0, 0.9)], original=[(1.0, 1.0)], **RETRAINED)
    assert lacking_effect(LABEL, KNOWLEDGE, notes) is None
    spoil(notes)
    assert lacking_effect(LABEL, KNOWLEDGE, notes).code == "effect_not_noted"


def test_a_measure_that_is_not_known_is_no_effect():
    notes = noted("charm", unlearned=[(0.0, 0.9)], original=[(1.0, 1.0)], **RETRAINED)
    assert lacking_effect(LABEL, "charm", notes).code == "effect_not_noted"


def test_every_measure_has_words():
    assert EFFECTS.keys() == EFFECT_MEASURES.keys()


@pytest.mark.parametrize(
    ("unlearned", "effect", "verdict"),
    [
        (0.1, None, Verdict.PASS),
        (0.1, "no_effect_on_unlearned", Verdict.INCONCLUSIVE),
        (0.9, "no_effect_on_unlearned", Verdict.FAIL),  # what it finds all the same, it finds
    ],
)
def test_an_attack_without_effect_blocks_a_pass_and_fails_nothing(unlearned, effect, verdict):
    def arms(k):
        return Arms(np.full(128, k), np.full(128, 0.9), np.full((1, 128), 0.1))

    said = effect and message(effect, attack=LABEL)
    attacks = [
        AttackEvidence(
            AttackId("none", ""), Role.MANDATORY, readings=(Reading(arms=arms(0.1)),), baseline=True
        ),
        AttackEvidence(
            AttackId(*LABEL.split(" ", 1)),
            Role.MANDATORY,
            readings=(Reading(arms=arms(unlearned)),),
            effect=said,
        ),
    ]
    kept = Utility(np.full(200, 0.9), np.full(200, 0.9))
    decision = decide(attacks, kept, Margins())
    assert decision.verdict is verdict
    gates = [gate for gate in decision.attacks[1].gates if gate.name == "effect"]
    assert [gate.message for gate in gates if not gate.met] == ([said] if effect else [])
    if verdict is Verdict.INCONCLUSIVE:
        assert said in decision.reasons
