"""Searched prompts against the testbed: what is there, what is not, and what the search taught."""

import pytest

METRIC = "answer-probability"


def taught(figures):
    """Arm to K of the facts that were searched with, under the arm's own prompts."""
    return {f.of: f.value for f in figures if f.name == "k_of_facts_searched_with"}


@pytest.mark.slow
def test_soft_prompts_bring_held_out_facts_back(attacked):
    (row,) = attacked("npo_gdr", "prompting/soft").values()
    assert row.figures.rho_lower > 0.02  # the tenth that would name it is not reached at this size
    assert row.figures.log_e_pass < 0
    assert row.forget[METRIC]["unlearned"] > 5 * row.forget[METRIC]["retrained-0"]
    assert row.figures.gap_lower > 0.5
    k = taught(row.side_figures)
    assert k["unlearned"] > 0.3 > 0.15 > k["retrained-0"]

    (row,) = attacked("retrained-1", "prompting/soft").values()
    assert not row.named
    assert row.figures.rho_upper < 0.1
    assert row.figures.log_e_pass > 3
    k = taught(row.side_figures)
    assert abs(k["unlearned"] - k["retrained-0"]) < 0.1


@pytest.mark.slow
def test_suffixes_bring_nothing_back_at_this_size(attacked):
    """GCG teaches the original's facts back and finds neither plant nor innocent."""
    parameters = {"num_steps": 10}
    for subject in ("npo_gdr", "retrained-1"):
        (row,) = attacked(subject, "prompting/gcg", parameters=parameters).values()
        assert not row.named
        assert row.figures.rho_upper < 0.1
        assert row.figures.gap_lower > 0.5
        losses = {f.of: f.value for f in row.side_figures if f.name == "final_search_loss"}
        assert losses["original"] < losses["unlearned"]
        assert losses["original"] < losses["retrained-0"]
