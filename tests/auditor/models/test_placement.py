"""Every tensor of every hashed weight file is used, once; told before any weight is read."""

import json
import shutil

import pytest
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import edit_json, make_model, save
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    LlamaConfig,
    LlamaForSequenceClassification,
    MixtralConfig,
    T5Config,
)
from transformers import AutoModelForSeq2SeqLM as Seq2Seq

from auditor.core.errors import AuditorError
from auditor.core.messages import message
from auditor.models.kind import parse_spec
from auditor.models.opening import check_unopenable, locate, open_model
from auditor.models.spec import PromptFormat

WHOLE = "model.safetensors"


def check(folder, **options):
    spec = parse_spec({"path": str(folder), **options})
    location = locate(spec)
    check_unopenable(spec, location)
    return location


def refused(folder, **options):
    with pytest.raises(AuditorError) as caught:
        check(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rewrite(folder, change, file=WHOLE):
    tensors = change(load_file(folder / file))
    save_file({n: t.clone() for n, t in tensors.items()}, folder / file, {"format": "pt"})


def added(name, tensor=None):
    return lambda tensors: tensors | {name: torch.ones(4, 4) if tensor is None else tensor}


def sharded(folder):
    """Split the model into two shards with an index, and return their names."""
    tensors = load_file(folder / WHOLE)
    (folder / WHOLE).unlink()
    names, where = sorted(tensors), {}
    for part in (1, 2):
        file = f"model-0000{part}-of-00002.safetensors"
        save_file({n: tensors[n] for n in names[part - 1 :: 2]}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(names[part - 1 :: 2], file)
    edit = {"metadata": {}, "weight_map": where}
    (folder / f"{WHOLE}.index.json").write_text(json.dumps(edit))
    return sorted(set(where.values()))


# --- files ----------------------------------------------------------------------------------------


def test_two_checkpoints_in_one_folder_are_refused(llama):
    tensors = load_file(llama / WHOLE)
    sharded(llama)
    save_file(tensors, llama / WHOLE, {"format": "pt"})
    said = refused(llama)
    assert "two checkpoints" in said
    assert "model-00001-of-00002.safetensors" in said


def test_shards_alone_are_one_checkpoint(llama):
    files = sharded(llama)
    assert {*files} <= check(llama).manifest.files.keys()


def test_an_index_may_name_the_one_file(llama):
    where = dict.fromkeys(load_file(llama / WHOLE), WHOLE)
    (llama / f"{WHOLE}.index.json").write_text(json.dumps({"weight_map": where}))
    check(llama)


def test_a_tensor_in_two_shards_is_refused(llama):
    first, second = sharded(llama)
    name, tensor = next(iter(load_file(llama / first).items()))
    rewrite(llama, added(name, tensor + 1), second)
    said = refused(llama)
    assert f"the tensor {name} is in {first} and in {second}" in said


@pytest.mark.parametrize("name", ["model-00003-of-00003.safetensors", "backup.safetensors"])
def test_weights_that_some_libraries_would_load_are_refused(name, llama):
    """vLLM takes every *.safetensors where there is no index."""
    shutil.copy(llama / WHOLE, llama / name)
    assert f"{name} besides {WHOLE}" in refused(llama)


def test_a_shard_that_no_index_names_is_refused(llama):
    sharded(llama)
    save_file({"other": torch.ones(2)}, llama / "model-00003-of-00003.safetensors")
    assert "a shard that no index names" in refused(llama)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.safetensors", "model.pt"])
def test_weights_that_nothing_takes_for_these_are_named(name, llama):
    if name.endswith(".safetensors"):
        save_file({"layers.0.attention.wq.weight": torch.ones(2, 2)}, llama / name)
    else:
        torch.save({"a": torch.ones(2)}, llama / name)
    for options in ({}, {"allow_pickle": True}):
        location = check(llama, **options)
        assert name not in location.manifest.files
        assert name in location.weights_beside


# --- names and shapes -----------------------------------------------------------------------------


def layer_name(number):
    return f"model.layers.{number}.mlp.up_proj.weight"


def prefixed(prefix):
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def without(name):
    return lambda tensors: {n: t for n, t in tensors.items() if n != name}


PLACES = {
    "compiled": (prefixed("_orig_mod."), "`_orig_mod.` (torch.compile)"),
    "parallel": (prefixed("module."), "`module.` (DataParallel or DDP)"),
    "fsdp": (prefixed("_fsdp_wrapped_module."), "`_fsdp_wrapped_module.` (FSDP)"),
    "a layer more": (added(layer_name(2)), "They are of layer 2, and config.json counts 2"),
    "fp8 scales": (added(f"{layer_name(0)}_scale", torch.ones(1)), "scales of quantized weights"),
    "fp8 scales inverted": (
        added(f"{layer_name(0)}_scale_inv", torch.ones(1, 1)),
        "scales of quantized weights",
    ),
    "a reward head": (added("score.weight"), "a head that does not answer in text"),
    "a value head": (added("v_head.summary.weight"), "a head that does not answer in text"),
    "another network": (added("vision.patch.weight"), "vision.patch.weight"),
    "a missing weight": (
        without(layer_name(1)),
        f"lacks weights that its architecture needs ({layer_name(1)}",
    ),
    "another shape": (added("model.norm.weight", torch.ones(3)), "have another shape"),
    "another vocabulary": (added("model.embed_tokens.weight", torch.ones(7, 128)), "another shape"),
    "one place twice": (added("norm.weight", torch.ones(128)), "are for the same place"),
    "whole numbers": (
        added(layer_name(0), torch.ones(256, 128, dtype=torch.int8)),
        "stored as whole numbers",
    ),
}


@pytest.mark.parametrize("fault", PLACES)
def test_tensors_and_places_match_one_to_one(fault, llama):
    change, said = PLACES[fault]
    rewrite(llama, change)
    assert said in refused(llama)


def test_a_configuration_with_fewer_layers_is_refused(llama):
    edit_json(llama / "config.json", num_hidden_layers=1)
    assert "num_hidden_layers" in refused(llama)


def test_a_classifier_is_refused(tmp_path, tokenizer):
    config = LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    save(tmp_path / "m", LlamaForSequenceClassification(config), tokenizer)
    assert "score.weight" in refused(tmp_path / "m")


def small(cls, **more):
    return cls(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, **more,
    )  # fmt: skip


HONEST = {
    "tied": lambda: small(LlamaConfig, tie_word_embeddings=True),
    "experts stored one by one": lambda: small(MixtralConfig, num_local_experts=4),
    "several modalities": lambda: Gemma3Config(
        text_config={
            "vocab_size": 400, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
        },
        mm_tokens_per_image=1,
    ),
    "encoder-decoder": lambda: T5Config(
        vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HONEST)
def test_whole_checkpoints_are_taken(kind, tmp_path, tokenizer):
    config = HONEST[kind]()
    auto = Seq2Seq if config.is_encoder_decoder else AutoModelForCausalLM
    save(tmp_path / "m", auto.from_config(config), tokenizer)
    check(tmp_path / "m")


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "qwen2", "gemma", "opt"])
def test_every_architecture_is_taken(architecture, directories):
    check(directories[architecture])


def test_stored_buffers_of_former_versions_are_taken(llama):
    rewrite(llama, added("model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(16)))
    check(llama)


def test_names_of_the_base_model_alone_are_taken(directories, tmp_path):
    """GPT-2 as it was published: without the prefix of the model with a head."""
    folder = shutil.copytree(directories["gpt2"], tmp_path / "gpt2")
    rewrite(folder, lambda t: {n.removeprefix("transformer."): v for n, v in t.items()})
    check(folder)


def test_more_layers_than_stored_tensors_are_refused_unbuilt(llama):
    edit_json(llama / "config.json", num_hidden_layers=9_999)
    assert "9,999" in refused(llama)


# --- labels of quantized weights ------------------------------------------------------------------

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}


def packed(folder, zeros, **label):
    """Write one layer as GPTQ does, and the label."""

    def change(tensors):
        module = "model.layers.0.mlp.up_proj"
        tensors.pop(f"{module}.weight")
        return tensors | {
            f"{module}.qweight": torch.zeros(16, 256, dtype=torch.int32),
            f"{module}.qzeros": torch.full((4, 32), zeros, dtype=torch.int64).to(torch.int32),
            f"{module}.scales": torch.ones(4, 256, dtype=torch.float16),
            f"{module}.g_idx": torch.arange(128, dtype=torch.int32) // 32,
        }

    rewrite(folder, change)
    edit_json(folder / "config.json", quantization_config=GPTQ | label)


FIRST, SECOND = 0x77777777, 0x88888888 - (1 << 32)


@pytest.mark.parametrize(
    ("zeros", "label", "said"),
    [
        (SECOND, {}, "Set checkpoint_format to gptq_v2"),
        (SECOND, {"checkpoint_format": "gptq"}, "Set checkpoint_format to gptq_v2"),
        (FIRST, {"checkpoint_format": "gptq_v2"}, "Set checkpoint_format to gptq"),
        (FIRST, {"bits": 8}, "says 8 bits"),
        (FIRST, {"group_size": 128}, "in groups of 128"),
    ],
)
def test_labels_that_contradict_the_tensors_are_refused(zeros, label, said, llama):
    pytest.importorskip("gptqmodel")
    packed(llama, zeros, **label)
    assert said in refused(llama)


@pytest.mark.parametrize(
    ("zeros", "label"),
    [(FIRST, {}), (SECOND, {"checkpoint_format": "gptq_v2"}), (SECOND, {"sym": False})],
)
def test_labels_that_fit_are_taken(zeros, label, llama):
    pytest.importorskip("gptqmodel")
    packed(llama, zeros, **label)
    check(llama)


@pytest.mark.parametrize(
    "label",
    [
        GPTQ,
        {"quant_method": "awq", "bits": 4, "group_size": 32},
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"quant_method": "nothing-known"},
        {"quant_method": "torchao", "quant_type": "int4_weight_only"},
    ],
    ids=["gptq", "awq", "bitsandbytes", "unknown", "old torchao"],
)
def test_labels_of_plain_weights_are_refused(label, llama):
    edit_json(llama / "config.json", quantization_config=label)
    assert "quantiz" in refused(llama)


# --- adapters -------------------------------------------------------------------------------------


def adapted(folder, config, seed=0):
    """Save an adapter with random weights."""
    torch.manual_seed(seed)
    model = get_peft_model(make_model("llama"), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    config = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    return adapted(tmp_path_factory.mktemp("lora"), config)


@pytest.fixture
def own(lora, tmp_path):
    """A copy of the adapter that a test may break."""
    return shutil.copytree(lora, tmp_path / "adapter")


ADAPTER = "adapter_model.safetensors"


def test_an_adapter_that_fits_is_taken(llama, lora):
    assert f"adapter/{ADAPTER}" in check(llama, adapter=str(lora)).manifest.files


@pytest.mark.parametrize(
    "config",
    [
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    ],
    ids=["prompt", "prefix"],
)
def test_adapters_that_stay_beside_the_weights_are_refused(config, llama, tmp_path):
    folder = tmp_path / "adapter"
    get_peft_model(make_model("llama"), config).save_pretrained(folder)
    assert "cannot be merged" in refused(llama, adapter=str(folder))


def test_an_adapter_of_another_kind_that_merges_is_taken(llama, tmp_path):
    config = IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"],
        task_type="CAUSAL_LM",
    )  # fmt: skip
    check(llama, adapter=str(adapted(tmp_path / "ia3", config)))


ADAPTERS = {
    "a layer more": (
        lambda t: t | {n.replace("layers.1.", "layers.2."): v for n, v in t.items()},
        "the model has no place for",
    ),
    "compiled": (
        lambda t: {
            n.replace("base_model.model.", "base_model.model._orig_mod."): v for n, v in t.items()
        },
        "the model has no place for",
    ),
    "a layer less": (
        lambda t: {n: v for n, v in t.items() if "layers.1." not in n},
        "it lacks",
    ),
    "another width": (
        lambda t: {n: v[:, :3] if "lora_A" in n else v for n, v in t.items()},
        "and the model's is",
    ),
    "another vocabulary": (
        lambda t: {n: torch.ones(2, 404) if "lora_embedding_A" in n else v for n, v in t.items()},
        "its vocabulary is another one",
    ),
}


@pytest.mark.parametrize("fault", ADAPTERS)
def test_adapters_of_another_model_are_refused(fault, llama, own):
    change, said = ADAPTERS[fault]
    rewrite(own, change, ADAPTER)
    assert said in refused(llama, adapter=str(own))


@pytest.mark.parametrize("kind", ["SUPERLORA", None])
def test_unknown_kinds_of_adapters_are_refused(kind, llama, own):
    edit_json(own / "adapter_config.json", peft_type=kind)
    assert "peft_type" in refused(llama, adapter=str(own))


def test_weights_without_a_description_are_no_adapter(llama, own):
    (own / "adapter_config.json").unlink()
    assert "no adapter_config.json" in refused(llama, adapter=str(own))


PAIRS = [("Person 3 lives in", "city number 21."), ("Person 7", "lives in city number 49.")]


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_merging_equals_the_adapter_beside_tied_embeddings(target, tmp_path, tokenizer):
    """Merging would change embeddings and head; beside the weights the adapter changes one."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_config(small(LlamaConfig, tie_word_embeddings=True))
    folder = save(tmp_path / "base", base, tokenizer)
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", target]))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    wrapped.eval()
    spec = parse_spec({"path": str(folder), "adapter": str(tmp_path / "adapter")})
    location = locate(spec)
    check_unopenable(spec, location)
    subject = open_model(spec, location, PromptFormat())

    def scores(model):
        return torch.tensor([s.mean_log_probability for s in model.score(PAIRS)])

    merged = scores(subject)
    beside = scores(subject.copy_with(network=wrapped.base_model.model))
    torch.testing.assert_close(merged, beside, rtol=0, atol=1e-4)
    with subject.reloaded(tmp_path) as copy:
        torch.testing.assert_close(scores(copy), beside, rtol=0, atol=1e-4)
    spec = parse_spec(str(folder))
    alone = scores(open_model(spec, locate(spec), PromptFormat()))
    assert (alone - beside).abs().max() > 0.001


# --- what is said of it ---------------------------------------------------------------------------


def test_code_that_transformers_has_itself_is_not_needed(llama):
    edit_json(llama / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.OwnLM"})
    assert message("own_code_not_run", type="llama") in check(llama).notes


def test_a_model_without_a_tokenizer_is_told_the_way_out(llama):
    for file in llama.glob("*token*"):
        file.unlink()
    assert "Copy the tokenizer files" in refused(llama)


def test_a_model_of_images_and_text_that_nothing_opens_is_told_in_a_line(llama):
    edit_json(llama / "config.json", model_type="qwen2_vl", architectures=None)
    assert "does not open as AutoModelForCausalLM" in refused(llama)
