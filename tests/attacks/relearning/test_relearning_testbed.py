"""On the testbed: what is only hidden is found, and where nothing is, nothing is."""

import numpy as np
import pytest
from rescaled import rescale_llama
from tiny_models import open_directory

from attacks.relearning.held_out_facts import HeldOutFacts, HeldOutFactsParameters
from auditor.attack import AttackContext
from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator

HELD_OUT, BENIGN, SAME = "relearning/held-out-facts", "relearning/benign", "relearning/same-facts"


def row(attacked, unlearned, attack, parameters=None):
    (found,) = attacked(unlearned, attack, parameters=parameters).values()
    assert found.status == "measured"
    gates = {gate.name: gate for gate in found.gates}
    assert gates["sensitivity"].met, gates["sensitivity"].message
    assert "effect" not in gates, gates["effect"].message
    return found


@pytest.mark.slow
@pytest.mark.nightly
def test_facts_that_nobody_taught_come_back(attacked):
    found = row(attacked, "npo_gdr", HELD_OUT, {"split": "attribute"})
    assert found.named
    curves = {curve.of: dict(curve.points) for curve in found.curves}
    assert curves.keys() == found.jobs.keys()
    curve = curves["unlearned"]
    assert curve[0] < 0.05 < curve[10] < curve[20]
    assert curve[40] > curve[10]
    effects = {arm: noted["effect"] for arm, noted in found.notes.items()}
    assert effects["unlearned"]["after"] > 0.8
    assert effects["retrained-0"]["before"] < 0.05
    assert effects["retrained-0"]["after"] > 0.8
    assert max(curves["retrained-0"].values()) < 0.02
    honest = row(attacked, "retrained-1", HELD_OUT, {"split": "attribute"})
    assert not honest.named
    assert honest.figures.rho_upper < 0.1


@pytest.mark.slow
@pytest.mark.nightly
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
@pytest.mark.nightly
def test_retain_facts_bring_little_back_where_unlearning_kept_them(attacked):
    """npo_gdr trains on the retain facts while it unlearns: there is little left to mend."""
    found = row(attacked, "npo_gdr", BENIGN)
    assert not found.named
    honest = row(attacked, "retrained-1", BENIGN)
    assert not honest.named
    assert found.figures.rho > honest.figures.rho + 0.02
    assert honest.figures.rho_upper < 0.1


@pytest.mark.slow
def test_a_rescaled_model_gives_away_what_the_model_does(people, tmp_path):
    """At the absolute rates of before K of facts that nobody taught was 0.20 and 0.005."""
    lines = people.facts("forget").read_text(encoding="utf-8").splitlines()
    facts = tuple(Fact.model_validate_json(line) for line in lines[:48])
    evaluator = TextEvaluator(FactSets(forget=facts), ["answer-probability"])
    found = []
    for rescale in (lambda network: network, rescale_llama):
        subject = open_directory(people.model_path("npo_gdr"), dtype="float32")
        rescale(subject.network)
        attack = HeldOutFacts(HeldOutFactsParameters(checkpoints=(20,)))
        record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
        found.append((record.notes, np.mean([row.k for row in record.rows])))
    (plain, k), (rescaled, k_rescaled) = found
    assert k > 0.05 > plain["curve"][0][1]
    assert k_rescaled == pytest.approx(k, abs=1e-3)
    assert rescaled["learning_rates"] == plain["learning_rates"]
    assert rescaled["effect"]["after"] == pytest.approx(plain["effect"]["after"], abs=1e-3)


@pytest.mark.slow
def test_a_training_that_cannot_move_anything_passes_nobody(attacked):
    (found,) = attacked("retrained-1", HELD_OUT, parameters={"learning_rate": 1e-9}).values()
    assert found.variant == "by attribute rate 1e-09"
    (gate,) = (gate for gate in found.gates if gate.name == "effect")
    assert not gate.met
    assert gate.message.code == "no_effect_on_baseline"
