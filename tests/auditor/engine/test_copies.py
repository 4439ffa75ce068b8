"""Checkpoints that are one model, and honest ones that are nearly so."""

import copy
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest_file
from auditor.core.progress import SilentProgress
from auditor.engine.copies import copy_of, made_from
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.models.manifest import Location, Manifest
from auditor.models.weight_change import carried
from auditor.store.folder_store import FolderStore

NOISE = 1e-6


def located(model, folder, **options):
    """A model saved in a folder, as an audit finds it."""
    model.save_pretrained(folder, **options)
    files = {f.name: digest_file(f) for f in folder.glob("*.safetensors")}
    return Location(model=folder, adapter=None, manifest=Manifest(files=files))


def trained(model, rate, steps=20, only=("",)):
    """A copy that was trained on random text."""
    model = copy.deepcopy(model)
    chosen = [p for n, p in model.named_parameters() if any(part in n for part in only)]
    optimizer = torch.optim.AdamW(chosen, lr=rate, weight_decay=0.0)
    draw = torch.Generator().manual_seed(7)
    for _ in range(steps):
        tokens = torch.randint(0, 64, (4, 12), generator=draw)
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return trained(LlamaForCausalLM(config), 3e-3)


@pytest.fixture(scope="module")
def unlearned(model, tmp_path_factory):
    return located(model, tmp_path_factory.mktemp("unlearned") / "U")


def with_noise(model):
    noisy = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.add_(NOISE * torch.randn_like(parameter))
    return noisy


def rescaled(model):
    """The same function, with other scales of two matrices of each block."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in other.model.layers:
            layer.mlp.up_proj.weight.mul_(8.0)
            layer.mlp.down_proj.weight.div_(8.0)
    return other


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (copy.deepcopy, {"max_shard_size": "20kB"}),
        (with_noise, {}),
        (rescaled, {}),
        (lambda model: copy.deepcopy(model).to(torch.bfloat16), {}),
        (lambda model: copy.deepcopy(model).to(torch.float16), {}),
    ],
    ids=["other shards", "noise", "rescaled", "bfloat16", "float16"],
)
def test_a_model_saved_again_is_a_copy(model, unlearned, tmp_path, made, options):
    found = copy_of(unlearned, located(made(model), tmp_path / "R", **options))
    assert found is not None
    assert found.matrices >= 2 * 7 + 1
    assert found.largest < 2e-3


@pytest.mark.parametrize(
    ("rate", "only"),
    [(1e-3, ("",)), (1e-4, ("",)), (1e-4, ("q_proj", "v_proj"))],
    ids=["trained on", "small learning rate", "two matrices a block"],
)
def test_a_model_trained_on_is_none(model, unlearned, tmp_path, rate, only):
    """Honest retrained models may share a base, and move few matrices by little."""
    assert copy_of(unlearned, located(trained(model, rate, only=only), tmp_path / "R")) is None


def test_models_of_another_shape_are_not_compared(unlearned, tmp_path):
    config = LlamaConfig.from_pretrained(unlearned.model)
    config.hidden_size = 16
    assert copy_of(unlearned, located(LlamaForCausalLM(config), tmp_path / "R")) is None


def louder(size):
    """Makes a copy with noise of a share of each matrix."""

    def made(model):
        other, draw = copy.deepcopy(model), torch.Generator().manual_seed(3)
        with torch.no_grad():
            for weight in other.parameters():
                scale = size * weight.square().mean().sqrt()
                weight.add_(scale * torch.randn(weight.shape, generator=draw))
        return other

    return made


def rounded(model):
    """A copy whose matrices were rounded to 16 values in each group of a row."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.ndim > 1:
                groups = weight.view(len(weight), -1, 16)
                step = groups.abs().amax(-1, keepdim=True) / 7.5
                groups.copy_((groups / step).round().clamp(-8, 7) * step)
    return other


@pytest.fixture(scope="module")
def relearned(model):
    """What unlearning made of the model."""
    return trained(model, 1e-3)


@pytest.mark.parametrize(
    "made", [louder(0.01), louder(0.1), rounded], ids=["noise of 1 %", "noise of 10 %", "rounded"]
)
def test_a_retrained_model_that_was_made_from_the_unlearned_one(model, relearned, made, tmp_path):
    """Too far away for a copy, and it still goes the unlearned model's way."""
    unlearned, original = located(relearned, tmp_path / "U"), located(model, tmp_path / "O")
    retrained = located(made(relearned), tmp_path / "R")
    assert copy_of(unlearned, retrained) is None
    found = made_from(unlearned, original, retrained)
    assert found is not None
    assert found.slope == pytest.approx(1.0, abs=0.03)
    assert found.matrices >= 2 * 7


@pytest.mark.parametrize("place", ["another start", "the same base", "the base"])
def test_an_honest_retrained_model_was_not_made_from_it(model, relearned, place, tmp_path):
    torch.manual_seed(5)
    base = LlamaForCausalLM(model.config) if place == "another start" else copy.deepcopy(model)
    original = base if place == "another start" else trained(base, 1e-3)
    unlearned = base if place == "the base" else trained(original, 5e-4, steps=10)
    torch.manual_seed(6)
    start = LlamaForCausalLM(model.config) if place == "another start" else base
    retrained = trained(start, 1e-3, steps=15)
    places = [
        located(one, tmp_path / name)
        for name, one in (("U", unlearned), ("O", original), ("R", retrained))
    ]
    assert made_from(*places) is None


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.25, 1.0])
def test_a_share_of_a_movement_is_found_again_in_noise(share):
    draw = torch.Generator().manual_seed(1)
    original, moved, noise = (torch.randn(60, 80, generator=draw) for _ in range(3))
    found = carried(original + moved, original, original + share * moved + 0.3 * noise)
    assert found.error == pytest.approx(0.3 / math.sqrt(60 * 80), rel=0.05)
    assert found.slope == pytest.approx(share, abs=4 * found.error)
    assert carried(original, original, original + noise) is None


def test_what_unlearning_left_alone_tells_nothing(model, tmp_path):
    places = [located(model, tmp_path / name) for name in "UO"]
    assert made_from(*places, located(louder(0.1)(model), tmp_path / "R")) is None


def test_a_rounded_file_of_the_unlearned_model_is_no_baseline(people, tmp_path):
    written = pytest.importorskip("written_gguf")
    folder = people.model_path(people.recipe.demo)
    file = tmp_path / "retrained-0.gguf"
    written.write_gguf(
        file,
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
        "q8_0",
    )

    def spec(path):
        return {"path": str(path), "dtype": "float32"}

    plan = parse_plan(
        {
            "unlearned": spec(folder),
            "original": spec(people.model_path("original")),
            "retrained": [spec(file)],
            "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [],
            "policy": {"mandatory": ["none/as-is"]},
        },
        "the test's plan",
    )
    with pytest.raises(AuditorError, match="retrained-0 was made from unlearned: in all of 1"):
        prepare(plan, FolderStore(tmp_path / "store"), SilentProgress())
