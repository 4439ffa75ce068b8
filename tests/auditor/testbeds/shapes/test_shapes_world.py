import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from auditor.core.errors import AuditorError
from auditor.data.checks import check_contradictions
from auditor.models.text_to_image.convolutional_classifier import load_classifier
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds import catalogue
from auditor.testbeds.people import corpus
from auditor.testbeds.shapes import world as world_module
from auditor.testbeds.shapes.drawing import HELD_OUT, TRAINED
from auditor.testbeds.shapes.erased import MaterialRecipe
from auditor.testbeds.shapes.facts import fact_sets, picture
from auditor.testbeds.shapes.recipe import SHAPES
from auditor.testbeds.shapes.world import build, locate
from auditor.unlearning.erasure.settings import ReceSettings, UceSettings

TRAINED_AGAIN = ("retrained-0", "retrained-1")
ERASED = ("uce", "rece", "esd_x", "esd_u", "mace")


@pytest.fixture
def tiny(tiny_shapes, tmp_path):
    return build(tiny_shapes, tmp_path)


def test_builds_pipelines_a_classifier_facts_and_pictures(tiny):
    assert tiny.built() == ("original", *TRAINED_AGAIN, *ERASED)
    for name in tiny.built():
        pipeline = PixelPipeline.from_pretrained(tiny.model_path(name))
        assert pipeline.unet.config.sample_size == 16
    for name in ("original", *TRAINED_AGAIN):
        details = json.loads((tiny.model_path(name) / "testbed.json").read_text())
        assert ("circle" in details["shapes"]) == (name == "original")
    assert set(TRAINED) < set(load_classifier(tiny.classifier).config.labels)
    for name in world_module.FACTS:
        facts = corpus.read_jsonl(tiny.facts(name))
        assert len(facts) == (16 if name == "retain" else 8)
        for fact in facts:
            stored = np.asarray(Image.open(tiny.image(fact)))
            drawn = picture(fact).image.permute(1, 2, 0).numpy() * 255
            assert np.array_equal(stored, drawn.round())


def test_the_same_recipe_gives_the_same_bytes(tiny, tiny_shapes, tmp_path):
    again = build(tiny_shapes, tmp_path / "again")
    files = {path.relative_to(tiny.root) for path in tiny.root.rglob("*") if path.is_file()}
    assert files == {p.relative_to(again.root) for p in again.root.rglob("*") if p.is_file()}
    for file in files:
        assert (tiny.root / file).read_bytes() == (again.root / file).read_bytes(), file


def test_only_builds_what_was_asked_for(tiny_shapes, tmp_path):
    world = build(tiny_shapes, tmp_path, only=["retrained-0"])
    assert world.built() == ("retrained-0",)
    with pytest.raises(AuditorError, match=r"original.*auditor testbed build tiny-shapes"):
        world.model_path("original")
    with pytest.raises(AuditorError, match=r"no model 'uce2'.*original, retrained-0"):
        build(tiny_shapes, tmp_path, only=["uce2"])


def test_erased_models_differ_from_the_original_where_their_method_says(tiny):
    def unet(name):
        return load_file(tiny.model_path(name) / "unet" / "diffusion_pytorch_model.safetensors")

    original = unet("original")
    for name in ERASED:
        changed = {
            key for key, value in unet(name).items() if not torch.equal(value, original[key])
        }
        keys_and_values = {key for key in original if ".attn2.to_k" in key or ".attn2.to_v" in key}
        if name in ("uce", "rece", "mace"):
            assert changed == keys_and_values
        elif name == "esd_x":
            assert changed
            assert all(".attn2." in key for key in changed)
        else:
            assert changed
            assert not any(".attn2." in key for key in changed)
        text = (tiny.model_path(name) / "text_encoder" / "model.safetensors").read_bytes()
        assert text == (tiny.model_path("original") / "text_encoder/model.safetensors").read_bytes()
        details = json.loads((tiny.model_path(name) / "testbed.json").read_text())
        assert details["source"].startswith("arXiv:")


def test_erased_models_are_published_in_their_projects_forms(tiny):
    name = "unet/diffusion_pytorch_model.safetensors"
    original = load_file(tiny.model_path("original") / name)
    for erased in ERASED:
        whole, published = load_file(tiny.model_path(erased) / name), tiny.published(erased)
        if erased == "mace":
            assert published == tiny.model_path(erased)
            continue
        if published.suffix == ".pt":
            state = torch.load(published, weights_only=True)
            assert state.keys() == original.keys()
        else:
            state = load_file(published)
            assert 0 < len(state) < len(original)
        merged = original | state
        assert all(torch.equal(merged[key], whole[key]) for key in original)


def test_another_erasure_trains_nothing_again(tiny, tiny_shapes, tmp_path):
    erasures = tiny_shapes.erasures.model_copy(update={"uce": UceSettings(ridge=2)})
    other = build(tiny_shapes.model_copy(update={"erasures": erasures}), tmp_path, only=["uce"])
    assert other.model_path("original") == tiny.model_path("original")
    assert other.model_path("rece") == tiny.model_path("rece")
    assert other.model_path("uce") != tiny.model_path("uce")


class Killed(BaseException):
    pass


def test_a_killed_build_goes_on_where_it_stopped(tiny_shapes, tmp_path, monkeypatch):
    build(tiny_shapes, tmp_path, only=["original"])

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:  # the weights are written, the folder not yet renamed
        patch.setattr(world_module.json, "dumps", die)
        with pytest.raises(Killed):
            build(tiny_shapes, tmp_path)
    world = locate(tiny_shapes, tmp_path)
    assert world.built() == ("original",)
    weights = "unet/diffusion_pytorch_model.safetensors"
    before = (world.model_path("original") / weights).stat()  # erasures read it: not its atime
    (world.root / "subjects" / ".retrained-0-x" / "unet").mkdir(parents=True)
    assert build(tiny_shapes, tmp_path).built() == tiny_shapes.models
    after = (world.model_path("original") / weights).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_facts_of_the_world_can_be_audited():
    sets = fact_sets(SHAPES.forget, SHAPES.prompts, SHAPES.facts_seed)
    check_contradictions(sets)
    assert [len(sets.named(name)) for name in ("forget", "retain", "holdout")] == [96, 192, 96]
    assert {fact.entity for fact in sets.forget} == {"circle"}
    assert {fact.answer for fact in sets.retain} == {"square", "triangle", "cross"}
    assert {fact.answer for fact in sets.holdout} == set(HELD_OUT)
    first = sets.forget[0]
    assert first.prompt == "a red circle"
    assert first.paraphrases == ("a red disc", "a red dot")


def test_seeds_of_facts_are_pinned_and_all_different():
    sets = fact_sets(SHAPES.forget, SHAPES.prompts, SHAPES.facts_seed)
    seeds = {image_seed(fact.id) for fact in (*sets.forget, *sets.retain, *sets.holdout)}
    assert len(seeds) == 384
    # sha256("circle/red-00") begins with 8 bytes that must stay this number: stored evidence
    assert image_seed("circle/red-00") == 2868947991837548334
    torch.Generator().manual_seed(max(seeds))


def test_the_catalogue_holds_worlds_of_both_kinds(tmp_path):
    names = [recipe.name for recipe in catalogue.list_worlds()]
    assert names == ["people", "people-full-precision", "reasoning", "shapes"]
    for name in names:
        assert catalogue.locate(name, tmp_path).recipe.name == name
    with pytest.raises(AuditorError, match=r"'shape'.*people.*shapes"):
        catalogue.locate("shape", tmp_path)
    with pytest.raises(AuditorError, match="no model 'circle'"):
        catalogue.build("shapes", tmp_path, only=["circle"])


def test_each_digest_moves_with_what_decides_its_piece_and_with_nothing_else():
    def digests(**changed):
        recipe = SHAPES.model_copy(update=changed)
        pieces = (recipe.digest, recipe.facts_digest, recipe.classifier_digest)
        return [*pieces, *(recipe.erasure_digest(name) for name in ERASED)]

    def moved(**changed):
        return [a != b for a, b in zip(digests(), digests(**changed), strict=True)]

    training = SHAPES.training.model_copy(update={"steps": 3})
    oracle = SHAPES.oracle.model_copy(update={"steps": 3})
    erasures = SHAPES.erasures.model_copy(update={"rece": ReceSettings(epochs=7)})
    assert moved(training=training) == [True, *[False] * 7]
    assert moved(prompts=8) == [False, True, *[False] * 6]
    assert moved(oracle=oracle) == [False, False, True, *[False] * 5]
    assert moved(erasures=erasures) == [*[False] * 4, True, *[False] * 3]
    assert moved(material=MaterialRecipe(anchor="cross")) == [*[False] * 3, *[True] * 5]
    assert moved(forget="cross") == [True, True, *[False] * 6]
    assert moved(purpose="another") == [False] * 8
