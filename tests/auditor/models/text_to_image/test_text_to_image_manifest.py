"""Which files make a pipeline: what is loaded is hashed, what is hashed is loaded."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_pipelines import (
    FLOWS,
    LAYOUTS,
    PROMPTS,
    edit_json,
    make_pipeline,
    make_unet,
    make_vae,
    open_pipeline,
    sampling,
    spec,
)

from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.models.kind import parse_spec
from auditor.models.opening import check_unopenable, locate, open_model
from auditor.models.spec import PromptFormat
from auditor.models.text_to_image.model import TextToImage

UNET = "unet/diffusion_pytorch_model.safetensors"
SD1_FILES = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    UNET,
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
}


def files(folder, **more):
    return locate(spec(folder, **more)).manifest.files


def refusal(folder, **more):
    found = spec(folder, **more)
    with pytest.raises(AuditorError) as raised:
        check_unopenable(found, locate(found))
    return str(raised.value)


def test_digests_are_the_sha256_of_the_files(sd1):
    found = files(sd1)
    assert found.keys() == SD1_FILES
    for name, digest in found.items():
        assert digest == hashlib.sha256((sd1 / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", sorted(SD1_FILES))
def test_one_changed_byte_of_any_loaded_file_changes_the_identity(name, sd1):
    before = locate(spec(sd1)).manifest
    content = (sd1 / name).read_bytes()
    if name.endswith(".json"):
        (sd1 / name).write_bytes(content + b" ")
    else:
        (sd1 / name).write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    after = locate(spec(sd1)).manifest
    assert after.digest != before.digest
    assert {n for n in SD1_FILES if before.files[n] != after.files[n]} == {name}
    assert (after.weights_digest != before.weights_digest) == name.endswith(".safetensors")


def test_files_that_are_not_loaded_are_not_the_model(sd1):
    before = files(sd1)
    (sd1 / "README.md").write_text("hello")
    (sd1 / "unet" / "README.md").write_text("hello")
    (sd1 / "v1-5-pruned.safetensors").write_bytes(b"another layout of the same weights")
    (sd1 / "safety_checker").mkdir()
    (sd1 / "safety_checker" / "config.json").write_text("{}")
    assert files(sd1) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipeline_with_its_hashed_files_alone_is_the_same(layout, folders, subjects, tmp_path):
    for name in subjects[layout].manifest.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(folders[layout] / name, tmp_path / name)
    alone = open_pipeline(tmp_path)
    assert alone.manifest.digest == subjects[layout].manifest.digest
    assert torch.equal(
        alone.generate(PROMPTS, [1] * 4), subjects[layout].generate(PROMPTS, [1] * 4)
    )


def test_the_replacement_is_part_of_the_identity(sd1, tmp_path):
    torch.save(make_unet(seed=9).state_dict(), tmp_path / "erased.pt")
    replacement = str(tmp_path / "erased.pt")
    before, after = files(sd1), files(sd1, replacement=replacement)
    assert after.keys() - before.keys() == {"replacement/erased.pt"}
    weights = locate(spec(sd1, replacement=replacement)).manifest.weights_digest
    assert weights != locate(spec(sd1)).manifest.weights_digest


def test_a_safety_checker_is_set_aside_and_said(sd1, subjects):
    edit_json(
        sd1 / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
    )
    subject = open_pipeline(sd1)
    assert message("component_set_aside", component="safety_checker") in subject.location.notes
    assert not any("safety_checker" in name for name in subject.manifest.files)
    assert subjects["sd1"].location.notes == ()


def variant(file, name):
    """Another set of weights beside the plain ones, all ones."""
    stem, _, ending = file.name.partition(".")
    ones = {n: torch.ones_like(t) for n, t in load_file(file).items()}
    save_file(ones, file.with_name(f"{stem}.{name}.{ending}"), metadata={"format": "pt"})


def test_plain_weights_are_taken_before_variants(sd1, subjects):
    for name in ("fp16", "non_ema"):
        variant(sd1 / UNET, name)
    subject = open_pipeline(sd1)
    assert subject.manifest.files.keys() == SD1_FILES
    left = message("plain_weights_taken", component="unet", variants=["fp16", "non_ema"])
    assert subject.location.notes == (left,)
    assert torch.equal(subject.denoiser.conv_in.weight, subjects["sd1"].denoiser.conv_in.weight)


def test_a_variant_alone_is_taken_and_said(sd1, tmp_path):
    variant(sd1 / UNET, "fp16")
    (sd1 / UNET).unlink()
    subject = open_pipeline(sd1)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in subject.manifest.files
    taken = message("variant_taken", component="unet", variant="fp16")
    assert subject.location.notes == (taken,)
    assert subject.denoiser.conv_in.weight.eq(1).all()
    written = subject.directory(tmp_path / "scratch")  # under the plain name, for other loaders
    assert open_pipeline(written).denoiser.conv_in.weight.eq(1).all()


def test_variants_without_plain_weights_are_not_chosen_between(sd1):
    for name in ("fp16", "non_ema"):
        variant(sd1 / UNET, name)
    (sd1 / UNET).unlink()
    assert "fp16 and as non_ema" in refusal(sd1)


def sharded(sd1):
    make_pipeline("sd1").unet.save_pretrained(sd1 / "unet", max_shard_size="100KB")
    (sd1 / UNET).unlink(missing_ok=True)
    return sorted((sd1 / "unet").glob("*-of-*.safetensors"))


def test_shards_are_hashed_and_loaded(sd1, subjects):
    shards = sharded(sd1)
    assert len(shards) > 1
    subject = open_pipeline(sd1)
    named = {f"unet/{file.name}" for file in shards}
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    assert subject.manifest.files.keys() == SD1_FILES - {UNET} | named | {index}
    after, before = subject.denoiser.state_dict(), subjects["sd1"].denoiser.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_each_fault_of_shards_has_its_message(sd1):
    plain = (sd1 / UNET).read_bytes()
    shards = sharded(sd1)
    index = sd1 / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    (sd1 / UNET).write_bytes(plain)
    assert "the same weights twice" in refusal(sd1)
    (sd1 / UNET).unlink()
    content = shards[0].read_bytes()
    shards[0].write_bytes(content[:-10])
    assert f"{shards[0].name} is not a whole safetensors file" in refusal(sd1)
    shards[0].unlink()
    assert f"shards that are not there: {shards[0].name}" in refusal(sd1)
    weight_map = json.loads(index.read_text())["weight_map"]
    edit_json(index, weight_map=dict.fromkeys(weight_map, "../elsewhere.safetensors"))
    assert "is no file beside it" in refusal(sd1)
    index.unlink()
    assert "no index that says what is in them" in refusal(sd1)


def test_pickled_weights_are_refused_unless_allowed(sd1):
    tensors = load_file(sd1 / UNET)
    torch.save(tensors, sd1 / "unet" / "diffusion_pytorch_model.bin")
    assert files(sd1).keys() == SD1_FILES  # safetensors are there, so the pickle is not read
    (sd1 / UNET).unlink()
    assert "only pickled weights (diffusion_pytorch_model.bin)" in refusal(sd1)
    subject = open_pipeline(sd1, allow_pickle=True)
    assert "unet/diffusion_pytorch_model.bin" in subject.manifest.files
    assert torch.equal(subject.denoiser.conv_in.weight, tensors["conv_in.weight"])


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component_is_named(part, sd1):
    shutil.rmtree(sd1 / part)
    assert f"the component {part} is missing" in refusal(sd1)


@pytest.mark.parametrize("name", sorted(SD1_FILES - {"tokenizer/tokenizer_config.json"}))
def test_a_missing_file_is_named(name, sd1):
    (sd1 / name).unlink()
    message = refusal(sd1)
    assert str((sd1 / name).parent) in message
    assert (sd1 / name).name in message


@pytest.mark.parametrize("name", sorted(n for n in SD1_FILES if n.endswith(".safetensors")))
def test_a_truncated_file_is_named(name, sd1):
    content = (sd1 / name).read_bytes()
    (sd1 / name).write_bytes(content[: len(content) // 2])
    assert f"{name} is not a whole safetensors file" in refusal(sd1)


@pytest.mark.parametrize("name", sorted(n for n in SD1_FILES if n.endswith(".json")))
def test_a_broken_configuration_is_refused_before_any_attack(name, sd1):
    (sd1 / name).write_text("{ this is no JSON")
    assert str((sd1 / name).parent) in refusal(sd1)


def index_fault(**changes):
    return lambda folder: edit_json(folder / "model_index.json", **changes)


def config_fault(part, **changes):
    return lambda folder: edit_json(folder / part / "config.json", **changes)


FAULTS = {
    "code of its own": (index_fault(_class_name=["pipeline", "Mine"]), "Python code"),
    "a component's own code": (index_fault(unet=["my_unet", "MyUNet"]), "Python code that does"),
    "remote code": (config_fault("unet", auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "quantized": (config_fault("unet", quantization_config={"load_in_8bit": True}), "quantized"),
    "other weights": (
        config_fault("text_encoder", transformers_weights="../../elsewhere.safetensors"),
        "points to other weights",
    ),
    "a transformer": (index_fault(transformer=["diffusers", "SD3"]), "transformer is a SD3"),
    "two denoisers": (
        index_fault(transformer=["diffusers", "FluxTransformer2DModel"]),
        "both a UNet and a transformer",
    ),
    "another encoder": (
        index_fault(text_encoder=["transformers", "T5EncoderModel"]),
        "text_encoder is a T5EncoderModel",
    ),
    "another UNet": (index_fault(unet=["diffusers", "UNet3DConditionModel"]), "UNet3DCondition"),
    "no UNet": (index_fault(unet=None), "names no unet"),
    "half of SDXL": (index_fault(tokenizer_2=["transformers", "CLIPTokenizer"]), "only one of"),
    "no tokenizer": (index_fault(tokenizer=["transformers", "CLIPModel"]), "no CLIPModel"),
    "no scheduler": (index_fault(scheduler=["diffusers", "UNet2DModel"]), "no UNet2DModel"),
    "inpainting": (config_fault("unet", in_channels=9), "takes 9 channels"),
    "other text": (config_fault("unet", cross_attention_dim=24), "of 24 numbers"),
    "classes": (config_fault("unet", num_class_embeds=3), "num_class_embeds"),
    "distilled": (config_fault("unet", time_cond_proj_dim=8), "time_cond_proj_dim"),
    "an unknown block": (config_fault("unet", down_block_types=["X", "Y"]), "does not load"),
    "a broken encoder": (config_fault("text_encoder", num_attention_heads=3), "does not load"),
    "flow": (
        lambda folder: edit_json(
            folder / "scheduler" / "scheduler_config.json", prediction_type="flow_prediction"
        ),
        "flow_prediction",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_message(fault, sd1):
    spoil, said = FAULTS[fault]
    spoil(sd1)
    assert said in refusal(sd1)


def test_a_learned_variance_in_pixels_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["pixel"], tmp_path / "pixel")
    edit_json(folder / "unet" / "config.json", out_channels=6)
    assert "gives 6, but images have 3" in refusal(folder)


def test_added_conditioning_needs_two_encoders(folders, tmp_path):
    folder = shutil.copytree(folders["sdxl"], tmp_path / "sdxl")
    edit_json(folder / "unet" / "config.json", addition_embed_type=None)
    assert "added conditioning is None, with 2 text encoder(s)" in refusal(folder)


def test_added_conditioning_must_have_room_for_the_pooled_text(folders, tmp_path):
    folder = shutil.copytree(folders["sdxl"], tmp_path / "sdxl")
    edit_json(folder / "unet" / "config.json", projection_class_embeddings_input_dim=40)
    assert "takes 40 numbers" in refusal(folder)


OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def test_the_older_names_of_the_autoencoders_attention_are_read(sd1, subjects):
    """As Stable Diffusion 1 is published to this day."""
    file = sd1 / "vae" / "diffusion_pytorch_model.safetensors"
    renamed = {}
    for name, tensor in load_file(file).items():
        for new, old in OLDER.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        renamed[name] = tensor
    assert any("proj_attn" in name for name in renamed)
    save_file(renamed, file, metadata={"format": "pt"})
    after, before = (
        open_pipeline(sd1).parts.vae.state_dict(),
        subjects["sd1"].parts.vae.state_dict(),
    )
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_older_names_of_the_text_encoder_are_read(sd1, subjects):
    file = sd1 / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{n.removeprefix('text_model.')}": t for n, t in load_file(file).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(tensors, file, metadata={"format": "pt"})
    assert torch.equal(open_pipeline(sd1).encode(PROMPTS), subjects["sd1"].encode(PROMPTS))


def test_the_older_files_of_a_tokenizer_are_read(sd1, subjects):
    model = json.loads((sd1 / "tokenizer" / "tokenizer.json").read_text())["model"]
    (sd1 / "tokenizer" / "tokenizer.json").unlink()
    (sd1 / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"]))
    assert "neither tokenizer.json nor vocab.json with merges.txt" in refusal(sd1)
    (sd1 / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    subject = open_pipeline(sd1)
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt"} <= subject.manifest.files.keys()
    assert torch.equal(subject.encode(PROMPTS), subjects["sd1"].encode(PROMPTS))


def test_a_pipeline_of_the_hub_is_found_in_its_cache(sd1, tmp_path, monkeypatch):
    cached = tmp_path / "cache" / "models--someone--tiny"
    shutil.copytree(sd1, cached / "snapshots" / "abc123")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert files("someone/tiny") == files(sd1)


def loading_fault(folder):
    with pytest.raises(AuditorError) as raised:
        assert open_pipeline(folder).network
    return str(raised.value)


def test_weights_that_do_not_fit_their_configuration_are_named(sd1):
    tensors = load_file(sd1 / UNET)
    save_file({n: t for n, t in tensors.items() if n != "conv_in.bias"}, sd1 / UNET)
    assert "lacks weights that its architecture needs (conv_in.bias)" in loading_fault(sd1)
    save_file(tensors | {"conv_in.bias": torch.ones(3)}, sd1 / UNET)
    assert "another shape than config.json says (conv_in.bias)" in loading_fault(sd1)
    save_file(tensors | {"foreign.weight": torch.ones(3)}, sd1 / UNET)
    assert "has no place for (foreign.weight)" in loading_fault(sd1)


def test_an_adapter_beside_a_component_is_refused(sd1):
    (sd1 / "text_encoder" / "adapter_config.json").write_text("{}")
    assert "give it as `replacement`" in refusal(sd1)


def test_files_that_come_later_are_noticed(sd1):
    subject = open_pipeline(sd1)
    (sd1 / "tokenizer" / "added_tokens.json").write_text("{}")
    with pytest.raises(AuditorError, match=r"changed since it was hashed: tokenizer/added_tokens"):
        subject.encode(["a"])


def test_what_is_no_pipeline_is_refused(sd1, tmp_path):
    assert "has no model_index.json" in refusal(sd1 / "unet")
    assert "is a file" in refusal(sd1 / UNET)
    assert "no such directory" in refusal(tmp_path / "nowhere")
    assert "nor can it be had from the hub" in refusal("nobody/nothing-that-exists")


def test_settings_that_cannot_be_drawn_with_are_refused_early(sd1):
    assert "1001 steps are more than the 1000" in refusal(sd1, sampling={"steps": 1001})
    assert "width of an image must be a multiple of 2" in refusal(sd1, sampling={"width": 9})
    edit_json(sd1 / "unet" / "config.json", sample_size=None)
    assert "names no sample_size" in refusal(sd1, sampling={"width": 8})
    sized = open_pipeline(sd1, sampling={"width": 8, "height": 16, "steps": 1})
    assert sized.generate(["a"], [0]).shape == (1, 3, 16, 8)
    assert "is no device" in refusal(sd1, device_map="quantum")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"kind": "causal-lm", "replacement": "u.pt"},
            "replacement\n.*is for models of the kind text-to-image",
        ),
        (
            {"kind": "causal-lm", "sampling": {"steps": 3}},
            "sampling\n.*is for models of the kind text-to-image",
        ),
        ({"replacement": "u.pt"}, "replacement\n.*is for models of the kind text-to-image"),
        ({"kind": "text-to-image", "adapter": "lora"}, "give the LoRA"),
        ({"kind": "text-to-image", "trust_remote_code": True}, "never run"),
        ({"kind": "text-to-image", "device_map": "auto"}, "stays on one device"),
        ({"kind": "text-to-image", "sampling": {"steps": 0}}, "greater than or equal to 1"),
        ({"kind": "text-to-image", "sampling": {"guidance": 0.5}}, "greater than or equal to 1"),
        ({"kind": "text-to-image", "sampling": {"seed": 1}}, "seed"),
    ],
)
def test_fields_of_another_kind_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        parse_spec({"path": "x", **fields})


def test_a_subject_is_opened_by_its_kind(sd1):
    assert parse_spec(str(sd1)).kind == "text-to-image"
    found = spec(sd1)
    location = locate(found)
    subject = open_model(found, location, PromptFormat(), 77)
    assert isinstance(subject, TextToImage)
    assert subject.token_budget == 77
    with pytest.raises(AuditorError, match="gets its prompts as they are"):
        check_unopenable(found, location, PromptFormat(template="a photo of {prompt}"))


def test_weights_keep_their_stored_type_unless_told_otherwise(sd1):
    half = {n: t.to(torch.bfloat16) for n, t in load_file(sd1 / UNET).items()}
    save_file(half, sd1 / UNET, metadata={"format": "pt"})
    subject = open_pipeline(sd1)
    assert subject.denoiser.dtype == torch.bfloat16
    assert subject.text_encoder.dtype == torch.float32
    assert subject.generate(PROMPTS, [1] * 4).dtype == torch.float32
    assert open_pipeline(sd1, dtype="float32").denoiser.dtype == torch.float32


def test_an_autoencoder_that_asks_for_it_stays_in_float32(sd1):
    assert open_pipeline(sd1, dtype="bfloat16").parts.vae.dtype == torch.float32
    make_vae().save_pretrained(sd1 / "vae")
    edit_json(sd1 / "vae" / "config.json", force_upcast=False)
    subject = open_pipeline(sd1, dtype="bfloat16")
    assert subject.parts.vae.dtype == torch.bfloat16
    assert torch.isfinite(subject.generate(PROMPTS[:1], [1])).all()


@pytest.fixture
def flow(folders, tmp_path):
    """Copies a folder of a flow that a test may break."""
    return lambda layout: shutil.copytree(folders[layout], tmp_path / layout)


FLOW_FAULTS = {
    "no T5": ("sd3", index_fault(text_encoder_3=None, tokenizer_3=None), "+ T5EncoderModel, not"),
    "half a T5": ("sd3", index_fault(tokenizer_3=None), "only one of text_encoder_3"),
    "no autoencoder": ("flux", index_fault(vae=None), "names no vae"),
    "another schedule": (
        "flux",
        index_fault(scheduler=["diffusers", "DDIMScheduler"]),
        "not the schedule of a flow",
    ),
    "noise on the way": (
        "sd3",
        lambda folder: edit_json(
            folder / "scheduler" / "scheduler_config.json", stochastic_sampling=True
        ),
        "without `stochastic_sampling`",
    ),
    "inpainting": ("sd3", config_fault("transformer", in_channels=9), "takes 9 channels"),
    "control": ("flux", config_fault("transformer", in_channels=32), "but latents have 16"),
    "other T5": ("flux", config_fault("transformer", joint_attention_dim=24), "T5 gives 40"),
    "other CLIP": ("flux", config_fault("transformer", pooled_projection_dim=8), "CLIP gives 16"),
}


@pytest.mark.parametrize("fault", FLOW_FAULTS)
def test_each_fault_of_a_flow_has_its_message(fault, flow):
    layout, spoil, said = FLOW_FAULTS[fault]
    folder = flow(layout)
    spoil(folder)
    assert said in refusal(folder)


@pytest.mark.parametrize("layout", FLOWS)
def test_pictures_of_a_flow_have_whole_patches(layout, folders):
    drawing = sampling(folders[layout]) | {"height": 18, "width": 16}
    assert "height of an image must be a multiple of 4" in refusal(
        folders[layout], sampling=drawing
    )
