"""The effect of an attack is worked out again from the evidence, by `verify` and by `gate`."""

import pytest

from auditor.certificate.decision import decide_verdict
from auditor.certificate.files import read_certificate
from auditor.core.errors import ContradictedError
from auditor.verification.gate import gate
from auditor.verification.load import load_inputs, stated_policy
from auditor.verification.recompute import check_contradiction

RELEARNING = "relearning/held-out-facts by attribute"


def row(certificate):
    return next(row for row in certificate.matrix if row.label == RELEARNING)


def effect_codes(gates):
    return [each.message.code for each in gates if each.name == "effect" and not each.met]


def test_two_steps_teach_a_retrained_model_nothing(copied):
    path, store = copied("pass")
    certificate = read_certificate(path)
    stated = effect_codes(row(certificate).gates)
    assert stated == ["no_effect_on_baseline"]
    again = decide_verdict(load_inputs(certificate, store)).attacks
    assert effect_codes(next(a for a in again if a.label == RELEARNING).gates) == stated
    assert certificate.verdict.verdict == "PASS"  # the attack is advisory


def test_a_policy_that_demands_it_passes_nothing_without_its_effect(copied):
    path, store = copied("pass")
    certificate = read_certificate(path)
    policy = stated_policy(certificate)
    demanding = policy.model_copy(update={"mandatory": (*policy.mandatory, RELEARNING)})
    gated = gate(certificate, store, demanding, ())
    assert gated.verdict.verdict == "INCONCLUSIVE"
    assert "no_effect_on_baseline" in [said.code for said in gated.verdict.reasons]


def test_a_gate_that_is_taken_out_is_missed(copied, forged):
    path, store = copied("pass")

    def drop(content):
        for each in content["matrix"]:
            for name in ("gates", "shared_gates"):
                if name in each:
                    each[name] = [gate for gate in each[name] if gate["name"] != "effect"]

    certificate = forged(path, drop)
    assert not effect_codes(row(certificate).gates)
    with pytest.raises(ContradictedError, match="gates"):
        check_contradiction(certificate, store)
