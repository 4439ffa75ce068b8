"""Published erasures of flows: a transformer, some of its tensors, a T5, a LoRA."""

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tiny_pipelines import FLOWS, PROMPTS, make_pipeline, make_t5, make_transformer, open_pipeline

from auditor.core.errors import AuditorError
from auditor.models.opening import check_unopenable

LAYER = {f"transformer_blocks.0.attn.to_q.{name}" for name in ("weight", "bias")}


def replaced(folder, replacement):
    subject = open_pipeline(folder, replacement=str(replacement))
    check_unopenable(subject.spec, subject.location)
    return subject


def differing(before, after):
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize("layout", FLOWS)
def test_a_transformer_and_some_tensors_of_one(layout, folders, tmp_path):
    other = make_transformer(layout, seed=9)
    other.save_pretrained(tmp_path / "erased")
    whole = replaced(folders[layout], tmp_path / "erased")
    assert differing(other.state_dict(), whole.denoiser.state_dict()) == set()
    trained = {name: other.state_dict()[name] for name in LAYER}
    save_file(trained, tmp_path / "erased.safetensors")
    some = replaced(folders[layout], tmp_path / "erased.safetensors")
    before = make_transformer(layout).state_dict()
    assert differing(before, some.denoiser.state_dict()) == LAYER


@pytest.mark.parametrize(("layout", "number"), [("sd3", 2), ("flux", 1)])
def test_a_t5_takes_the_place_of_the_pipelines(layout, number, folders, tmp_path):
    other = make_t5(seed=9)
    other.save_pretrained(tmp_path / "t5")
    subject = replaced(folders[layout], tmp_path / "t5")
    found = subject.parts.text_encoders[number].state_dict()
    assert differing(other.state_dict(), found) == set()
    plain = open_pipeline(folders[layout])
    assert not torch.equal(subject.encode(PROMPTS), plain.encode(PROMPTS))


@pytest.mark.parametrize("layout", FLOWS)
def test_a_lora_as_diffusers_writes_it_is_merged(layout, folders, tmp_path):
    pipeline = make_pipeline(layout)
    before = {name: tensor.clone() for name, tensor in pipeline.transformer.state_dict().items()}
    layers = ["attn.to_q", "attn.add_k_proj"]
    config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=layers)
    pipeline.transformer.add_adapter(config)
    type(pipeline).save_lora_weights(
        tmp_path, transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer)
    )
    pipeline.transformer.fuse_lora()
    pipeline.transformer.unload_lora()
    wanted = pipeline.transformer.state_dict()
    found = replaced(folders[layout], tmp_path).denoiser.state_dict()
    assert differing(before, wanted)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


def test_tensors_of_another_layout_are_refused(folders, tmp_path):
    make_transformer("flux", seed=9).save_pretrained(tmp_path / "flux")
    with pytest.raises(AuditorError, match="does not fit the pipeline's transformer"):
        replaced(folders["sd3"], tmp_path / "flux")
