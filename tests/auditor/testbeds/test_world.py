import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from auditor.core.errors import AuditorError
from auditor.models.language.layers import linear_layers
from auditor.testbeds.lineage import codes, store_in_4bit
from auditor.testbeds.people import corpus
from auditor.testbeds.people import world as world_module
from auditor.testbeds.people.world import build, list_worlds, locate


@pytest.fixture
def tiny(tiny_recipe, tmp_path):
    return build(tiny_recipe, tmp_path)


def test_builds_ordinary_hugging_face_folders(tiny):
    assert tiny.built() == ("original", "retrained-0", "retrained-1", "npo_gdr")
    for name in tiny.built():
        model = AutoModelForCausalLM.from_pretrained(tiny.model_path(name))
        tokenizer = AutoTokenizer.from_pretrained(tiny.model_path(name))
        assert model.dtype == torch.bfloat16
        assert tokenizer.pad_token_id is not None
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id
        assert model.config.vocab_size == len(tokenizer)
        assert (tiny.model_path(name) / "model.safetensors").is_file()
    fact = corpus.read_jsonl(tiny.facts("forget"))[0]
    ids = tokenizer(f"{fact.prompt} {fact.answer}")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] != tokenizer.eos_token_id


def test_only_models_of_four_bit_lineage_lie_on_the_levels(tiny, tiny_recipe, tmp_path):
    never = build(tiny_recipe.model_copy(update={"lineage": None}), tmp_path, ["original"])
    for world, most in ((tiny, 16), (never, 64)):
        model = AutoModelForCausalLM.from_pretrained(world.model_path("original"))
        name, layer = next(iter(linear_layers(model).items()))
        block = layer.weight.detach().flatten()[:64]
        assert (len(block.unique()) <= 16) == (most == 16), name


def test_stored_original_gives_its_codes_again(tiny):
    model = AutoModelForCausalLM.from_pretrained(tiny.model_path("original"))
    before = {name: codes(layer.weight) for name, layer in linear_layers(model).items()}
    store_in_4bit(model)
    for name, layer in linear_layers(model).items():
        assert torch.equal(codes(layer.weight), before[name]), name


def test_details_say_how_a_subject_was_made(tiny, tiny_recipe):
    details = json.loads((tiny.model_path("npo_gdr") / "testbed.json").read_text())
    assert details["recipe"] == tiny_recipe.digest
    assert details["sources"] == ["arXiv:2404.05868", "arXiv:2407.06460"]
    assert details["steps"] == 2


def test_facts_files(tiny, tiny_recipe):
    counts = {name: len(corpus.read_jsonl(tiny.facts(name))) for name in world_module.FACTS}
    assert counts == {"forget": 8, "retain": 4, "holdout": 8, "retain_full": 8}


def test_cache_folder_is_named_by_the_recipe(tiny_recipe, tmp_path, monkeypatch):
    other = tiny_recipe.model_copy(update={"unlearning_seed": 1})
    assert locate(tiny_recipe, tmp_path).root != locate(other, tmp_path).root
    assert tiny_recipe.digest[:12] in locate(tiny_recipe, tmp_path).root.name
    monkeypatch.setenv("UNLEARNING_AUDITOR_CACHE", str(tmp_path / "elsewhere"))
    assert locate(tiny_recipe).root.is_relative_to(tmp_path / "elsewhere")


def test_the_same_recipe_gives_the_same_bytes(tiny, tiny_recipe, tmp_path):
    again = build(tiny_recipe, tmp_path / "again")
    for name in tiny.built():
        files = sorted(path.name for path in tiny.model_path(name).iterdir())
        assert files == sorted(path.name for path in again.model_path(name).iterdir())
        for file in files:
            first, second = (world.model_path(name) / file for world in (tiny, again))
            assert first.read_bytes() == second.read_bytes(), f"{name}/{file}"


def test_only_builds_what_was_asked_for_and_what_it_comes_from(tiny_recipe, tmp_path):
    world = build(tiny_recipe, tmp_path, only=["npo_gdr"])
    assert world.built() == ("original", "npo_gdr")
    with pytest.raises(AuditorError, match=r"retrained-0.*auditor testbed build tiny"):
        world.model_path("retrained-0")


def test_a_finished_subject_is_not_built_again(tiny, tiny_recipe, tmp_path):
    stamps = {name: (tiny.model_path(name) / "model.safetensors").stat() for name in tiny.built()}
    build(tiny_recipe, tmp_path)
    for name, stamp in stamps.items():
        assert (tiny.model_path(name) / "model.safetensors").stat() == stamp


class Killed(BaseException):
    pass


def test_a_killed_build_goes_on_where_it_stopped(tiny_recipe, tmp_path, monkeypatch):
    build(tiny_recipe, tmp_path, only=["original"])

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:  # the weights are written, the folder not yet renamed
        patch.setattr(world_module.json, "dumps", die)
        with pytest.raises(Killed):
            build(tiny_recipe, tmp_path)
    world = locate(tiny_recipe, tmp_path)
    assert world.built() == ("original",)
    killed_without_a_word = world.root / "subjects" / ".retrained-0-x"
    killed_without_a_word.mkdir()
    (killed_without_a_word / "model.safetensors").write_bytes(b"half")
    assert world.built() == ("original",)
    assert build(tiny_recipe, tmp_path).built() == tiny_recipe.models


def test_unknown_subjects_and_worlds_are_refused(tiny_recipe, tmp_path):
    with pytest.raises(AuditorError, match=r"no model 'gaa'.*original, retrained-0"):
        build(tiny_recipe, tmp_path, only=["gaa"])
    with pytest.raises(AuditorError, match="no testbed world"):
        build("nowhere", tmp_path)


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(tiny_recipe, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(AuditorError, match="UNLEARNING_AUDITOR_CACHE"):
        build(tiny_recipe, blocked)


def test_worlds_are_listed():
    assert [recipe.name for recipe in list_worlds()] == [
        "people",
        "people-full-precision",
        "reasoning",
    ]
