"""Who borrows weights: those that change them, and nobody else."""

import pytest
from tiny_models import PAIRS, open_directory

from attacks.membership.gradient_norm import gradient_norms
from attacks.probing.mode_connectivity import ModeConnectivity
from attacks.quantization.gguf import GGUF
from attacks.quantization.rtn import RoundToNearest
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from attacks.tampering.family import WeightAttack
from attacks.tampering.graft import Graft
from attacks.tampering.noise import Noise
from attacks.tampering.pruning import Pruning
from auditor.attack import ATTACKS, AttackContext
from auditor.models.language import model as language_model
from auditor.models.preserve import weights_digest

ARMS, SEEDS = 4, 3
MOST = 48
"""Loans of the profile `standard` on four models with three seeds."""
LENDERS = (WeightAttack, RoundToNearest, GGUF, ModeConnectivity)


def train(method):
    def teach(model, context):
        with learner(model, model.encode(PAIRS), FineTuning(method=method, batch_size=8), 0) as it:
            it.advance(1)

    return teach


def measure(attack):
    return attack(attack.parameters_type()).measure


BORROWED = {
    "adapters": (train("lora"), 0),
    "all weights": (train("full"), 0),
    "gradients": (lambda model, context: gradient_norms(model, PAIRS[:1], 2.0), 0),
    "grafts": (measure(Graft), 0),
    "rounding": (measure(RoundToNearest), 1),
    "noise": (measure(Noise), 1),
    "pruning": (measure(Pruning), 1),
}


@pytest.mark.parametrize("attack", BORROWED)
def test_who_borrows_weights(attack, directories, evaluator, monkeypatch, tmp_path):
    """Once a job, and without the embeddings, which a copy would be made of for nothing."""
    act, loans = BORROWED[attack]
    model, donor = (open_directory(directories["llama"]) for _ in range(2))
    digest, lent = weights_digest(model.network), []
    preserve = language_model.preserve_weights

    def counted(network, parameters, stored):
        lent.append({id(parameter) for parameter in parameters})
        return preserve(network, parameters, stored)

    monkeypatch.setattr(language_model, "preserve_weights", counted)
    act(model, AttackContext(evaluator, 0, tmp_path, donor=donor))
    assert len(lent) == loans
    embeddings = id(model.network.get_input_embeddings().weight)
    assert all(embeddings not in parameters for parameters in lent)
    assert weights_digest(model.network) == digest


def test_the_standard_profile_borrows_seldom():
    count = 0
    for attack in map(ATTACKS.get, ATTACKS.names()):
        if issubclass(attack, LENDERS):
            standard = [preset for preset in attack.presets if preset.profile != "exhaustive"]
            count += len(standard) * ARMS * (SEEDS if attack.seeded else 1)
    assert 0 < count <= MOST
