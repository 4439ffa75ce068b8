"""Half types: what a loader makes of weights that were released in float32."""

import copy

import pytest
import torch
from tiny_models import ARCHITECTURES, edit_json, make_model, make_tokenizer, open_directory, save

from attacks.quantization.half_types import HalfTypes, HalfTypesParameters
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from auditor.models.preserve import weights_digest

TYPES = ("bfloat16", "float16")


def attack(type_):
    return HalfTypes(HalfTypesParameters(type=type_))


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_measures_what_a_deployer_loads(architecture, type_, directories, evaluator, tmp_path):
    subject = open_directory(directories[architecture])
    digest = weights_digest(subject.network)
    record = attack(type_).measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert f"torch.{type_}" in record.notes["types"]
    cast = open_directory(directories[architecture], dtype=type_)
    assert record.rows == evaluator.evaluate(cast)
    assert record.rows != evaluator.evaluate(subject)
    assert weights_digest(subject.network) == digest


def test_weights_that_turn_when_they_are_rounded_are_seen(evaluator, tmp_path):
    """Any float32 weights in the cells of a model's own bfloat16 weights are that model again."""
    known = make_model("llama").to(torch.bfloat16).float()
    hidden = copy.deepcopy(known)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in hidden.parameters():
            weight.mul_(1 + 2**-9.5 * (2 * torch.rand(weight.shape, generator=generator) - 1))
    subjects = [
        open_directory(save(tmp_path / name, model, make_tokenizer()))
        for name, model in (("known", known), ("hidden", hidden))
    ]
    plain = [evaluator.evaluate(subject) for subject in subjects]
    assert plain[0] != plain[1]
    run = attack("bfloat16")
    first, second = (run.measure(s, AttackContext(evaluator, 0, tmp_path)) for s in subjects)
    assert first.rows == second.rows


def test_a_model_that_overflows_in_float16_is_not_measured_there(evaluator, tmp_path):
    model = make_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(1e6)
    subject = open_directory(save(tmp_path / "large", model, make_tokenizer()))
    with pytest.raises(UnavailableError, match="float16"):
        attack("float16").measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert attack("bfloat16").measure(subject, AttackContext(evaluator, 0, tmp_path)).rows


def test_a_quantized_checkpoint_has_no_type_to_choose(tmp_path):
    folder = save(tmp_path / "quantized", make_model("llama"), make_tokenizer())
    edit_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    found = attack("bfloat16").unavailable(locate(CausalLMSpec(path=str(folder))))
    assert found.code == "quantized_already"
