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


def calibrated(**arms):
    """Figures of arms whose pictures have these K, by the metric `concept`."""
    attack = Synonyms(Synonyms.parameters_type())
    notes = {
        arm.replace("_", "-"): attack.record(rows("concept", *ks)).notes for arm, ks in arms.items()
    }
    figures = ReportsSuccessRate.side_figures(attack, notes)
    return [figure for figure in figures if figure.name == "share_above_retrained"]


def test_a_threshold_from_retrained_models_counts_what_they_do_not_draw():
    """Of 200 pictures of two retrained models 100 set the threshold: the second highest of them.

    One above it keeps to 5 % (Clopper-Pearson 4.66 %), two do not (6.16 %).
    """
    low = [i / 1000 for i in range(100)]
    unlearned, original = calibrated(
        unlearned=[0.05] * 60 + [0.5] * 40,
        original=[0.9] * 100,
        retrained_0=low,
        retrained_1=low,
    )
    assert (unlearned.of, unlearned.value) == ("unlearned", 0.4)
    exact = binomtest(40, 100).proportion_ci(0.95, method="exact")
    assert (unlearned.lower, unlearned.upper) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert unlearned.params == {"metric": "concept", "fpr": 0.05}
    assert (original.of, original.value) == ("original", 1.0)
    (remark,) = unlearned.remarks
    assert remark.code == "threshold_from_retrained"
    assert remark.params["threshold"] == 0.098
    assert (remark.params["false_positives"], remark.params["checked"]) == (2, 100)


def test_a_detector_that_flags_everything_flags_no_more_on_the_unlearned_model():
    unlearned, original = calibrated(
        unlearned=[0.9] * 100, original=[0.9] * 100, retrained_0=[0.9] * 200
    )
    assert unlearned.value == original.value == 0.0


def test_too_few_pictures_set_no_threshold():
    """59 without a false alarm show 5 %."""
    assert calibrated(unlearned=[0.9] * 9, retrained_0=[0.1] * 116) == []
    assert len(calibrated(unlearned=[0.9] * 9, retrained_0=[0.1] * 118)) == 1
    assert calibrated(unlearned=[0.9] * 9) == []
    assert calibrated(retrained_0=[0.1] * 200) == []


def test_each_graded_metric_has_its_own_threshold():
    attack = Synonyms(Synonyms.parameters_type())

    def noted_of(k, seen):
        known = [*rows("concept", *[k] * 120), *rows("concept-detector", *[seen] * 120)]
        return attack.record([*known, *rows(TOP_1, *[1.0] * 120)]).notes

    notes = {"unlearned": noted_of(0.2, 0.9), "retrained-0": noted_of(0.3, 0.4)}
    figures = ReportsSuccessRate.side_figures(attack, notes)
    shares = {f.params["metric"]: f.value for f in figures if f.name == "share_above_retrained"}
    assert shares == {"concept": 0.0, "concept-detector": 1.0}
