"""Which files make a model: hashed, whole, and safe to load."""

import hashlib
import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import PAIRS, edit_json, make_model, make_tokenizer, open_directory, save
from transformers import T5Config, T5ForConditionalGeneration

from auditor.core.errors import AuditorError
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate


def manifest(directory, **spec):
    return locate(CausalLMSpec(path=str(directory), **spec)).manifest


def test_digests_are_the_sha256_of_the_files(llama):
    files = manifest(llama).files
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= files.keys()
    for name, digest in files.items():
        assert digest == hashlib.sha256((llama / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_changed_byte_changes_the_identity(name, llama):
    before = manifest(llama)
    content = bytearray((llama / name).read_bytes())
    place = len(content) - 3
    content[place] ^= 1
    (llama / name).write_bytes(content)
    after = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in llama.iterdir()}
        if name == "config.json"  # broken JSON is refused, see below
        else manifest(llama).files
    )
    assert after[name] != before.files[name]
    assert {n: d for n, d in after.items() if n != name}.items() >= {
        n: d for n, d in before.files.items() if n != name
    }.items()


def test_where_a_model_lies_is_not_part_of_its_identity(llama, tmp_path):
    before = manifest(llama)
    shutil.move(llama, tmp_path / "elsewhere")
    assert manifest(tmp_path / "elsewhere").digest == before.digest


def test_training_leftovers_are_not_the_model(llama):
    before = manifest(llama).digest
    torch.save({}, llama / "optimizer.pt")
    torch.save({}, llama / "training_args.bin")
    (llama / "README.md").write_text("hello")
    assert manifest(llama).digest == before


def test_pickled_weights_are_refused_unless_asked_for(llama, subjects):
    weights = load_file(llama / "model.safetensors")
    torch.save(weights, llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()
    with pytest.raises(AuditorError, match=r"(?s)pickle can run any.*Convert.*--allow-pickle"):
        manifest(llama)
    assert "pytorch_model.bin" in manifest(llama, allow_pickle=True).files
    scores = open_directory(llama, allow_pickle=True).score(PAIRS)
    for one, other in zip(scores, subjects["llama"].score(PAIRS), strict=True):
        assert (one.log_probability == other.log_probability).all()


def test_pickled_weights_beside_safetensors_are_neither_loaded_nor_counted(llama):
    before = manifest(llama).digest
    (llama / "pytorch_model.bin").write_bytes(b"never read")
    assert manifest(llama).digest == before
    assert len(open_directory(llama).score(PAIRS[:1])) == 1


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(file, llama):
    edit_json(llama / "config.json", model_type="evil")
    edit_json(llama / file, auto_map={"AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(AuditorError, match=r"(?s)auto_map.*--trust-remote-code"):
        manifest(llama)
    manifest(llama, trust_remote_code=True)


def test_a_truncated_file_is_refused(llama):
    content = (llama / "model.safetensors").read_bytes()
    for size in (0, 5, 200, len(content) - 1):
        (llama / "model.safetensors").write_bytes(content[:size])
        with pytest.raises(AuditorError, match="not a whole safetensors file"):
            manifest(llama)


def test_a_git_lfs_pointer_is_refused(llama):
    (llama / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
    )
    with pytest.raises(AuditorError, match="git lfs pull"):
        manifest(llama)


def test_a_missing_shard_is_named(tmp_path, subjects):
    directory = save(tmp_path / "m", make_model("llama"), make_tokenizer(), max_shard_size="300KB")
    shards = sorted(directory.glob("*.safetensors"))
    assert len(shards) > 2
    scores = open_directory(directory).score(PAIRS)
    assert (scores[0].log_probability == subjects["llama"].score(PAIRS)[0].log_probability).all()
    assert {p.name for p in shards} < manifest(directory).files.keys()
    shards[1].unlink()
    with pytest.raises(AuditorError, match=shards[1].name):
        manifest(directory)


def test_paths_that_are_no_model_are_told_apart(tmp_path, llama):
    with pytest.raises(AuditorError, match="no such directory"):
        manifest(tmp_path / "nowhere")
    with pytest.raises(AuditorError, match="is a file; give the directory"):
        manifest(llama / "config.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AuditorError, match="holds no weights"):
        manifest(tmp_path / "empty")
    with pytest.raises(AuditorError, match="neither a local directory nor"):
        manifest("nobody/no-such-model-here")


def test_broken_json_is_named(llama):
    (llama / "config.json").write_text("{")
    with pytest.raises(AuditorError, match=r"config\.json is not valid JSON"):
        manifest(llama)
    (llama / "config.json").write_text("[]")
    with pytest.raises(AuditorError, match="expected a JSON object"):
        manifest(llama)


def test_no_configuration_is_named(llama):
    (llama / "config.json").unlink()
    with pytest.raises(AuditorError, match=r"config\.json"):
        open_directory(llama).score(PAIRS)


def test_no_tokenizer_is_named(llama):
    for file in llama.glob("*token*"):
        file.unlink()
    with pytest.raises(AuditorError, match="no tokenizer that loads"):
        open_directory(llama).score(PAIRS)


def test_an_encoder_decoder_is_refused(tmp_path):
    config = T5Config(
        vocab_size=400, d_model=32, d_ff=32, d_kv=8, num_layers=1, num_heads=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    directory = save(tmp_path / "t5", T5ForConditionalGeneration(config), make_tokenizer())
    with pytest.raises(AuditorError, match=r"encoder-decoder \(t5\)"):
        open_directory(directory).score(PAIRS)


def test_weights_that_are_not_there_would_be_random_numbers(llama):
    weights = load_file(llama / "model.safetensors")
    weights.pop("model.layers.1.mlp.down_proj.weight")
    save_file(weights, llama / "model.safetensors", {"format": "pt"})
    with pytest.raises(AuditorError, match=r"layers\.1\.mlp\.down_proj"):
        open_directory(llama).score(PAIRS)


def test_weights_of_another_shape_are_refused(llama):
    weights = load_file(llama / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name] = weights[name][:, :100].contiguous()
    save_file(weights, llama / "model.safetensors", {"format": "pt"})
    with pytest.raises(AuditorError, match="does not load"):
        open_directory(llama).score(PAIRS)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter with random weights on every kind of layer."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(5)
    settings = LoraConfig(
        r=4, lora_alpha=32, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    get_peft_model(make_model("llama"), settings).save_pretrained(folder)
    return folder


def test_an_adapter_changes_scores_and_stands_in_the_manifest(adapter, llama, subjects):
    subject = open_directory(llama, adapter=str(adapter))
    wrapped = get_peft_model(make_model("llama"), LoraConfig.from_pretrained(adapter))
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(wrapped, load_file(adapter / "adapter_model.safetensors"))
    wrapped.eval()
    plain = subjects["llama"].score(PAIRS)
    for (prompt, answer), score, other in zip(PAIRS, subject.score(PAIRS), plain, strict=True):
        assert abs(score.mean_log_probability - other.mean_log_probability) > 1e-2
        if prompt:
            ids = subject.tokenizer(f"{prompt} {answer}")["input_ids"]
            logits = wrapped(torch.tensor([ids])).logits[0].log_softmax(-1)
            assert float(logits[-2, ids[-1]]) == pytest.approx(score.log_probability[-1], abs=1e-4)
    files = subject.manifest.files
    assert files["adapter/adapter_model.safetensors"] == (
        hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    )
    assert "adapter/adapter_config.json" in files
    assert subject.manifest.digest != subjects["llama"].manifest.digest


def test_an_adapters_merged_weights_are_what_a_second_copy_loads(adapter, llama, tmp_path):
    subject = open_directory(llama, adapter=str(adapter))
    assert open_directory(llama).directory(tmp_path) == llama.resolve()
    merged = subject.directory(tmp_path)
    assert subject.directory(tmp_path) == merged
    again = open_directory(merged).score(PAIRS)
    with subject.reloaded(tmp_path) as copy:
        for one, other, third in zip(subject.score(PAIRS), copy.score(PAIRS), again, strict=True):
            assert (one.log_probability == other.log_probability).all()
            assert (one.log_probability == third.log_probability).all()
    with pytest.raises(AuditorError, match="adapter"):
        open_directory(llama, adapter=str(llama / "none"))


def test_an_adapter_that_does_not_fit_is_refused(adapter, llama, tmp_path):
    """peft only warns where the adapter's weights find no place: the base would be audited."""
    other = shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    renamed = {k.replace("layers.0", "layers.7"): v for k, v in weights.items()}
    save_file(renamed, other / "adapter_model.safetensors")
    with pytest.raises(AuditorError, match="adapter"):
        open_directory(llama, adapter=str(other)).score(PAIRS)


def test_an_adapter_of_another_shape_is_refused(adapter, llama, tmp_path):
    other = shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    save_file(
        {k: v[:, :3].contiguous() for k, v in weights.items()}, other / "adapter_model.safetensors"
    )
    with pytest.raises(AuditorError, match="adapter"):
        open_directory(llama, adapter=str(other)).score(PAIRS)


def test_an_adapter_in_place_of_a_model_is_refused(adapter, llama, tmp_path):
    """transformers would follow its `base_model_name_or_path` to files that nobody hashed."""
    with pytest.raises(AuditorError, match="adapter"):
        open_directory(adapter).score(PAIRS)
    for file in adapter.iterdir():
        shutil.copy(file, llama)
    edit_json(llama / "adapter_config.json", base_model_name_or_path=str(tmp_path / "elsewhere"))
    with pytest.raises(AuditorError, match="adapter"):
        open_directory(llama).score(PAIRS)


def test_a_bad_spec_is_refused():
    with pytest.raises(ValueError, match="dtype"):
        CausalLMSpec(path="x", dtype="int4")
    with pytest.raises(ValueError, match="trust_remote"):
        CausalLMSpec(path="x", trust_remote=True)


def test_the_index_of_a_checkpoint_is_json(llama):
    (llama / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "b.safetensors"}})
    )
    with pytest.raises(AuditorError, match=r"b\.safetensors"):
        manifest(llama)


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin", "consolidated.00.pth", "model.gguf", "MODEL.SAFETENSORS"),
        *("original/model.safetensors", "onnx/model.onnx_data", "weights.h5"),
    ],
)
def test_weights_in_other_forms_are_named(llama, name):
    file = llama / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"another model")
    location = locate(CausalLMSpec(path=str(llama)))
    assert location.beside == location.weights_beside == (name,)


def test_what_lies_beside_a_model_is_listed_but_for_what_is_said_of_it(llama):
    for name in ("README.md", "LICENSE", "certificate.json", ".gitattributes", ".git/config"):
        (llama / name).parent.mkdir(exist_ok=True)
        (llama / name).write_text("x")
    assert locate(CausalLMSpec(path=str(llama))).beside == ()
    (llama / "notes.dat").write_text("x")
    location = locate(CausalLMSpec(path=str(llama)))
    assert (location.beside, location.weights_beside) == (("notes.dat",), ())
