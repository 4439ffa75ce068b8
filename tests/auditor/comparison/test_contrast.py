"""What changed between two certificates, from the certificates alone."""

import json
from pathlib import Path

import pytest
from hand_made_certificates import honest_certificate

from auditor.certificate.schema import Certificate
from auditor.comparison.contrast import Given, compare
from auditor.core.messages import message
from reports.results import result

NOWHERE = Path("/nonexistent/certificate.json")


def changed(certificate, change):
    content = json.loads(certificate.model_dump_json())
    change(content)
    return Certificate.model_validate(content)


def compared(a, b):
    return compare(Given(NOWHERE, a), Given(NOWHERE, b))


def other_facts(content):
    content["identity"]["facts_digest"] = "f" * 64


def other_original(content):
    content["identity"]["arms"][1]["digest"] = "f" * 64


def other_retrained(content):
    content["identity"]["arms"][2]["digest"] = "f" * 64


def other_probe(content):
    content["scope"]["primary_metric"] = "exact-memorisation"


def other_scope(content):
    content["scope"]["scope"] = "sampled"


def other_policy(content):
    content["identity"]["policy_digest"] = "f" * 64


def fewer_demands(content):
    content["policy"]["mandatory"] = content["policy"]["mandatory"][1:]


OBSTACLES = ("forget set", "primary metric", "original model")


@pytest.mark.parametrize(
    ("change", "about", "k_differs", "rho_differs"),
    [
        (other_facts, "forget set", False, False),
        (other_probe, "primary metric", False, False),
        (other_original, "original model", True, False),
        (other_retrained, "retrained models", True, False),
        (other_scope, "scope", True, False),
        (other_policy, "policy", True, True),
        (fewer_demands, "policy", True, True),
    ],
)
def test_what_is_not_the_same_is_said_and_no_difference_is_made_of_it(
    change, about, k_differs, rho_differs
):
    a = honest_certificate("FAIL")
    comparison = compared(a, changed(a, change))
    hinders = about in OBSTACLES
    assert comparison.comparable != hinders
    assert comparison.verdicts_comparable == (about == "retrained models")
    named = comparison.obstacles if hinders else comparison.differences
    assert [each.about for each in named] == [about]
    assert not (comparison.differences if hinders else comparison.obstacles)
    measured = [attack for attack in comparison.attacks if attack.a.k_unlearned is not None]
    assert measured
    assert all((attack.k_unlearned_change is not None) == k_differs for attack in measured)
    known = [attack for attack in measured if attack.a.rho is not None]
    assert all((attack.rho_change is not None) == rho_differs for attack in known)
    assert (comparison.utility.change is not None) == k_differs
    assert not comparison.paired.possible
    if about not in ("scope", "policy"):
        why = comparison.paired.why_not
        assert why == message("pairing_needs_same", aspects=[about])


def with_sets(content, **digests):
    content["identity"]["facts_digest"] = "".join(digests.values())[:64].ljust(64, "0")
    content["identity"]["set_digests"] = {name: d * 64 for name, d in digests.items()}


@pytest.mark.parametrize(
    ("after", "obstacles", "others", "utility"),
    [
        ({"forget": "a", "retain": "b", "holdout": "d"}, [], ["holdout set"], True),
        ({"forget": "a", "retain": "b"}, [], ["holdout set"], True),
        ({"forget": "a", "retain": "d", "holdout": "c"}, [], ["retain set"], False),
        ({"forget": "d", "retain": "b", "holdout": "c"}, ["forget set"], [], False),
    ],
)
def test_a_grown_holdout_does_not_matter_and_another_forget_set_does(
    after, obstacles, others, utility
):
    made = honest_certificate("FAIL")
    a = changed(made, lambda content: with_sets(content, forget="a", retain="b", holdout="c"))
    found = compared(a, changed(made, lambda content: with_sets(content, **after)))
    assert [each.about for each in found.obstacles] == obstacles
    assert [each.about for each in found.differences] == others
    assert found.comparable == (not obstacles)
    assert (found.utility.change is not None) == utility
    known = [attack for attack in found.attacks if attack.a.rho is not None]
    assert all((attack.rho_change is not None) == (not obstacles) for attack in known)


def test_outcomes_are_in_the_words_of_the_page():
    made = honest_certificate("FAIL")
    for row, attack in zip(made.matrix, compared(made, made).attacks, strict=True):
        assert attack.a.outcome == result(row).words.partition(";")[0]


def test_the_order_of_the_retrained_models_is_no_difference():
    a = honest_certificate("FAIL")

    def swap(content):
        arms = content["identity"]["arms"]
        arms[2]["digest"], arms[3]["digest"] = arms[3]["digest"], arms[2]["digest"]

    assert compared(a, changed(a, swap)).comparable


def test_a_certificate_against_itself():
    a = honest_certificate("PASS")
    comparison = compared(a, a)
    assert comparison.comparable
    assert comparison.worse == ()
    assert comparison.policy == ()
    assert comparison.warnings_only_a == comparison.warnings_only_b == ()
    assert all(model.same for model in comparison.models)
    assert all(attack.parameters == () for attack in comparison.attacks)
    assert {attack.rho_change for attack in comparison.attacks} <= {0.0, None}


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ("PASS", "FAIL", True),
        ("PASS", "INCONCLUSIVE", True),
        ("INCONCLUSIVE", "FAIL", True),
        ("FAIL", "NOT AUDITABLE", True),
        ("FAIL", "PASS", False),
        ("FAIL", "FAIL", False),
    ],
)
def test_a_worse_verdict_is_worse(before, after, worse):
    said = compared(honest_certificate(before), honest_certificate(after)).worse
    assert (message("verdict_worse", a=before, b=after) in said) == worse


def test_an_attack_that_is_newly_named_is_worse_even_under_the_same_verdict():
    b = honest_certificate("FAIL")

    def spared(content):
        [row] = [row for row in content["matrix"] if row["variant"] == "nf4"]
        row["named"] = False

    a = changed(b, spared)
    assert compared(a, b).worse == (message("newly_named", attack="quantization/bnb nf4"),)
    assert compared(b, a).worse == ()


def test_a_gate_that_is_not_met_names_its_metric_where_several_decide():
    def read_twice(content):
        row = next(row for row in content["matrix"] if row["named"])
        [first] = row["readings"]
        row["readings"] = [first, first | {"metric": "answer-recall"}]

    before = honest_certificate("FAIL")
    side = next(
        one.b for one in compared(before, changed(before, read_twice)).attacks if one.b.named
    )
    assert {"residual by answer-recall", f"residual by {before.scope.primary_metric}"} <= {
        *side.unmet
    }


def test_attacks_of_one_alone_and_those_that_were_not_run_alike():
    a = honest_certificate("FAIL")

    def change(content):
        gone = content["matrix"].pop(1)
        content["matrix"][1]["parameters"] |= {"bits": 3}
        content["matrix"].append(gone | {"variant": "new"})

    b = changed(a, change)
    attacks = {attack.label: attack for attack in compared(a, b).attacks}
    only_a, only_b = a.matrix[1].label, b.matrix[-1].label
    assert attacks[only_a].b is None
    assert attacks[only_b].a is None
    assert attacks[only_a].k_unlearned_change is attacks[only_b].k_unlearned_change is None
    [parameter] = attacks[b.matrix[1].label].parameters
    assert (parameter.name, parameter.a, parameter.b) == ("bits", 4, 3)


def test_every_number_of_the_policy_that_differs_is_listed():
    a = honest_certificate("FAIL")

    def change(content):
        content["policy"] |= {"delta": 0.2, "minimum_facts": 1, "budgets": {"x": {"steps": 1}}}
        content["policy"]["mandatory"] = ["none/as-is full precision"]

    listed = {c.name: (c.a, c.b) for c in compared(a, changed(a, change)).policy}
    assert listed["delta"] == (0.1, 0.2)
    assert listed["minimum_facts"] == (200, 1)
    assert listed["mandatory"][1] == ["none/as-is full precision"]
    assert listed["budget of x"] == (None, {"steps": 1.0})
    assert "alpha" not in listed


def test_what_was_not_measured_stays_missing():
    a = honest_certificate("FAIL")
    comparison = compared(a, a)
    absent = [attack for attack in comparison.attacks if attack.a.status != "measured"]
    assert absent
    for attack in absent:
        side = attack.a
        assert side.k_unlearned is side.rho is side.rho_upper is side.leaked is None
        assert attack.k_unlearned_change is attack.rho_change is attack.paired is None
