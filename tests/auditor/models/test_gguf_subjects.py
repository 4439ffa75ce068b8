"""GGUF files as models: what is measured is what is in the file, or it is refused."""

import copy
import os
import shutil
import struct
import time
from pathlib import Path

import hostile_inputs as hostile
import numpy as np
import pytest
import torch
from tiny_models import PAIRS, PROMPTS, make_tokenizer, open_directory, save
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters
from auditor.core.cache import CACHE_VARIABLE
from auditor.core.errors import AuditorError, OpeningError
from auditor.core.hashing import digest_file
from auditor.core.messages import message
from auditor.engine.copies import copy_of
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.served import ServedCausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.gguf_header import read_header
from auditor.models.kind import kind_named, parse_spec
from auditor.models.language import files, gguf_files
from auditor.models.memory import weights_memory
from auditor.models.opening import check_unopenable, locate
from auditor.models.preserve import weights_digest
from auditor.models.spec import PromptFormat

pytest.importorskip("gguf", reason="gguf is not installed: pip install gguf")
pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: pip install xllamacpp")
written = pytest.importorskip("written_gguf")

CONTEXT = 1024


def network(architecture, *, tied=False, seed=0, width=256):
    common = {"vocab_size": 400, "tie_word_embeddings": tied}
    decoder = {
        "hidden_size": width,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
    }
    config = {
        "llama": lambda: LlamaConfig(**common, **decoder, rms_norm_eps=1e-5),
        "qwen2": lambda: Qwen2Config(**common, **decoder),
        "gpt2": lambda: GPT2Config(
            vocab_size=400, n_embd=width, n_layer=2, n_head=4, n_positions=CONTEXT
        ),
    }[architecture]()
    config.eos_token_id, config.pad_token_id, config.bos_token_id = 0, 1, None
    torch.manual_seed(seed)
    found = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return found


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """Descriptions of files are not left in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def llama():
    return network("llama")


@pytest.fixture(scope="module")
def file(llama, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny-q4_k_m.gguf"
    return written.write_gguf(path, llama, make_tokenizer(), "q4_k_m")


def opened(path, **spec):
    found = CausalLMSpec(path=str(path), **spec)
    location = locate(found)
    check_unopenable(found, location)
    return CausalLM(found, location, PromptFormat())


def refused(path, **spec):
    with pytest.raises(AuditorError) as caught:
        opened(path, **spec)
    return str(caught.value)


def values(model):
    return np.concatenate([score.log_probability for score in model.score(PAIRS)])


@pytest.mark.parametrize("level", ["f32", "q8_0", "q4_k_m", "q2_k", "iq4_nl", "f16", "bf16"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("tied", [False, True])
def test_its_weights_and_answers_are_those_in_the_file(architecture, level, tied, tmp_path):
    """Of ggml's own rounding, read back without transformers: equal to the last bit."""
    if architecture == "gpt2" and not tied:
        pytest.skip("GPT-2 has one matrix of embeddings")
    if (architecture, tied) != ("llama", False) and level not in ("f16", "q4_k_m"):
        pytest.skip("one architecture stands for the types")
    source = network(architecture, tied=tied)
    path = written.write_gguf(tmp_path / "m.gguf", source, make_tokenizer(), level)
    model = opened(path, dtype="float32")
    expected = written.read_back(source, level)
    held = dict(model.network.named_parameters())
    assert held.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(held[name], weight), name
    again = copy.deepcopy(source)
    again.load_state_dict(expected, strict=False)
    again.tie_weights()
    directory = save(tmp_path / "same", again, make_tokenizer())
    same = open_directory(directory)
    np.testing.assert_array_equal(values(model), values(same))
    assert model.generate(PROMPTS, 6) == same.generate(PROMPTS, 6)
    plain = open_directory(save(tmp_path / "plain", source, make_tokenizer()))
    assert (np.abs(values(model) - values(plain)).max() > 1e-6) == (level != "f32")


def test_it_is_asked_in_the_ids_of_the_tokenizer_that_it_was_written_of(file, tmp_path):
    theirs = make_tokenizer()
    own = opened(file).tokenizer
    texts = [text for pair in PAIRS for text in pair] + ["a<eos>b", "  two  ", "\n\n"]
    assert [own(t)["input_ids"] for t in texts] == [theirs(t)["input_ids"] for t in texts]
    assert (own.eos_token_id, own.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)
    assert own.decode(own("Person 3 lives")["input_ids"]) == "Person 3 lives"


def test_file_folder_and_name_are_one_model(file, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    os.link(file, folder / file.name)
    alone, within = locate(CausalLMSpec(path=str(file))), locate(CausalLMSpec(path=str(folder)))
    assert alone.manifest == within.manifest
    assert alone.manifest.files == {file.name: digest_file(file)}
    os.link(file, folder / "other.gguf")
    assert "holds 2 GGUF files (other.gguf, tiny" in refused(folder)
    named = locate(CausalLMSpec(path=str(folder), gguf_file=file.name))
    assert named.manifest == alone.manifest
    assert named.beside == ("other.gguf",)
    assert named.weights_beside == ("other.gguf",)
    assert "no file x.gguf" in refused(folder, gguf_file="x.gguf")
    assert "names another" in refused(file, gguf_file="x.gguf")
    assert "a revision" in refused(file, revision="main")


def test_a_plan_names_it_by_a_path_beside_the_plan(file):
    spec = parse_spec(file.name, file.parent)
    assert spec.path == str(file)
    assert parse_spec({"path": ".", "gguf_file": file.name}, file.parent).gguf_file == file.name


def test_of_two_forms_in_a_folder_one_is_audited_and_the_other_named(file, llama, tmp_path):
    folder = save(tmp_path / "both", network("llama", seed=5), make_tokenizer())
    os.link(file, folder / file.name)
    usual = locate(CausalLMSpec(path=str(folder)))
    assert usual.gguf is None
    assert file.name not in usual.manifest.files
    assert file.name in usual.weights_beside
    chosen = opened(folder, gguf_file=file.name, dtype="float32")
    assert "model.safetensors" in chosen.location.weights_beside
    assert list(chosen.manifest.files) == [file.name]
    np.testing.assert_array_equal(values(chosen), values(opened(file, dtype="float32")))


def test_files_beside_it_and_in_the_working_folder_say_nothing(file, tmp_path, monkeypatch):
    """Neither settings, tokenizer, adapter nor a file of the same name are taken for its own."""
    folder = tmp_path / "crowded"
    folder.mkdir()
    os.link(file, folder / file.name)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    (folder / "tokenizer.json").write_text("no tokenizer")
    other = tmp_path / "working"
    other.mkdir()
    written.write_gguf(other / file.name, network("llama", seed=9), make_tokenizer(), "q4_k_m")
    monkeypatch.chdir(other)
    expected = values(opened(file))
    found = opened(folder, gguf_file=file.name)
    np.testing.assert_array_equal(values(found), expected)
    assert found.network.generation_config.eos_token_id == 0


def test_what_is_known_before_it_is_loaded(file, llama):
    spec = CausalLMSpec(path=str(file))
    location = locate(spec)
    shape = kind_named("causal-lm").shape(spec, location)
    numbers = sum(parameter.numel() for parameter in llama.parameters())
    assert (shape.parameters, shape.stored) == (numbers, file.stat().st_size)
    assert shape.loaded == 4 * numbers == weights_memory(spec, location)
    half = spec.model_copy(update={"dtype": "bfloat16"})
    assert kind_named("causal-lm").shape(half, location).loaded == 2 * numbers
    types = read_header(file).sizes
    assert types["Q4_K"] == max(types.values())
    [note] = location.notes
    assert note == message("read_from_gguf", file=file.name, types=list(types)[:3])


def test_no_engine_is_started_for_it(file, llama, tmp_path):
    """An engine would be handed the folder that describes it, which holds no weights."""
    model, folder = opened(file), opened(save(tmp_path / "folder", llama, make_tokenizer()))
    assert ServedCausalLM.unsuited(model.spec, model.location) == "gguf"
    assert ServedCausalLM.unsuited(folder.spec, folder.location) is None


def test_types_of_floats_are_kept(tmp_path, llama):
    for level, type_ in (("f16", torch.float16), ("bf16", torch.bfloat16), ("f32", torch.float32)):
        path = written.write_gguf(tmp_path / f"{level}.gguf", llama, make_tokenizer(), level)
        assert opened(path).network.dtype == type_
        assert opened(path, dtype="bfloat16").network.dtype == torch.bfloat16


def test_it_is_rounded_trained_and_restored_as_a_model_of_full_precision(file, tmp_path):
    model = opened(file)
    before = weights_digest(model.network)
    with model.preserve_weights() as lent, torch.no_grad():
        for parameter in lent.parameters():
            parameter.mul_(1.5)
    assert weights_digest(model.network) == before
    attack = RoundToNearest(RoundToNearestParameters(bits=4))
    assert attack.unavailable(model.location) is None
    [item] = model.encode([("Person 3 lives in", "city 4")])
    model.network.requires_grad_(True)
    model.loss([item]).backward()
    assert model.network.get_input_embeddings().weight.grad.abs().sum() > 0
    with model.reloaded(tmp_path) as saved:  # what workers and quantizers read
        assert weights_digest(saved.network) == before


def test_its_answers_end_where_llama_cpp_ends_them(llama, tmp_path):
    path = written.write_gguf(
        tmp_path / "m.gguf", llama, make_tokenizer(), settings={"tokenizer.ggml.eot_token_id": 9}
    )
    assert opened(path).network.generation_config.eos_token_id == [0, 9]


def test_a_chat_template_is_the_files_own(llama, tmp_path):
    template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    path = written.write_gguf(tmp_path / "m.gguf", llama, make_tokenizer(), chat_template=template)
    assert opened(path).tokenizer.chat_template == template
    endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    path = written.write_gguf(tmp_path / "n.gguf", llama, make_tokenizer(), chat_template=endless)
    assert "the chat template of" in refused(path)


def test_two_files_with_other_tokenizers_are_not_asked_alike(llama, file, tmp_path):
    kind = kind_named("causal-lm")
    other = written.write_gguf(
        tmp_path / "m.gguf", llama, make_tokenizer(), chat_template="{{ messages[0]['content'] }}"
    )
    again = written.write_gguf(tmp_path / "n.gguf", network("llama", seed=3), make_tokenizer())
    specs = [CausalLMSpec(path=str(path)) for path in (file, other, again)]
    first, second, third = (kind.asking(spec, locate(spec)) for spec in specs)
    assert first != second
    assert first == third


def test_a_tokenizer_of_the_plan_takes_the_place_of_its_own(file, tmp_path):
    folder = tmp_path / "tokenizer"
    make_tokenizer(pad_token=None).save_pretrained(folder)
    model = opened(file, tokenizer=str(folder))
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id == 0
    assert "tokenizer/tokenizer.json" in model.manifest.files


def test_what_differs_from_the_original_is_said_without_noise(file, llama, tmp_path):
    kind = kind_named("causal-lm")
    own = locate(CausalLMSpec(path=str(file)))
    original = locate(CausalLMSpec(path=str(save(tmp_path / "o", llama, make_tokenizer()))))
    assert kind.differences("unlearned", own, original) == (
        message("stored_type_differs", arm="unlearned", own="Q4_K", original="F32"),
    )
    scaled = copy.deepcopy(llama)
    scaled.config.rms_norm_eps = 1e-3
    other = locate(CausalLMSpec(path=str(save(tmp_path / "p", scaled, make_tokenizer()))))
    found = kind.differences("unlearned", own, other)
    assert any("rms_norm_eps" in str(note) for note in found)


@pytest.mark.parametrize("level", ["f32", "f16", "bf16"])
def test_a_copy_that_is_not_rounded_is_found(level, llama, tmp_path):
    folder = save(tmp_path / "m", llama, make_tokenizer())
    path = written.write_gguf(tmp_path / "m.gguf", llama, make_tokenizer(), level)
    one, other = (locate(CausalLMSpec(path=str(place))) for place in (folder, path))
    found = copy_of(one, other)
    assert found is not None
    assert found.matrices == 2 * 7 + 2
    assert copy_of(other, one) == found
    again = written.write_gguf(tmp_path / "n.gguf", llama, make_tokenizer(), "f32")
    assert copy_of(other, locate(CausalLMSpec(path=str(again)))) is not None
    trained = written.write_gguf(tmp_path / "o.gguf", network("llama", seed=4), make_tokenizer())
    assert copy_of(one, locate(CausalLMSpec(path=str(trained)))) is None


def test_llama_3_scales_its_frequencies_by_a_tensor(tmp_path):
    plain = network("llama")
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = copy.deepcopy(plain.config)
    config.rope_parameters = scaling
    scaled = AutoModelForCausalLM.from_config(config).eval()
    scaled.load_state_dict(plain.state_dict())
    factors = (plain.model.rotary_emb.inv_freq / scaled.model.rotary_emb.inv_freq).numpy()
    assert factors.min() == 1
    assert factors.max() == pytest.approx(8)
    path = written.write_gguf(
        tmp_path / "m.gguf", plain, make_tokenizer(), "f32", tensors={"rope_freqs.weight": factors}
    )
    model = opened(path)
    assert dict(model.config.rope_parameters) == scaling
    torch.testing.assert_close(
        model.network.model.rotary_emb.inv_freq, scaled.model.rotary_emb.inv_freq
    )
    factors[-1] = 3.0
    path = written.write_gguf(
        tmp_path / "n.gguf", plain, make_tokenizer(), "f32", tensors={"rope_freqs.weight": factors}
    )
    assert "rotary frequencies" in refused(path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}, "passed over"),
        ({"llama.attention.key_length": 32}, "attention.key_length of 32 would be 64"),
        ({"llama.logit_scale": 0.5}, "logit_scale of 0.5 would be passed over"),
        ({"split.count": 3}, "one of 3 parts"),
    ],
)
def test_settings_that_would_be_passed_over_are_refused(settings, said, llama, tmp_path):
    """Else another model than llama.cpp's would be audited."""
    path = written.write_gguf(tmp_path / "m.gguf", llama, make_tokenizer(), settings=settings)
    assert said in refused(path)


def test_settings_that_agree_are_taken(llama, tmp_path):
    settings = {
        "llama.attention.key_length": 64,
        "llama.attention.value_length": 64,
        "llama.rope.scaling.type": "none",
        "llama.expert_count": 0,
    }
    path = written.write_gguf(tmp_path / "m.gguf", llama, make_tokenizer(), settings=settings)
    assert opened(path).config.head_dim == 64


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "blk.0.attn_sinks.weight", "cls.weight"])
def test_tensors_without_a_place_are_refused(name, llama, tmp_path):
    """transformers passes over them."""
    path = written.write_gguf(
        tmp_path / "m.gguf",
        llama,
        make_tokenizer(),
        tensors={name: np.ones(256, np.float32)},
    )
    assert "weights, and the network that it describes (llama) has" in refused(path)


def test_tensors_that_are_missing_are_not_random_numbers(llama, tmp_path):
    path = written.write_gguf(
        tmp_path / "m.gguf",
        llama,
        make_tokenizer(),
        without=["blk.1.ffn_norm.weight"],
        tensors={"blk.0.attn_sinks.weight": np.ones(256, np.float32)},
    )
    model = opened(path)  # as many as there are places
    with pytest.raises(AuditorError, match="lacks weights"):
        _ = model.network


def test_an_architecture_that_is_not_read_is_named(llama, tmp_path):
    path = written.write_gguf(tmp_path / "m.gguf", llama, make_tokenizer())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0llamb", 1))
    assert "llamb" in refused(path)


def test_a_description_that_others_may_change_is_refused(file):
    location = locate(CausalLMSpec(path=str(file)))
    location.model.chmod(0o777)
    assert "others may change it" in refused(file)
    location.model.chmod(0o700)
    opened(file)


def test_a_changed_file_is_another_model(file, llama, tmp_path):
    path = tmp_path / file.name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    one, other = (locate(CausalLMSpec(path=str(p))).manifest for p in (file, path))
    assert one.digest != other.digest
    assert one.weights_digest != other.weights_digest


def test_a_file_that_changes_while_it_is_described_leaves_no_description(
    file, llama, tmp_path, monkeypatch
):
    """Else its digest would stand for another file's tokenizer, now and in every later audit."""
    path = tmp_path / "described-while-it-changes.gguf"
    shutil.copyfile(file, path)
    whole = path.read_bytes()

    def replaced(of):
        found = read_header(of)
        written.write_gguf(path, llama, make_tokenizer(), chat_template="{{ 'nothing' }}")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(files, "kept_digest", lambda _: digest_file(file))
        patch.setattr(files, "read_header", replaced)
        assert "changed while it was read" in refused(path)
    path.write_bytes(whole)
    assert opened(path).tokenizer.chat_template is None


def test_other_code_describes_a_file_anew(file, monkeypatch, tmp_path):
    first = locate(CausalLMSpec(path=str(file))).model
    other = tmp_path / "gguf_files.py"
    other.write_text(Path(gguf_files.__file__).read_text() + "CHANGED = True\n")
    monkeypatch.setattr(gguf_files, "__file__", str(other))
    assert locate(CausalLMSpec(path=str(file))).model != first


def test_a_file_that_changes_before_it_is_loaded_is_refused(file, llama, tmp_path):
    path = tmp_path / "m.gguf"
    shutil.copyfile(file, path)
    subject = opened(path)
    written.write_gguf(path, network("llama", seed=5), make_tokenizer(), "q4_k_m")
    with pytest.raises(OpeningError, match=r"changed since it was hashed: m\.gguf"):
        _ = subject.network


TOKENS = [b"<eos>", b"a", b"b", b"ab"]


def lying(**changes):
    """A file whose header is whole, and whose settings or tokens are as given."""
    numbers = {
        "block_count": 1,
        "context_length": 8,
        "embedding_length": 8,
        "feed_forward_length": 8,
        "attention.head_count": 2,
        "attention.head_count_kv": 2,
    }
    tokens = changes.get("tokens", TOKENS)
    settings = {
        f"llama.{name}": (4, struct.pack("<I", value))
        for name, value in (numbers | changes.get("numbers", {})).items()
    }
    settings["tokenizer.ggml.model"] = hostile.gguf_text(b"gpt2")
    settings["tokenizer.ggml.tokens"] = hostile.gguf_list(
        8, len(tokens), b"".join(hostile.gguf_text(token)[1] for token in tokens)
    )
    merges = changes.get("merges", [b"a b"])
    settings["tokenizer.ggml.merges"] = hostile.gguf_list(
        8, len(merges), b"".join(hostile.gguf_text(merge)[1] for merge in merges)
    )
    settings["tokenizer.ggml.eos_token_id"] = (4, struct.pack("<I", changes.get("eos", 0)))
    return hostile.gguf_file(settings | changes.get("settings", {}))


LIES = {
    "a billion layers": lying(numbers={"block_count": 10**9}),
    "four billion heads": lying(numbers={"attention.head_count": 2**32 - 1}),
    "no head": lying(numbers={"attention.head_count": 0}),
    "a width of 4 billion": lying(numbers={"embedding_length": 2**32 - 1}),
    "no width": lying(numbers={"embedding_length": 0}),
    "no token": lying(tokens=[], merges=[]),
    "an end that is no token": lying(eos=99),
    "a merge of nothing": lying(merges=[b"zzz"]),
    "a merge of three": lying(merges=[b"a b c"]),
    "a token twice": lying(tokens=[*TOKENS, b"a"]),
    "layers in words": lying(settings={"llama.block_count": hostile.gguf_text(b"two")}),
    "layers in a list": lying(
        settings={"llama.block_count": hostile.gguf_list(4, 2, struct.pack("<II", 1, 2))}
    ),
    "tokens that are a number": lying(settings={"tokenizer.ggml.tokens": (4, b"\1\0\0\0")}),
    "a tokenizer that there is not": lying(
        settings={"tokenizer.ggml.model": hostile.gguf_text(b"../x")}
    ),
    "too few weights": lying(),
    "an architecture alone": hostile.gguf_file(),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_lies_behind_a_whole_header_is_refused(lie, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(LIES[lie])
    began = time.monotonic()
    assert path.name in refused(path)
    assert time.monotonic() - began < 60
