"""Weights that lie in the main memory or on disk are read for each pass, and never written."""

import accelerate
import numpy as np
import pytest
import torch
from tiny_models import PAIRS, PROMPTS, open_directory

from attacks.membership.gradient_norm import gradient_norms
from attacks.prompting.soft_prompted import soft_prompted
from attacks.quantization.bnb import BitsAndBytes, BitsAndBytesParameters
from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from attacks.tampering.noise import Noise, NoiseParameters
from attacks.tampering.pruning import Pruning, PruningParameters
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.models.causal_lm.hidden_states import changed, decoder_layers, hidden_states
from auditor.models.devices import gpus_of, input_device
from auditor.models.language import loading

LAYERS = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu"}
ON_DISK = LAYERS | {"model.layers.0": "cpu", "model.layers.1": "disk", "lm_head": "disk"}


@pytest.fixture
def on_disk(directories, monkeypatch):
    """A model whose weights lie partly on disk."""
    monkeypatch.setattr(loading, "places", lambda spec: ON_DISK)
    return open_directory(directories["llama"])


@pytest.fixture
def in_main_memory(directories):
    """A model whose weights all lie in the main memory, beside a device."""
    model = open_directory(directories["llama"])
    accelerate.cpu_offload(model.network, execution_device=torch.device("cpu"))
    assert model.network.get_input_embeddings().weight.is_meta
    return model


@pytest.fixture(params=["on_disk", "in_main_memory"])
def offloaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def plain(directories):
    return open_directory(directories["llama"])


def test_an_offloaded_model_is_asked_as_any_other(offloaded, plain):
    assert any(parameter.is_meta for parameter in offloaded.network.parameters())
    assert input_device(offloaded.network) == torch.device("cpu")
    assert gpus_of(offloaded.network) == []
    for one, other in zip(offloaded.score(PAIRS), plain.score(PAIRS), strict=True):
        np.testing.assert_array_equal(one.log_probability, other.log_probability)
    assert offloaded.generate(PROMPTS, 4) == plain.generate(PROMPTS, 4)


def test_hooks_of_attacks_see_tensors_between_those_that_bring_weights(offloaded, plain):
    """Hidden states are read, streams are changed, and vectors stand in the place of tokens."""
    pairs = [pair for pair in PAIRS if pair[0]]

    def seen(model):
        return hidden_states(model, model.encode(pairs), [1, 2])

    for one, other in zip(seen(offloaded), seen(plain), strict=True):
        for layer in (1, 2):
            np.testing.assert_array_equal(one[layer], other[layer])

    def without(model):
        with changed(decoder_layers(model.network)[0], torch.zeros_like):
            return [scores.log_probability for scores in model.score(PAIRS)]

    def prompted(model):
        vectors = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
        with soft_prompted(model, vectors, "before") as asked:
            return [scores.log_probability for scores in asked.score(pairs)]

    for read in (without, prompted):
        for one, other in zip(read(offloaded), read(plain), strict=True):
            np.testing.assert_array_equal(one, other)


def teach(method):
    def train(model, context):
        with learner(model, model.encode(PAIRS), FineTuning(method=method), 0) as pupil:
            pupil.advance(1)

    return train


WRITING = {
    "rounding": RoundToNearest(RoundToNearestParameters()).measure,
    "noise": Noise(NoiseParameters()).measure,
    "pruning": Pruning(PruningParameters()).measure,
    "adapters": teach("lora"),
    "all weights": teach("full"),
    "gradients": lambda model, context: gradient_norms(model, PAIRS[:1], 2.0),
}


@pytest.mark.parametrize("attack", WRITING)
def test_attacks_that_work_on_the_weights_say_what_to_change(attack, on_disk, evaluator, tmp_path):
    with pytest.raises(
        UnavailableError, match=r"tensors of this model .*offloaded.*`dtype: bfloat16`"
    ):
        WRITING[attack](on_disk, AttackContext(evaluator, 0, tmp_path))
    assert len(on_disk.score(PAIRS)) == len(PAIRS), "and it can be asked afterwards"


def test_a_quantized_copy_is_placed_by_itself(directories, monkeypatch, evaluator, tmp_path):
    """What is offloaded of the model is no matter of the copy's."""
    monkeypatch.setattr(loading, "places", lambda spec: ON_DISK)
    model = open_directory(directories["llama"])
    model.score(PAIRS)
    monkeypatch.undo()
    run = BitsAndBytes(BitsAndBytesParameters(format="int8"))
    found = run.measure(model, AttackContext(evaluator, 0, tmp_path))
    want = run.measure(open_directory(directories["llama"]), AttackContext(evaluator, 0, tmp_path))
    assert found.rows == want.rows
