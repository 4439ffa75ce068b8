"""On the testbed: what is only hidden is found, and where nothing is, nothing is."""

import pytest

HELD_OUT, BENIGN, SAME = "relearning/held-out-facts", "relearning/benign", "relearning/same-facts"


def row(attacked, unlearned, attack, parameters=None):
    (found,) = attacked(unlearned, attack, parameters=parameters).values()
    assert found.status == "measured"
    gates = {gate.name: gate for gate in found.gates}
    assert gates["sensitivity"].met, gates["sensitivity"].message
    return found


@pytest.mark.slow
def test_facts_that_nobody_taught_come_back(attacked):
    found = row(attacked, "npo_gdr", HELD_OUT, {"split": "attribute"})
    assert found.named
    curves = {curve.of: dict(curve.points) for curve in found.curves}
    assert curves.keys() == found.jobs.keys()
    curve = curves["unlearned"]
    assert curve[0] < 0.05 < curve[10] < curve[20] < curve[40]
    assert max(curves["retrained-0"].values()) < 0.02
    honest = row(attacked, "retrained-1", HELD_OUT, {"split": "attribute"})
    assert not honest.named
    assert honest.figures.rho_upper < 0.1


@pytest.mark.slow
def test_facts_that_were_hidden_are_learned_sooner(attacked):
    found = row(attacked, "npo_gdr", SAME)
    assert found.named
    assert found.metric == "recovery-speed"
    figures = {(f.name, f.of, f.against): f.value for f in found.side_figures}
    assert figures["median_steps_until_known", "original", None] == 0
    assert 0 < figures["median_steps_until_known", "unlearned", None] <= 40
    assert figures["log_rank_p", "unlearned", "retrained-0"] < 1e-9
    honest = row(attacked, "retrained-1", SAME)
    assert not honest.named
    assert honest.figures.rho_upper < 0.1


@pytest.mark.slow
def test_retain_facts_bring_little_back_where_unlearning_kept_them(attacked):
    """npo_gdr trains on the retain facts while it unlearns: there is little left to mend."""
    found = row(attacked, "npo_gdr", BENIGN)
    assert not found.named
    honest = row(attacked, "retrained-1", BENIGN)
    assert not honest.named
    assert found.figures.rho > honest.figures.rho + 0.02
    assert honest.figures.rho_upper < 0.1
