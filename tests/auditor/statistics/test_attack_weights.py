import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.attack_id import AttackId
from auditor.statistics.attack_weights import family_parts, parts, weighted_log_e_value

PLAN = [
    AttackId("none/as-is", "full"),
    *(AttackId("quantization/bnb", variant) for variant in ("nf4", "int8", "fp4")),
    AttackId("quantization/rtn", "4-bit"),
    AttackId("relearning/held-out-facts", "by attribute"),
]


def test_each_family_has_one_share_and_each_variant_a_part_of_it():
    found = family_parts(PLAN)
    assert found[PLAN[0]] == found[PLAN[5]] == 3
    assert {found[attack] for attack in PLAN[1:5]} == {12}


@given(
    st.lists(
        st.builds(AttackId, st.sampled_from(["a/x", "a/y", "b/x", "c/z"]), st.text(max_size=2)),
        min_size=1,
        unique=True,
    )
)
def test_the_weights_sum_to_one(plan):
    assert math.fsum(1 / share for share in family_parts(plan).values()) == pytest.approx(1.0)


def test_what_was_not_measured_keeps_its_share_and_the_former_rule_gives_it_to_the_others():
    measured = PLAN[:5]
    assert parts(PLAN, measured, "family") == family_parts(PLAN)
    assert set(parts(PLAN, measured, "measured").values()) == {5}


def test_the_mean_is_weighted_and_what_is_missing_enters_as_zero():
    shares = family_parts(PLAN)
    e_values = {PLAN[0]: 2.0, PLAN[1]: 50.0, PLAN[5]: 9.0}
    mean = weighted_log_e_value({a: math.log(e) for a, e in e_values.items()}, shares)
    assert mean == pytest.approx(math.log(2 / 3 + 50 / 12 + 9 / 3))
    assert weighted_log_e_value({}, shares) is None


def test_one_attack_among_near_copies_is_not_diluted_by_them():
    """Relearning alone brings everything back: formerly 1 of 6, now 1 of 3 families."""
    alone = {PLAN[5]: 10.0}
    assert weighted_log_e_value(alone, family_parts(PLAN)) == pytest.approx(10 - math.log(3))
    equal = weighted_log_e_value(alone, parts(PLAN, PLAN, "measured"))
    assert equal == pytest.approx(10 - math.log(6))


def test_the_weighted_mean_of_e_values_stays_one_on_average():
    rng = np.random.default_rng(0)
    shares = family_parts(PLAN)
    means = [
        math.exp(
            weighted_log_e_value({a: rng.normal(-0.5, 1.0) for a in PLAN}, shares) or -math.inf
        )
        for _ in range(4000)
    ]
    assert np.mean(means) == pytest.approx(1.0, abs=0.05)
