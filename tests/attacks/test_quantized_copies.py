"""A quantized copy takes the place of the model's own weights, and leaves nothing behind."""

import gc
import weakref

import pytest
from tiny_models import make_model, make_tokenizer, open_directory, save

from attacks.quantization.awq import AWQ, AWQParameters
from attacks.quantization.bnb import BitsAndBytes, BitsAndBytesParameters
from attacks.quantization.gptq import GPTQ, GPTQParameters
from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters
from attacks.quantization.torchao_formats import TorchAO, TorchAOParameters
from auditor.attack import AttackContext
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language.model import LanguageModel
from auditor.models.preserve import weights_digest

SMALL = {"group_size": 32, "calibration_samples": 8}
COPIES = {
    "bnb int8": lambda: BitsAndBytes(BitsAndBytesParameters(format="int8")),
    "bnb nf4": lambda: BitsAndBytes(BitsAndBytesParameters(format="nf4")),
    "torchao": lambda: TorchAO(TorchAOParameters(format="int8")),
    "gptq": lambda: GPTQ(GPTQParameters(**SMALL)),
    "awq": lambda: AWQ(AWQParameters(**SMALL)),
}


@pytest.mark.parametrize(
    "name",
    [
        "bnb nf4",
        "torchao",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("bnb int8", "gptq", "awq")),
    ],
)
def test_a_copy_stands_alone_and_leaves_nothing_alive(name, evaluator, tmp_path, monkeypatch):
    """When it is closed none of its modules is alive, or their memory could not be given back."""
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    digest = weights_digest(subject.network)
    base = weakref.WeakSet(subject.network.modules())
    beside, alive, modules = [], [], weakref.WeakSet()
    load, close, evaluate = CausalLM._from_directory, LanguageModel.close, type(evaluator).evaluate

    def loading(self, *given, **options):
        gc.collect()
        beside.append(len(base))
        return load(self, *given, **options)

    def closing(self):
        copy = self is not subject
        close(self)
        if copy:
            alive.append(len(modules))

    def asking(self, model, *given, **options):
        modules.update(model.network.modules())
        return evaluate(self, model, *given, **options)

    monkeypatch.setattr(CausalLM, "_from_directory", loading)
    monkeypatch.setattr(LanguageModel, "close", closing)
    monkeypatch.setattr(type(evaluator), "evaluate", asking)
    COPIES[name]().measure(subject, AttackContext(evaluator, 0, tmp_path / "scratch"))
    copies = 2 if name == "gptq" else 1  # one that is made and written, and one that is opened
    assert beside == [0] * copies, "modules of the base beside it"
    assert alive == [0] * copies, "modules of the copy after it"
    assert weights_digest(subject.network) == digest


def test_rounding_in_place_holds_the_codes_of_one_layer_at_a_time(tmp_path, monkeypatch):
    """Of every layer only the sample is kept."""
    subject = open_directory(save(tmp_path / "m", make_model("llama"), make_tokenizer()))
    run = RoundToNearest(RoundToNearestParameters(bits=4, code_sample=16))
    held, most = weakref.WeakSet(), []
    rounded = RoundToNearest._rounded

    def watched(self, network):
        for name, codes in rounded(self, network):
            held.add(codes)
            most.append(len(held))
            yield name, codes

    monkeypatch.setattr(RoundToNearest, "_rounded", watched)
    with run.quantized(subject, tmp_path) as state:
        assert {len(c) for key, c in state.codes.items() if key.startswith("codes/")} == {16}
    assert len(most) == 14
    assert max(most) <= 2, "one that is read, and one that is made"


def test_a_form_has_the_shapes_of_the_network_and_takes_no_memory(tmp_path):
    subject = open_directory(save(tmp_path / "m", make_model("gpt2"), make_tokenizer()))
    form = subject.form
    assert subject._network is None
    assert all(parameter.is_meta for parameter in form.parameters())
    assert {n: p.shape for n, p in form.named_parameters()} == {
        n: p.shape for n, p in subject.network.named_parameters()
    }
    assert subject.form is subject.network
