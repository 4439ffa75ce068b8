"""Policies: files, demands, budgets, waivers."""

from datetime import date

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.attack_id import AttackId
from auditor.core.errors import AuditorError, ExpiredError
from auditor.core.facts import Fact
from auditor.core.messages import message
from auditor.core.roles import Role
from auditor.engine.expansion import default_levels
from auditor.policy import (
    AS_IS,
    Policy,
    assign_roles,
    check_expired,
    demands,
    lacking_metrics,
    load_policy,
    parse_policy,
    ready_made,
    shortfall,
    unmet,
    waived,
)

LABELS = ("none/as-is full precision", "quantization/bnb nf4", "quantization/bnb int8", "a/b c d")
PROBABILITY = ("answer-probability",)
WAIVER = {"attack": "quantization/bnb nf4", "reason": "r", "by": "b", "until": "2026-06-30"}


def test_ready_made_policies_demand_what_is_mandatory_by_default():
    images = {"image-quick", "image-release-gate"}
    assert set(ready_made()) == {"quick", "release-gate", "research", "logs"} | images
    assert load_policy("logs").mandatory == ("none/as-is full precision",)
    for name in ready_made().keys() - {"logs"}:
        policy = load_policy(name)
        levels = default_levels("text-to-image" if name in images else "causal-lm")
        assert policy.name == name
        assert set(policy.mandatory) == set(levels)
    gate, research = load_policy("release-gate"), load_policy("research")
    assert gate.minimum_retrained == 2
    assert gate.leaked_facts == 0
    assert gate.deciding_metrics == research.deciding_metrics == ("answer-recall",)
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
    with pytest.raises(AuditorError, match="did you mean `release-gate`"):
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
def test_a_budget_is_met_by_the_largest_value_and_half_of_it_on_average(least, value):
    policy = Policy(budgets={"a/b": {"steps": least}})
    values = value if isinstance(value, list) else [value]
    reached = max(values) >= least and sum(values) / len(values) >= least / 2
    assert (shortfall(policy, "a/b c d", {"steps": value}) is None) == reached


@pytest.mark.parametrize(("grid", "met"), [([10, 20, 40], True), ([*range(1, 10), 40], False)])
def test_a_grid_that_dilutes_the_mean_does_not_meet_the_release_gate(grid, met):
    label = "relearning/held-out-facts by attribute"
    found = shortfall(load_policy("release-gate"), label, {"checkpoints": grid, "rank": 16})
    assert (found is None) == met


@pytest.mark.parametrize("value", [None, "40", True, [], [40, "x"]])
def test_a_budget_that_is_no_number_is_not_met(value):
    policy = Policy(budgets={"a/b": {"steps": 1}})
    lacking = {"parameter": "steps", "value": value, "least": 1.0}
    said = shortfall(policy, "a/b c d", {"steps": value})
    assert said == message("budget_not_met", attack="a/b c d", lacking=[lacking])
    missing = shortfall(policy, "a/b c d", {})
    assert missing.params["lacking"] == [lacking | {"value": None}]
    assert shortfall(policy, "other/attack", {}) is None


def test_names_of_earlier_releases_still_demand():
    policy = Policy(mandatory=("image/quantization", "relearning/held-out-facts by subject"))
    labels = ("quantization/unet int8", "relearning/held-out-facts by entity")
    found = {demand.name: demand.labels for demand in demands(policy, labels, ())}
    assert found["quantization/unet"] == labels[:1]
    assert found["relearning/held-out-facts by entity"] == labels[1:]
    budget = Policy(budgets={"image/relearning": {"rank": 8}})
    assert shortfall(budget, "relearning/unet lora forget", {"rank": 4}) is not None


ATTACKS = {AttackId.parse(label): {} for label in LABELS}
AS_IT_IS, NF4, INT8, OTHER = ATTACKS


def test_roles_under_a_policy():
    policy = parse_policy(
        {
            "mandatory": ["quantization/bnb", "x/y z"],
            "waivers": [WAIVER],
            "budgets": {"quantization/bnb": {"steps": 3}},
        },
        "p",
    )
    assigned, missing = assign_roles(policy, ATTACKS, [OTHER])
    assert {attack: found.role for attack, found in assigned.items()} == {
        AS_IT_IS: Role.MANDATORY,
        NF4: Role.WAIVED,
        INT8: Role.MANDATORY,
        OTHER: Role.REPORTED,
        AttackId("x/y", "z"): Role.MANDATORY,
    }
    assert missing == (AttackId("x/y", "z"),)
    short = [attack for attack, found in assigned.items() if found.shortfall]
    assert short == [INT8], "what is waived has no budget to meet"


def test_what_is_only_reported_cannot_be_demanded():
    with pytest.raises(AuditorError, match="only reported"):
        assign_roles(Policy(mandatory=("a/b",)), ATTACKS, [OTHER])


def some_facts(count, **fields):
    return [Fact(id=str(i), entity="e", prompt="p", answer="a", **fields) for i in range(count)]


@pytest.mark.parametrize(
    ("demanded", "deciding", "lacking"),
    [
        (("answer-recall",), PROBABILITY, ("answer-recall",)),
        (("answer-recall",), ("answer-probability", "answer-recall"), ()),
        (("answer-recall",), ("answer-recall",), ()),
        (("answer-recall",), ("concept",), ()),
        (("answer-recall",), ("multiple-choice",), ()),
        (("extraction-strength",), ("multiple-choice",), ("extraction-strength",)),
        (("answer-recall",), ("truth-ratio",), ("answer-recall",)),
        (("concept-likeness",), ("concept",), ("concept-likeness",)),
        (("truth-ratio",), PROBABILITY, ()),
        (("nonesuch",), PROBABILITY, ("nonesuch",)),
        (("answer-recall",), ("of another package",), ("answer-recall",)),
    ],
    ids=[
        "missing",
        "decides too",
        "is the primary one",
        "answers are images",
        "a choice",
        "beside a choice",
        "beside a ratio",
        "images alike",
        "facts without distractors",
        "not installed",
        "beside one that is not installed",
    ],
)
def test_metrics_that_must_decide_where_they_apply(demanded, deciding, lacking):
    policy = Policy(deciding_metrics=demanded)
    expected = (
        (message("deciding_metrics_lacking", policy="default", metrics=lacking, deciding=deciding),)
        if lacking
        else ()
    )
    assert unmet(policy, some_facts(2), 1, deciding) == expected


def test_a_metric_applies_where_it_reads_every_fact():
    policy = Policy(deciding_metrics=("truth-ratio",))
    read = some_facts(2, distractors=("b",))
    assert lacking_metrics(policy, read, PROBABILITY) == ("truth-ratio",)
    assert lacking_metrics(policy, [*read, *some_facts(1)], PROBABILITY) == ()


def test_facts_and_retrained_models():
    policy = Policy(minimum_facts=60, minimum_retrained=2)
    assert unmet(policy, some_facts(60), 2, PROBABILITY) == ()
    name = policy.name
    assert unmet(policy, some_facts(59), 1, PROBABILITY) == (
        message("too_few_facts", policy=name, demanded=60, facts=59),
        message("too_few_retrained_models", policy=name, demanded=2, retrained=1),
    )


def test_ready_made_files_say_what_they_are_for():
    for text in ready_made().values():
        assert text.startswith("# ")
        assert yaml.safe_load(text)["mandatory"]


def test_a_policy_that_counts_no_facts_keeps_the_digest_that_it_had():
    assert not {"leaked_facts", "deciding_metrics"} & Policy().model_dump(mode="json").keys()
    assert Policy(leaked_facts=0).digest != Policy().digest
    with pytest.raises(AuditorError, match="leaked_facts"):
        parse_policy({"leaked_facts": -1}, "ours")


@pytest.mark.parametrize(
    ("allowed", "audits", "blocks"), [(None, 9, False), (0, 1, True), (2, 2, False)]
)
def test_other_audits_of_the_same_model_are_bounded(allowed, audits, blocks):
    found = unmet(Policy(earlier_audits=allowed), some_facts(2), 1, PROBABILITY, audits)
    assert [said.code for said in found] == ["audited_before_too_often"] * blocks


@pytest.mark.parametrize(
    ("allowed", "blocks"), [(None, False), (0.0, True), (0.1, True), (0.5, False)]
)
def test_near_copies_among_the_facts_are_bounded(allowed, blocks):
    facts = [
        Fact(
            id=str(i), entity=f"Ann Lee {i}", prompt=f"Where was Ann Lee ({i}) born?", answer="Rye"
        )
        for i in range(5)
    ] + [
        Fact(id=name, entity=name, prompt=f"Where was {name} born?", answer="Rye")
        for name in ("Bo Ek", "Cy Orr", "Di Penn", "Ed Quist", "Flo Roe")
    ]
    policy = Policy(repeated_facts=allowed)
    found = unmet(policy, facts, 1, PROBABILITY)
    if not blocks:
        assert found == ()
        return
    [said] = found
    expected = {"copies": 4, "facts": 10, "example": ["1", "0"], "allowed": allowed}
    assert said.code == "repeated_facts"
    assert said.params == expected | {"policy": policy.name}
    assert unmet(policy, facts, 1, ("concept",)) == (), "one prompt with many seeds"
