"""The real Phi-1.5 logs of TOFU, with figures that were worked out independently."""

import numpy as np
import pytest

from auditor.statistics import Margins, Verdict, decide, facts_needed, forget_quality


def test_the_original_as_unlearned_model_fails(tofu):
    decision = decide([tofu.as_is("full_wd0.01")], tofu.utility("full_wd0.01"))
    figures = decision.attacks[0].figures
    assert decision.verdict is Verdict.FAIL
    assert figures.rho == pytest.approx(1.0)
    assert figures.log_e_fail == pytest.approx(155.38 + np.log(0.8), abs=0.01)
    assert figures.rho_upper is None
    assert (figures.leak.leaked, figures.leak.eligible) == (298, 298)


def test_another_retrained_model_passes(tofu):
    decision = decide([tofu.as_is("retain90_wd0")], tofu.utility("retain90_wd0"))
    figures = decision.attacks[0].figures
    assert decision.verdict is Verdict.PASS
    assert decision.flags == ()
    assert decision.utility.state == "kept"
    assert figures.rho == pytest.approx(0.0, abs=5e-4)
    assert figures.rho_upper == pytest.approx(0.0188, abs=1e-4)
    assert figures.log_e_pass == pytest.approx(19.88, abs=0.01)
    assert figures.gap_mean == pytest.approx(0.7933, abs=1e-4)


def test_fifteen_authors_are_too_few_to_speak_of_others(tofu):
    decision = decide([tofu.as_is("retain90_wd0")], tofu.utility("retain90_wd0"), scope="sampled")
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.attacks[0].figures.units == 15


def test_forty_facts_never_pass_and_a_hundred_do(tofu):
    """TOFU's forget01 has 40 questions."""
    retrained = np.stack([tofu.knowledge("retain90_wd0.01"), tofu.knowledge("retain90_wd0")])
    needed = facts_needed(tofu.knowledge("full_wd0.01"), retrained, Margins())
    assert 40 < needed.needed < 100
    assert needed.at_least == 40


@pytest.mark.parametrize(("decay", "p_value"), [("wd0.01", 2.194e-16), ("wd0", 5.100e-17)])
def test_forget_quality_is_the_published_figure(tofu, decay, p_value):
    quality = forget_quality(
        tofu.truth_ratio(f"full_{decay}"), tofu.truth_ratio(f"retain90_{decay}")
    )
    assert quality.p_value == pytest.approx(p_value, rel=5e-4)
    assert quality.statistic == pytest.approx({"wd0.01": 104, "wd0": 106}[decay] / 300)


def test_forget_quality_does_not_depend_on_how_the_ratio_is_written(tofu):
    full, retain = tofu.truth_ratio("full_wd0"), tofu.truth_ratio("retain90_wd0")
    assert forget_quality(1 / full, 1 / retain).p_value == forget_quality(full, retain).p_value
    stored = tofu.figure("full_wd0", "eval_log_forget.json", "truth_ratio")
    assert np.allclose(stored, full) or np.allclose(stored, 1 / full)


def test_forget_quality_needs_facts():
    with pytest.raises(ValueError, match="at least one fact"):
        forget_quality([], [0.1])
