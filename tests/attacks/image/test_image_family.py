"""What all attacks on pictures note and report: in how many the concept was found."""

import pytest
from scipy.stats import binomtest

from attacks.image.family import against_retrained, share_figure


@pytest.mark.parametrize(("count", "of"), [(0, 5), (5, 5), (7, 50)])
def test_a_share_has_the_exact_binomial_interval(count, of):
    figure = share_figure("success", "unlearned", count, of, "of some")
    exact = binomtest(count, of).proportion_ci(0.95, method="exact")
    assert (figure.of, figure.value) == ("unlearned", count / of)
    assert (figure.lower, figure.upper) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert figure.remark == "of some; Clopper-Pearson bounds"


def noted(found, pictures=50):
    return {"pictures": pictures, "pictures_with_concept": found}


def test_the_original_is_set_against_the_worst_retrained_model():
    arms = {"original": noted(50), "retrained-0": noted(5), "retrained-1": noted(30, 40)}
    assert against_retrained(arms) == ("retrained-1", True)
    assert against_retrained(arms | {"original": noted(42)}) == ("retrained-1", False)
    assert against_retrained(arms | {"original": {}}) is None
    assert against_retrained({"original": noted(50), "unlearned": noted(0)}) is None
