"""Deployments: what they make mandatory, in the plan's policy and for whoever decides again."""

import pytest

from auditor.attack import ATTACKS
from auditor.core.attack_id import AttackId
from auditor.core.errors import AuditorError
from auditor.core.roles import Role
from auditor.engine.expansion import expand, explicit
from auditor.engine.plan import parse_plan
from auditor.policy import DEPLOYMENTS, assign_roles, deployed_levels, load_policy, parse_policy

PLAN = {
    "unlearned": "u",
    "original": "o",
    "retrained": "r",
    "data": {"forget": "f.jsonl"},
    "profile": "quick",
}


def plan(**said):
    return parse_plan(PLAN | said, "the test's plan")


def test_every_level_is_a_preset_of_its_attack():
    for label in deployed_levels(DEPLOYMENTS):
        attack = AttackId.parse(label)
        described = ATTACKS.metadata(attack.name)
        assert attack.variant in {preset.name for preset in described.presets}
        assert described.decides
        assert "causal-lm" in described.kinds


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_runs_its_levels_and_makes_them_mandatory(name):
    before = {v.label: v.role for v in expand(plan(policy="release-gate"))}
    after = {v.label: v for v in expand(plan(policy="release-gate", deploy=[name]))}
    wanted = set(DEPLOYMENTS[name])
    assert all(after[label].role is Role.MANDATORY for label in wanted)
    assert not any(after[label].left_out for label in wanted)
    assert {x: v.role for x, v in after.items() if x not in wanted} == {
        x: role for x, role in before.items() if x not in wanted
    }


def test_the_policy_holds_them_for_whoever_decides_again():
    asked = explicit(plan(policy="release-gate", deploy=["desktop-gguf", "phone-gguf"]))
    policy = asked.policy
    assert policy.name == "release-gate for desktop-gguf, phone-gguf"
    assert set(policy.mandatory) == {
        *load_policy("release-gate").mandatory,
        *deployed_levels(asked.deploy),
    }
    assert policy.budgets == load_policy("release-gate").budgets
    again = parse_policy(policy.model_dump(mode="json"), "the certificate's policy")
    assert again.digest == policy.digest
    assigned, missing = assign_roles(again, {AttackId.parse("none/as-is full precision"): {}}, ())
    level = AttackId.parse("quantization/gguf q4_k_m")
    assert level in missing
    assert assigned[level].role is Role.MANDATORY
    resolved = parse_plan(asked.model_dump(mode="json"), "plan.resolved.yaml")
    assert explicit(resolved).policy == policy


def test_what_is_demanded_already_leaves_the_policy_as_it_is():
    assert explicit(plan(policy="release-gate", deploy=["server-bf16"])).policy == load_policy(
        "release-gate"
    )
    assert "deploy" not in plan().model_dump()


def test_a_policy_without_a_list_keeps_the_default_demands():
    asked = explicit(plan(deploy=["server-fp4"])).policy.mandatory
    assert set(asked) == {*explicit(plan()).policy.mandatory, *DEPLOYMENTS["server-fp4"]}


def test_an_unknown_deployment_is_refused():
    with pytest.raises(AuditorError, match=r"no deployment desktop-ggfu.*desktop-gguf"):
        plan(deploy=["desktop-ggfu"])
