"""What all attacks on pictures note and report: in how many the concept was found."""

import pytest
from scipy.stats import binomtest

from attacks.prompting.concepts.synonyms import Synonyms
from attacks.success_rate import TOP_1, ReportsSuccessRate, against_retrained, share_figure
from auditor.core.messages import message
from auditor.core.records import Row
from auditor.metrics.metric import METRICS


def codes(figure):
    return [remark.code for remark in figure.remarks]


@pytest.mark.parametrize(("count", "of"), [(0, 5), (5, 5), (7, 50)])
def test_a_share_has_the_exact_binomial_interval(count, of):
    figure = share_figure("success", "unlearned", count, of, message("of_some"))
    exact = binomtest(count, of).proportion_ci(0.95, method="exact")
    assert (figure.of, figure.value) == ("unlearned", count / of)
    assert (figure.lower, figure.upper) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert codes(figure) == ["of_some", "clopper_pearson_bounds"]


def noted(found, pictures=50):
    return {"pictures": pictures, "pictures_with_concept": found}


def test_the_original_is_set_against_the_worst_retrained_model():
    arms = {"original": noted(50), "retrained-0": noted(5), "retrained-1": noted(30, 40)}
    assert against_retrained(arms) == ("retrained-1", True)
    assert against_retrained(arms | {"original": noted(42)}) == ("retrained-1", False)
    assert against_retrained(arms | {"original": {}}) is None
    assert against_retrained({"original": noted(50), "unlearned": noted(0)}) is None


def rows(metric, *ks):
    return [Row("forget", str(i), "orb", metric, k, None) for i, k in enumerate(ks)]


def success(given):
    attack = Synonyms(Synonyms.parameters_type())
    notes = attack.record([*given, Row("retain", "kept", "bar", given[0].metric, 1.0, None)]).notes
    return next(f for f in ReportsSuccessRate.side_figures(attack, {"unlearned": notes}))


def test_success_is_counted_by_the_most_probable_label_where_that_is_measured():
    """0.4 may be the largest of several, and 0.6 not, where the labels do not share a whole."""
    given = [*rows("concept", 0.4, 0.6, 0.1), *rows(TOP_1, 1.0, 0.0, 1.0)]
    figure = success(given)
    assert figure.value == 2 / 3
    assert codes(figure) == ["concept_is_most_probable", "clopper_pearson_bounds"]
    assert TOP_1 in METRICS.names()


def test_otherwise_it_is_counted_by_the_primary_metric_from_one_half_on():
    figure = success([*rows("concept", 0.4, 0.6, 0.1, 0.5), *rows("other", 1.0, 1.0, 1.0, 1.0)])
    assert figure.value == 2 / 4
    assert figure.remarks[0] == message("k_at_least", metric="concept", least=0.5)
