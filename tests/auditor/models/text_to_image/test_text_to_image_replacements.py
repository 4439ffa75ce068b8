"""Every published form of erased weights, applied to a pipeline."""

import json
import pickle
import shutil
from collections import OrderedDict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tiny_pipelines import (
    PROMPTS,
    edit_json,
    make_pipeline,
    make_text_encoder,
    make_unet,
    open_pipeline,
    spec,
)

from auditor.core.errors import AuditorError
from auditor.models.opening import check_unopenable, locate
from auditor.models.text_to_image.model import TextToImage
from auditor.models.text_to_image.replacement_files import find_replacement
from auditor.models.text_to_image.replacements import apply
from auditor.unlearning.erasure import formats


def refusal(folder, replacement):
    """The message of the refusal, which is the same before and at loading."""
    found = spec(folder, replacement=str(replacement))
    with pytest.raises(AuditorError) as early:
        check_unopenable(found, locate(found))
    with pytest.raises(AuditorError) as late:
        assert TextToImage(found, locate(found)).network
    assert str(early.value) == str(late.value)
    return str(late.value)


def replaced(folder, replacement):
    found = spec(folder, replacement=str(replacement))
    location = locate(found)
    check_unopenable(found, location)
    return TextToImage(found, location)


def differing(before, after):
    """Names of the tensors that differ between two state dicts of the same names."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def trained(unet, part="attn2", dtype=torch.float32):
    """What ESD saves: the linear maps and convolutions that it trained."""
    erased = make_unet(seed=9).state_dict()
    return {
        f"{name}.{kind}": erased[f"{name}.{kind}"].to(dtype)
        for name, module in unet.named_modules()
        if part in name and isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        for kind, _ in module.named_parameters()
    }


def write_nested(delta, path):
    """The older form of ESD: one dictionary a module, behind ``unet.``."""
    nested = {}
    for name, tensor in delta.items():
        module, _, parameter = name.rpartition(".")
        nested.setdefault(f"unet.{module}", {})[parameter] = tensor
    torch.save(nested, path)
    return path


def written(network, path):
    network.save_pretrained(path)
    return path


@pytest.fixture
def unet(pipelines):
    return pipelines["sd1"].unet


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_esd_trained_tensors_alone(ending, folders, unet, tmp_path):
    delta = trained(unet, dtype=torch.bfloat16)
    file = tmp_path / f"esd.{ending}"
    save_file(delta, file) if ending == "safetensors" else torch.save(delta, file)
    subject = replaced(folders["sd1"], file)
    after = subject.denoiser.state_dict()
    assert differing(unet.state_dict(), after) == delta.keys()
    for name, tensor in delta.items():
        assert torch.equal(after[name], tensor.float())


def test_esd_unconditional_layers_alone(folders, unet, tmp_path):
    delta = {
        f"{name}.{kind}": tensor + 1
        for name, module in unet.named_modules()
        if "attn2" not in name and isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        for kind, tensor in module.state_dict().items()
    }
    save_file(delta, tmp_path / "esd-u.safetensors")
    subject = replaced(folders["sd1"], tmp_path / "esd-u.safetensors")
    assert differing(unet.state_dict(), subject.denoiser.state_dict()) == delta.keys()


def test_esd_nested_by_layer(folders, unet, tmp_path):
    delta = trained(unet)
    nested = {}
    for name, tensor in delta.items():
        layer, _, kind = name.rpartition(".")
        nested.setdefault(f"unet.{layer}", OrderedDict())[kind] = torch.nn.Parameter(tensor)
    nested["unet." + next(n for n in delta if n.endswith("to_k.weight"))[:-7]]["bias"] = None
    torch.save(nested, tmp_path / "esd.pt")
    after = replaced(folders["sd1"], tmp_path / "esd.pt").denoiser.state_dict()
    assert differing(unet.state_dict(), after) == delta.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in delta.items())


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"state_dict": d, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "unet."])
def test_a_whole_unet(wrap, prefix, folders, tmp_path):
    erased = make_unet(seed=9).state_dict()
    torch.save(wrap({prefix + name: tensor for name, tensor in erased.items()}), tmp_path / "u.pt")
    subject = replaced(folders["sd1"], tmp_path / "u.pt")
    assert differing(erased, subject.denoiser.state_dict()) == set()


def test_a_directory_of_a_unet(folders, tmp_path):
    erased = make_unet(seed=9)
    erased.save_pretrained(tmp_path / "unet", max_shard_size="100KB")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    subject = replaced(folders["sd1"], tmp_path / "unet")
    assert differing(erased.state_dict(), subject.denoiser.state_dict()) == set()
    hashed = [n for n in subject.manifest.files if n.startswith("replacement/")]
    assert sorted(hashed) == sorted(f"replacement/{p.name}" for p in (tmp_path / "unet").iterdir())


def test_a_whole_pipeline_is_the_model_itself(folders, tmp_path):
    erased = make_pipeline("sd1", seed=9)
    erased.save_pretrained(tmp_path / "mace")
    after = open_pipeline(tmp_path / "mace").denoiser.state_dict()
    assert differing(erased.unet.state_dict(), after) == set()
    assert "give it as `path`" in _located(folders["sd1"], tmp_path / "mace")


def _located(folder, replacement):
    with pytest.raises(AuditorError) as raised:
        locate(spec(folder, replacement=str(replacement)))
    return str(raised.value)


@pytest.mark.parametrize("form", ["directory", "new names", "old names", "prefixed"])
def test_an_erased_text_encoder(form, folders, pipelines, tmp_path):
    erased = make_text_encoder(seed=9)
    tensors = {n.removeprefix("text_model."): t for n, t in erased.state_dict().items()}
    path = tmp_path / "te.pt"
    if form == "directory":
        path = tmp_path / "te"
        erased.save_pretrained(path)
    elif form == "new names":
        torch.save(tensors, path)
    elif form == "old names":
        old = {f"text_model.{n}": t for n, t in tensors.items()}
        torch.save(old | {"text_model.embeddings.position_ids": torch.arange(12)[None]}, path)
    else:
        torch.save({f"text_encoder.{n}": t for n, t in tensors.items()}, path)
    subject = replaced(folders["sd1"], path)
    assert differing(erased.state_dict(), subject.text_encoder.state_dict()) == set()
    assert differing(pipelines["sd1"].unet.state_dict(), subject.denoiser.state_dict()) == set()


@pytest.mark.parametrize("which", ["text_encoder", "text_encoder_2"])
def test_an_erased_text_encoder_of_sdxl_finds_its_place(which, folders, pipelines, tmp_path):
    projected = which == "text_encoder_2"
    erased = make_text_encoder(32 if projected else 16, projected=projected, seed=9)
    erased.save_pretrained(tmp_path / "te")
    model = replaced(folders["sdxl"], tmp_path / "te").network
    assert differing(erased.state_dict(), model[which].state_dict()) == set()
    other = "text_encoder" if projected else "text_encoder_2"
    own = getattr(pipelines["sdxl"], other).state_dict()
    assert differing(own, model[other].state_dict()) == set()


def adapted(targets):
    """Names of the UNet's weights whose layers end in one of the targets."""
    endings = tuple(f".{target}.weight" for target in targets)
    return {name for name in make_unet().state_dict() if name.endswith(endings)}


def test_a_lora_of_diffusers(folders, tmp_path):
    unet = make_unet()
    config = LoraConfig(
        r=2,
        lora_alpha=6,
        alpha_pattern={"attn1.to_k": 3},
        init_lora_weights=False,
        target_modules=["attn2.to_k", "attn2.to_v", "attn1.to_k", "conv1"],
    )
    unet.add_adapter(config)
    unet.save_lora_adapter(tmp_path / "lora")
    unet.fuse_lora()
    subject = replaced(folders["sd1"], tmp_path / "lora")
    after = subject.denoiser.state_dict()
    assert differing(make_unet().state_dict(), after) == adapted(config.target_modules)
    for name, tensor in unet.state_dict().items():
        if ".lora_" not in name:
            own = name.replace(".base_layer", "")
            torch.testing.assert_close(after[own], tensor, rtol=1e-5, atol=1e-6)
    by_file = replaced(folders["sd1"], tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    assert differing(after, by_file.denoiser.state_dict()) == set()


def test_a_lora_of_peft(folders, tmp_path):
    wrapped = get_peft_model(
        make_unet(),
        LoraConfig(r=2, lora_alpha=6, init_lora_weights=False, target_modules=["to_q", "to_out.0"]),
    )
    wrapped.save_pretrained(tmp_path / "lora")
    merged = wrapped.merge_and_unload().state_dict()
    after = replaced(folders["sd1"], tmp_path / "lora").denoiser.state_dict()
    for name, tensor in merged.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-5, atol=1e-6)
    assert differing(make_unet().state_dict(), after) == adapted({"to_q", "to_out.0"})


def test_a_lora_of_unet_and_text_encoder(folders, pipelines, tmp_path):
    """The older names, with an alpha a layer; checked against W + (alpha / r) B A by hand."""
    unet, encoder = pipelines["sd1"].unet, pipelines["sd1"].text_encoder
    key = next(n for n in unet.state_dict() if n.endswith("attn2.to_k.weight"))[:-7]
    text_key = next(n for n in encoder.state_dict() if n.endswith("q_proj.weight"))[:-7]
    bare = text_key.removeprefix("text_model.")
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    file = tmp_path / "lora.safetensors"
    save_file(
        {
            f"unet.{key}.lora.down.weight": down,
            f"unet.{key}.lora.up.weight": up,
            f"unet.{key}.alpha": torch.tensor(8.0),
            f"text_encoder.text_model.{bare}.lora_linear_layer.down.weight": down.clone(),
            f"text_encoder.text_model.{bare}.lora_linear_layer.up.weight": up.clone(),
        },
        file,
    )
    subject = replaced(folders["sd1"], file)
    before, after = unet.state_dict(), subject.denoiser.state_dict()
    assert differing(before, after) == {f"{key}.weight"}
    expected = before[f"{key}.weight"] + 4 * up @ down
    torch.testing.assert_close(after[f"{key}.weight"], expected)
    before, after = encoder.state_dict(), subject.text_encoder.state_dict()
    assert differing(before, after) == {f"{text_key}.weight"}
    torch.testing.assert_close(
        after[f"{text_key}.weight"], before[f"{text_key}.weight"] + up @ down
    )


def test_a_lora_in_the_names_of_kohya(folders, pipelines, tmp_path):
    unet, encoder = pipelines["sd1"].unet, pipelines["sd1"].text_encoder
    keys = [
        next(n for n in network.state_dict() if n.endswith(ending))[:-7]
        for network, ending in ((unet, "attn2.to_out.0.weight"), (encoder, "fc1.weight"))
    ]
    bare = keys[1].removeprefix("text_model.")
    factors, tensors = [], {}
    for name, network, key in (
        ("lora_unet_" + keys[0].replace(".", "_"), unet, keys[0]),
        ("lora_te_text_model_" + bare.replace(".", "_"), encoder, keys[1]),
    ):
        out, into = network.get_submodule(key).weight.shape
        down, up = torch.randn(4, into), torch.randn(out, 4)
        factors.append(0.5 * up @ down)
        tensors |= {
            f"{name}.lora_down.weight": down,
            f"{name}.lora_up.weight": up,
            f"{name}.alpha": torch.tensor(2.0),
        }
    file = tmp_path / "kohya.safetensors"
    save_file(tensors, file)
    subject = replaced(folders["sd1"], file)
    for network, after, key, update in zip(
        (unet, encoder), (subject.denoiser, subject.text_encoder), keys, factors, strict=True
    ):
        before = network.state_dict()
        assert differing(before, after.state_dict()) == {f"{key}.weight"}
        torch.testing.assert_close(
            after.state_dict()[f"{key}.weight"], before[f"{key}.weight"] + update
        )


def test_a_lora_is_rounded_once(folders, unet, tmp_path):
    """In bfloat16 the sum is worked out in float32, not from a rounded update."""
    key = next(n for n in unet.state_dict() if n.endswith("attn2.to_k.weight"))[:-7]
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    file = tmp_path / "lora.safetensors"
    save_file({f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}, file)
    found = spec(folders["sd1"], replacement=str(file), dtype="bfloat16")
    after = TextToImage(found, locate(found)).denoiser.get_submodule(key).weight
    before = unet.get_submodule(key).weight.detach().to(torch.bfloat16).float()
    assert torch.equal(after, (before + up @ down).to(torch.bfloat16))


def test_the_audited_pipeline_is_written_with_the_replacement_in_it(folders, unet, tmp_path):
    save_file(trained(unet), tmp_path / "esd.safetensors")
    subject = replaced(folders["sd1"], tmp_path / "esd.safetensors")
    written = subject.directory(tmp_path / "scratch")
    assert written != subject.location.model
    again = open_pipeline(written)
    assert again.location.replacement is None
    assert differing(again.denoiser.state_dict(), subject.denoiser.state_dict()) == set()
    assert torch.equal(again.generate(PROMPTS[:2], [1, 2]), subject.generate(PROMPTS[:2], [1, 2]))
    own = open_pipeline(folders["sd1"])
    assert own.directory(tmp_path / "scratch") == own.location.model
    assert not torch.equal(own.generate(PROMPTS[:1], [1]), subject.generate(PROMPTS[:1], [1]))


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return (open, (self.file, "w"))


@pytest.mark.parametrize("hidden", ["whole", "inside", "plain pickle"])
def test_a_malicious_pickle_is_refused_and_does_not_run(hidden, folders, unet, tmp_path):
    touched, file = tmp_path / "touched", tmp_path / "erased.pt"
    content = Payload(touched) if hidden == "whole" else {**trained(unet), "x": Payload(touched)}
    if hidden == "plain pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    assert "was not loaded" in refusal(folders["sd1"], file)
    assert not touched.exists()
    torch.load(file, weights_only=False) if hidden != "plain pickle" else pickle.loads(
        file.read_bytes()
    )
    assert touched.exists()  # the payload works where a loader is careless


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a whole safetensors file"),
        (b"not a checkpoint at all", "not a whole safetensors file"),
        (b"PK\x03\x04 half a zip", "a pickle of torch.save, whatever its name"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(content, said, folders, tmp_path):
    (tmp_path / "u.pt").write_bytes(content)
    assert "u.pt" in refusal(folders["sd1"], tmp_path / "u.pt")
    (tmp_path / "u.safetensors").write_bytes(content)
    assert said in _located(folders["sd1"], tmp_path / "u.safetensors")


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_whole_unet_with_a_hole_names_what_is_missing(data, folders, tmp_path):
    tensors = make_unet(seed=9).state_dict()
    missing = data.draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, unique=True))
    missing = missing[:5]
    torch.save({n: t for n, t in tensors.items() if n not in missing}, tmp_path / "u.pt")
    message = refusal(folders["sd1"], tmp_path / "u.pt")
    assert f"lacks {len(missing)} of the {len(tensors)} keys" in message
    assert all(name in message for name in missing)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_wrong_shape_is_named(data, folders, tmp_path):
    tensors = make_unet(seed=9).state_dict()
    name = data.draw(st.sampled_from(sorted(tensors)))
    tensors[name] = torch.cat([tensors[name]] * 2)
    torch.save(tensors, tmp_path / "u.pt")
    message = refusal(folders["sd1"], tmp_path / "u.pt")
    assert "another shape" in message
    assert f"{name} is {list(tensors[name].shape)}" in message


def faulty(fault, unet):
    delta = trained(unet)
    first = next(iter(delta))
    biased = next(n for n in delta if n.endswith("bias"))
    return {
        "foreign key": delta | {"mid_block.foreign.weight": torch.ones(2)},
        "all foreign": {"layers.0.weight": torch.ones(2)},
        "half a layer": {n: t for n, t in delta.items() if n != biased},
        "compvis": {"model.diffusion_model.out.0.weight": torch.ones(2)},
        "empty": {},
        "integers": delta | {first: delta[first].to(torch.int8)},
        "no tensor": delta | {"optimizer": [1, 2]},
        "a tensor": torch.ones(3),
        "twice": delta | {first.rpartition(".")[0]: {first.rpartition(".")[2]: delta[first]}},
    }[fault]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("foreign key", "1 unknown key(s): mid_block.foreign.weight"),
        ("all foreign", "holds no weights of this pipeline (unet, text_encoder)"),
        ("half a layer", "lacks a part of layers"),
        ("compvis", "CompVis"),
        ("empty", "holds no tensors"),
        ("integers", "to_q.weight is torch.int8"),
        ("no tensor", "'optimizer' is list"),
        ("a tensor", "holds Tensor, expected a dict"),
        ("twice", "holds a tensor twice"),
    ],
)
def test_each_fault_of_a_state_dict_has_its_message(fault, said, folders, unet, tmp_path):
    torch.save(faulty(fault, unet), tmp_path / "u.pt")
    assert said in refusal(folders["sd1"], tmp_path / "u.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantized_tensors_are_refused_before_any_attack(dtype, folders, unet, tmp_path):
    delta = {name: torch.zeros(t.shape, dtype=dtype) for name, t in trained(unet).items()}
    save_file(delta, tmp_path / "u.safetensors")
    assert f"is {dtype}" in refusal(folders["sd1"], tmp_path / "u.safetensors")


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_choice_of_whole_layers_replaces_these_and_nothing_else(data, tmp_path):
    unet = make_unet()
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    layers = [
        name for name, m in unet.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)
    ]
    chosen = data.draw(st.lists(st.sampled_from(layers), min_size=1, unique=True))
    delta = {n: t + 1 for n, t in before.items() if n.rpartition(".")[0] in chosen}
    nested = data.draw(st.booleans())
    if nested:
        write_nested(delta, tmp_path / "esd.pt")
    else:
        torch.save(delta, tmp_path / "esd.pt")
    apply(find_replacement(str(tmp_path / "esd.pt")), {"unet": unet})
    assert differing(before, unet.state_dict()) == delta.keys()
    assert all(torch.equal(unet.state_dict()[name], tensor) for name, tensor in delta.items())


def test_a_text_encoder_with_a_key_in_two_spellings_is_refused(folders, tmp_path):
    tensors = make_text_encoder(seed=9).state_dict()
    name = next(iter(tensors))
    bare = name.removeprefix("text_model.")
    both = tensors | {bare: tensors[name], f"text_model.{bare}": tensors[name]}
    torch.save(both, tmp_path / "te.pt")
    assert "1 unknown key(s)" in refusal(folders["sd1"], tmp_path / "te.pt")


def test_a_link_without_an_ending_behind_it_is_read(folders, unet, tmp_path):
    """As the hub's cache keeps files."""
    delta = trained(unet)
    save_file(delta, tmp_path / "0123abcd")
    (tmp_path / "esd.safetensors").symlink_to(tmp_path / "0123abcd")
    subject = replaced(folders["sd1"], tmp_path / "esd.safetensors")
    assert "replacement/esd.safetensors" in subject.manifest.files
    assert differing(unet.state_dict(), subject.denoiser.state_dict()) == delta.keys()


def test_a_text_encoder_with_a_hole_is_refused(folders, tmp_path):
    tensors = make_text_encoder(seed=9).state_dict()
    gone = tensors.popitem()[0]
    torch.save(tensors, tmp_path / "te.pt")
    assert gone in refusal(folders["sd1"], tmp_path / "te.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_delta_that_changes_nothing_is_refused(dtype, folders, unet, tmp_path):
    own = unet.state_dict()
    same = {name: own[name].to(dtype) for name in trained(unet)}
    save_file(same, tmp_path / "same.safetensors")
    with pytest.raises(AuditorError, match="changes nothing"):
        assert replaced(folders["sd1"], tmp_path / "same.safetensors").network


def test_numbers_that_are_not_finite_are_refused(folders, unet, tmp_path):
    delta = trained(unet)
    first = next(iter(delta))
    delta[first] = torch.full_like(delta[first], torch.nan)
    save_file(delta, tmp_path / "nan.safetensors")
    with pytest.raises(AuditorError, match=f"not finite: {first}"):
        assert replaced(folders["sd1"], tmp_path / "nan.safetensors").network


@pytest.mark.parametrize("form", ["esd", "older esd", "whole unet", "pipeline", "text encoder"])
def test_what_the_reference_erasures_write_is_what_is_opened(form, folders, tmp_path):
    pipeline, erased = make_pipeline("sd1"), make_unet(seed=9)
    delta = trained(pipeline.unet)
    encoder = make_text_encoder(seed=9)
    expected = pipeline.unet.state_dict() | delta
    if form == "pipeline":
        subject = open_pipeline(formats.write_pipeline(pipeline, erased, tmp_path / "mace"))
        expected = erased.state_dict()
    elif form == "text encoder":
        subject = replaced(folders["sd1"], written(encoder, tmp_path / "text_encoder"))
        expected = pipeline.unet.state_dict()
        assert differing(encoder.state_dict(), subject.text_encoder.state_dict()) == set()
    else:
        path = {
            "esd": lambda: formats.write_delta(delta, tmp_path / "esd.safetensors"),
            "older esd": lambda: write_nested(delta, tmp_path / "esd.pt"),
            "whole unet": lambda: formats.write_unet_state(
                pipeline.unet, delta, tmp_path / "rece.pt"
            ),
        }[form]()
        subject = replaced(folders["sd1"], path)
    assert differing(expected, subject.denoiser.state_dict()) == set()


def test_a_text_encoder_with_a_broken_configuration_is_refused(folders, tmp_path):
    make_text_encoder(seed=9).save_pretrained(tmp_path / "te")
    edit_json(tmp_path / "te" / "config.json", num_attention_heads=3)
    assert "config.json does not load" in refusal(folders["sd1"], tmp_path / "te")
    edit_json(tmp_path / "te" / "config.json", num_attention_heads=4)
    assert "num_attention_heads is 4, not 2" in refusal(folders["sd1"], tmp_path / "te")


def test_a_unet_of_another_function_is_refused(folders, tmp_path):
    make_unet(seed=9).save_pretrained(tmp_path / "unet")
    edit_json(tmp_path / "unet" / "config.json", attention_head_dim=4)
    message = refusal(folders["sd1"], tmp_path / "unet")
    assert "attention_head_dim is 4, not 8" in message
    assert "architecture" in message


def lora(tmp_path, tensors, **settings):
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    save_file(tensors, tmp_path / "lora.safetensors", metadata=metadata)
    return tmp_path / "lora.safetensors"


def test_each_fault_of_a_lora_has_its_message(folders, unet, tmp_path):
    key = next(n for n in unet.state_dict() if n.endswith("attn2.to_k.weight"))[:-7]
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    pair = {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    faults = [
        ("lacks one factor of", {f"{key}.lora_A.weight": down}, {}),
        (
            "unknown layer(s): nowhere.to_k",
            {n.replace(key, "nowhere.to_k"): t for n, t in pair.items()},
            {},
        ),
        ("not fit each other", pair | {f"{key}.lora_B.weight": torch.randn(16, 3)}, {}),
        ("not [16, 16]", pair | {f"{key}.lora_A.weight": torch.randn(2, 8)}, {}),
        ("no factors of a LoRA", pair | {f"{key}.lora_magnitude_vector": up[0].clone()}, {}),
        ("no factors of a LoRA", {"lora_unet_down_to_k.lora_down.weight": down}, {}),
        ("no factors of a LoRA", pair | {f"{key}.dora_scale": up[0].clone()}, {}),
        ("no factors of a LoRA", pair | {"nowhere.alpha": torch.tensor(2.0)}, {}),
        ("uses use_dora", pair, {"use_dora": True}),
        ("is no number", pair | {f"{key}.alpha": torch.ones(2)}, {}),
        ("is no number", pair, {"lora_alpha": "much"}),
        ("is no number", pair, {"alpha_pattern": ["to_k"]}),
        ("is no number", pair, {"alpha_pattern": {"(": 2}}),
        ("is a LOHA", pair, {"peft_type": "LOHA"}),
    ]
    twice = pair | {f"unet.{name}": tensor.clone() for name, tensor in pair.items()}
    faults.append(("changes a layer twice", twice, {}))
    older = key.replace("attn2.to_k", "attn2.processor.to_k_lora")
    faults.append(
        (
            "stand for one twice",
            pair | {f"{older}.down.weight": down.clone(), f"{older}.up.weight": up.clone()},
            {},
        )
    )
    for said, tensors, options in faults:
        assert said in refusal(folders["sd1"], lora(tmp_path, tensors, **options))
    nothing = lora(tmp_path, pair | {f"{key}.lora_B.weight": torch.zeros(16, 2)})
    with pytest.raises(AuditorError, match="changes nothing"):
        assert replaced(folders["sd1"], nothing).network


def test_a_replacement_that_is_not_there_or_not_known(folders, tmp_path):
    assert "no such file or directory" in _located(folders["sd1"], tmp_path / "nowhere")
    (tmp_path / "u.npz").write_bytes(b"x")
    assert "ends in .safetensors" in _located(folders["sd1"], tmp_path / "u.npz")
    (tmp_path / "empty").mkdir()
    assert "none of the known forms" in _located(folders["sd1"], tmp_path / "empty")
    shutil.copytree(folders["sd1"] / "vae", tmp_path / "vae")
    assert "AutoencoderKL" in _located(folders["sd1"], tmp_path / "vae")
    (tmp_path / "vae" / "adapter_config.json").write_text("{}")
    assert "a PEFT adapter and a model" in _located(folders["sd1"], tmp_path / "vae")


def test_two_encoders_that_fit_alike_are_not_chosen_between(folders, pipelines, tmp_path):
    networks = {
        "unet": make_unet(),
        "text_encoder": make_text_encoder(),
        "text_encoder_2": make_text_encoder(),
    }
    erased = make_text_encoder(seed=9).state_dict()
    torch.save(erased, tmp_path / "te.pt")
    with pytest.raises(AuditorError, match="fits text_encoder and text_encoder_2 alike"):
        apply(find_replacement(str(tmp_path / "te.pt")), networks)
    torch.save({f"text_encoder_2.{n}": t for n, t in erased.items()}, tmp_path / "te.pt")
    apply(find_replacement(str(tmp_path / "te.pt")), networks)
    assert differing(erased, networks["text_encoder_2"].state_dict()) == set()
