"""Policies: files, demands, budgets, waivers."""

from datetime import date

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.errors import AuditorError, ExpiredError
from auditor.engine.expansion import default_levels
from auditor.policy import (
    AS_IS,
    Policy,
    check_expired,
    demands,
    load_policy,
    parse_policy,
    ready_made,
    shortfall,
    unmet,
    waived,
)

LABELS = ("none/as-is full precision", "quantization/bnb nf4", "quantization/bnb int8", "a/b c d")
WAIVER = {"attack": "quantization/bnb nf4", "reason": "r", "by": "b", "until": "2026-06-30"}


def test_ready_made_policies_demand_what_is_mandatory_by_default():
    images = {"image-quick", "image-release-gate"}
    assert set(ready_made()) == {"quick", "release-gate", "research"} | images
    for name in ready_made():
        policy = load_policy(name)
        levels = default_levels("text-to-image" if name in images else "causal-lm")
        assert policy.name == name
        assert set(policy.mandatory) == set(levels)
    gate, research = load_policy("release-gate"), load_policy("research")
    assert gate.minimum_retrained == 2
    assert research.delta < gate.delta
    assert all(
        shortfall(gate, label, a.parameters.model_dump(mode="json")) is None
        for label, a in default_levels("causal-lm").items()
    )
    assert all(
        shortfall(load_policy("image-release-gate"), label, a.parameters.model_dump(mode="json"))
        is None
        for label, a in default_levels("text-to-image").items()
    )


def test_a_file_and_its_digest(tmp_path):
    file = tmp_path / "ours.yaml"
    file.write_text("# a comment\nalpha: 0.01\ndelta: 0.2\n")
    policy = load_policy(str(file))
    assert (policy.name, policy.alpha, policy.delta) == ("ours", 0.01, 0.2)
    file.write_text("delta: 0.2\nname: ours\nalpha: 0.01\n")
    assert load_policy(str(file)).digest == policy.digest
    file.write_text("delta: 0.2\nname: ours\nalpha: 0.02\n")
    assert load_policy(str(file)).digest != policy.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("delta: 2\nalpa: 0.1\n", r"delta:.*\n.*alpa"),
        ("[1, 2]", "no settings by name"),
        ("a: [", "not valid YAML"),
        ("waivers: [{attack: a, by: b, until: 2026-01-01}]", "waivers.0.reason"),
        ("waivers: [{attack: a, by: ' ', reason: x, until: 2026-01-01}]", "waivers.0.by"),
        ("minimum_facts: 0", "minimum_facts"),
    ],
)
def test_what_is_no_policy_is_refused(tmp_path, text, said):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(AuditorError, match=f"(?s){said}"):
        load_policy(str(file))


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AuditorError, match="quick, release-gate, research"):
        load_policy("relase-gate")


def test_demands_by_name_and_by_label():
    policy = Policy(mandatory=("quantization/bnb", "x/y"))
    found = {demand.name: demand.labels for demand in demands(policy, LABELS, ())}
    assert found == {
        "quantization/bnb": ("quantization/bnb nf4", "quantization/bnb int8"),
        "x/y": (),
        AS_IS: ("none/as-is full precision",),
    }
    by_default = demands(Policy(), LABELS, ["a/b c d"])
    assert [d.labels for d in by_default] == [("a/b c d",), ("none/as-is full precision",)]


def test_a_waiver_lifts_what_is_demanded_and_nothing_else():
    policy = parse_policy({"waivers": [WAIVER]}, "p")
    assert waived(policy, LABELS) == ("quantization/bnb nf4",)
    with pytest.raises(AuditorError, match="does not demand"):
        waived(policy, ["quantization/bnb int8"])
    whole = parse_policy({"waivers": [WAIVER | {"attack": AS_IS}]}, "p")
    with pytest.raises(AuditorError, match="nothing can be said"):
        waived(whole, LABELS)


def test_a_waiver_holds_to_its_last_day():
    policy = parse_policy({"waivers": [WAIVER]}, "p")
    check_expired(policy, date(2026, 6, 30))
    with pytest.raises(ExpiredError, match="expired on 2026-06-30"):
        check_expired(policy, date(2026, 7, 1))


@given(
    least=st.floats(1, 100),
    value=st.one_of(st.floats(0, 200), st.lists(st.integers(0, 200), min_size=1, max_size=4)),
)
def test_a_budget_is_met_by_the_largest_value(least, value):
    policy = Policy(budgets={"a/b": {"steps": least}})
    reached = max(value) if isinstance(value, list) else value
    assert (shortfall(policy, "a/b c d", {"steps": value}) is None) == (reached >= least)


@pytest.mark.parametrize("value", [None, "40", True, [], [40, "x"]])
def test_a_budget_that_is_no_number_is_not_met(value):
    policy = Policy(budgets={"a/b": {"steps": 1}})
    assert "steps is" in shortfall(policy, "a/b c d", {"steps": value})
    assert "steps is None" in shortfall(policy, "a/b c d", {})
    assert shortfall(policy, "other/attack", {}) is None


def test_facts_and_retrained_models():
    policy = Policy(minimum_facts=60, minimum_retrained=2)
    assert unmet(policy, 60, 2) == ()
    few, single = unmet(policy, 59, 1)
    assert "60 facts" in few
    assert "2 retrained" in single


def test_ready_made_files_say_what_they_are_for():
    for text in ready_made().values():
        assert text.startswith("# ")
        assert yaml.safe_load(text)["mandatory"]
