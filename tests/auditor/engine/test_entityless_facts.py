"""Facts without entities: which level is demanded of them, and by whom it is said."""

from datetime import date
from pathlib import Path

import pytest

from auditor.core.facts import Fact, FactSets
from auditor.core.messages import message
from auditor.core.roles import Role
from auditor.data.folds import folds, names_entities
from auditor.engine.expansion import expand, replaced_levels, suited
from auditor.engine.plan import parse_plan
from auditor.engine.plan_warnings import PlannedAttack, plan_warnings
from auditor.models.manifest import Location, Manifest
from auditor.policy import Policy, Waiver, load_policy

ATTRIBUTE = "relearning/held-out-facts by attribute"
HALF = "relearning/held-out-facts by half"
PLAN = {
    "unlearned": "org/u",
    "original": "org/o",
    "retrained": ["org/r"],
    "data": {"forget": "f.jsonl"},
}


def facts(count, entity="e{0}"):
    return tuple(
        Fact(id=f"f{i}", entity=entity.format(i), prompt=f"Q{i}?", answer=f"A{i}")
        for i in range(count)
    )


def roles(entities, **changes):
    plan = parse_plan(PLAN | changes, "test")
    return {v.label: (v.role, v.left_out) for v in expand(plan, entities=entities)}


@pytest.mark.parametrize("policy", ["default", "quick", "release-gate", "research"])
def test_what_is_demanded_is_what_the_facts_allow(policy):
    given = {} if policy == "default" else {"policy": policy}
    with_entities, without = roles(True, **given), roles(False, **given)
    assert with_entities[ATTRIBUTE] == (Role.MANDATORY, False)
    assert HALF not in with_entities
    assert without[HALF] == (Role.MANDATORY, False)
    assert ATTRIBUTE not in without
    assert len(with_entities) == len(without)


def test_what_the_plan_leaves_out_stays_demanded():
    assert roles(False, profile=None)[HALF] == (Role.MANDATORY, True)


def test_budgets_and_waivers_go_with_the_demand():
    waiver = Waiver(attack=ATTRIBUTE, reason="r", by="b", until=date(2100, 1, 1))
    policy = Policy(budgets={ATTRIBUTE: {"rank": 64}}, mandatory=(ATTRIBUTE,), waivers=(waiver,))
    now = suited(policy, entities=False, experts=False)
    assert (now.mandatory, list(now.budgets), now.waivers[0].attack) == ((HALF,), [HALF], HALF)
    assert suited(policy, entities=True, experts=False) is policy
    by_name = load_policy("release-gate")
    assert suited(by_name, entities=False, experts=False).budgets == by_name.budgets


def test_demands_that_become_one_are_waived_together_or_not_at_all():
    entity = "relearning/held-out-facts by entity"
    waiver = Waiver(attack=entity, reason="r", by="b", until=date(2100, 1, 1))
    budgets = {ATTRIBUTE: {"rank": 64, "x": 1}, entity: {"rank": 8}}
    both = Policy(budgets=budgets, mandatory=(ATTRIBUTE, entity), waivers=(waiver,))
    now = suited(both, entities=False, experts=False)
    assert (now.waivers, now.budgets) == ((), {HALF: {"rank": 64, "x": 1}})
    one = Policy(mandatory=(entity,), waivers=(waiver,))
    assert suited(one, entities=False, experts=False).waivers[0].attack == HALF


def test_every_level_that_stands_in_is_a_level():
    assert replaced_levels(entities=False, experts=False)[ATTRIBUTE] == HALF


@pytest.mark.parametrize(
    ("entity", "replaced"), [("e{0}", True), ("one", False), ("", False)], ids=str
)
def test_plan_says_which_level_is_demanded(entity, replaced):
    some = facts(12, entity or "e{0}")
    if not entity:  # one entity has two facts: they could be told apart, and are not even
        some = (*some, some[0].model_copy(update={"id": "x", "prompt": "Q?"}))
    assert names_entities(some) is not replaced
    plan = parse_plan(PLAN, "test")
    locations = {
        arm: Location(model=Path(), adapter=None, manifest=Manifest(files={"w": arm}))
        for arm in plan.arms
    }
    planned = [PlannedAttack.from_variant(v) for v in expand(plan, entities=not replaced)]
    found = plan_warnings(plan, planned, FactSets(forget=some), locations)
    said = message("level_without_entities", demanded=ATTRIBUTE, instead=HALF)
    assert (said in found) is replaced
    assert not any(w.code == "policy_does_not_demand" for w in found)
    undivided = {w.params["attack"] for w in found if w.code == "forget_facts_not_divided"}
    assert (ATTRIBUTE in undivided) is (not entity)


def test_halves_are_dealt_out_in_an_order_that_nobody_chose():
    some = facts(40)
    one, two = folds(some, "half")
    assert sorted([len(one.asked), len(two.asked)]) == [20, 20]
    assert {f.id for f in one.asked} == {f.id for f in two.given}
    again = folds(tuple(reversed(some)), "half")
    assert {f.id for f in again[0].asked} == {f.id for f in one.asked}
    assert {f.id for f in one.asked} != {f"f{i}" for i in range(0, 40, 2)}


def test_levels_that_do_not_round_experts_are_replaced_by_the_same_rule():
    gptq, rtn = "quantization/gptq 4-bit g128", "quantization/rtn 4-bit g128"
    waiver = Waiver(attack=gptq, reason="r", by="b", until=date(2100, 1, 1))
    policy = Policy(mandatory=(gptq, ATTRIBUTE), budgets={gptq: {"bits": 4}}, waivers=(waiver,))
    now = suited(policy, entities=True, experts=True)
    assert (now.mandatory, now.budgets) == ((rtn, ATTRIBUTE), {rtn: {"bits": 4}})
    assert now.waivers[0].attack == rtn
    assert suited(policy, entities=False, experts=True).mandatory == (rtn, HALF)
    assert suited(policy, entities=True, experts=False) is policy


@pytest.mark.parametrize("policy", ["default", "quick", "release-gate", "research"])
def test_every_policy_can_be_met_by_a_mixture_of_experts(policy):
    given = {} if policy == "default" else {"policy": policy}
    plan = parse_plan(PLAN | given, "test")
    dense, mixture = (expand(plan, experts=experts) for experts in (False, True))
    named = {v.label: (v.role, v.left_out) for v in mixture}
    rounding = {"bnb", "gptq", "awq", "torchao"}
    assert not {label for label in named if label.split()[0].rpartition("/")[2] in rounding}
    demanded = [v.label for v in dense if v.role is Role.MANDATORY]
    levels = replaced_levels(entities=True, experts=True)
    for label in demanded:
        assert named[levels.get(label, label)] == (Role.MANDATORY, False), label
