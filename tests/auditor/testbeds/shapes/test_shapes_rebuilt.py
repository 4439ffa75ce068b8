"""What is built again from nothing is as good as what ships.

Bytes differ between machines, so shares of pictures that the classifier calls by their name are
compared. The trained models take half an hour, so that test is marked `rebuild` and run by hand.
"""

import pytest
import torch

from auditor.core.progress import SilentProgress
from auditor.models.text_to_image.convolutional_classifier import load_classifier
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.cache import one_thread
from auditor.testbeds.people import corpus
from auditor.testbeds.shapes import oracle
from auditor.testbeds.shapes.drawing import TRAINED, draw
from auditor.testbeds.shapes.erased import erase, material
from auditor.testbeds.shapes.plans import SAMPLING
from auditor.testbeds.shapes.recipe import SHAPES
from auditor.testbeds.shapes.shipped import rounded
from auditor.testbeds.shapes.world import build

TOLERANCE = 0.15
"""Largest difference of two shares of 96 pictures: three standard errors where a share is 0.85."""

LEAST_KEPT = {"esd_x": 0.75, "esd_u": 0.65}
"""Of the other shapes, in contexts as well as plain. ESD keeps none of them by what it asks for."""


def shares(pipeline, world):
    """Share of the pictures that show what was asked for: of the erased shape, and of others."""
    classifier = load_classifier(world.classifier)
    labels = classifier.config.labels
    pipeline.set_progress_bar_config(disable=True)
    found = []
    for name in ("forget", "retain"):
        facts = corpus.read_jsonl(world.facts(name))
        images = pipeline(
            [fact.prompt for fact in facts],
            generator=[torch.Generator().manual_seed(image_seed(fact.id)) for fact in facts],
            num_inference_steps=SAMPLING["steps"],
            output_type="pt",
        ).images
        with torch.no_grad():
            told = classifier(images).argmax(-1).tolist()
        hits = [labels[t] == fact.answer for t, fact in zip(told, facts, strict=True)]
        found.append(sum(hits) / len(hits))
    return found


def opened(world, name):
    return PixelPipeline.from_pretrained(world.model_path(name))


@pytest.mark.slow
@pytest.mark.nightly
def test_what_ships_has_forgotten_and_kept_what_it_should(shapes_world):
    drawn = {name: shares(opened(shapes_world, name), shapes_world) for name in SHAPES.models}
    forgotten, kept = drawn["original"]
    assert forgotten >= 0.87
    assert kept >= 0.87
    for name in SHAPES.models[1:]:
        forgotten, kept = drawn[name]
        assert forgotten <= (0.03 if name in SHAPES.retrained else 0.28), name
        assert kept >= LEAST_KEPT.get(name, 0.84), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uce", "rece", "mace"])
@pytest.mark.nightly
def test_closed_forms_of_the_shipped_original_give_what_ships(shapes_world, name):
    original = opened(shapes_world, "original")
    given = material(original, SHAPES.forget, SHAPES.material)
    with one_thread():
        changed = rounded(erase(name, original, given, SHAPES.erasures, SilentProgress()))
    original.unet.load_state_dict(changed, strict=False)
    again, shipped = (
        shares(pipeline, shapes_world) for pipeline in (original, opened(shapes_world, name))
    )
    assert again == pytest.approx(shipped, abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_classifier_trained_again_tells_the_same(shapes_world):
    shipped = load_classifier(shapes_world.classifier)
    with one_thread():
        again = oracle.train_oracle(SHAPES.oracle, SilentProgress())
    pictures = torch.stack(
        [draw(shape, "red", seed).image for shape in TRAINED for seed in range(9)]
    )
    noisy = pictures + 0.2 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = [classifier(noisy.clamp(0, 1)).argmax(-1) for classifier in (shipped, again)]
    expected = torch.arange(len(TRAINED)).repeat_interleave(9)
    for labels in told:
        assert (labels == expected).double().mean() >= 0.95


@pytest.mark.rebuild
@pytest.mark.timeout(3 * 3600)
def test_the_world_built_from_nothing_is_as_good(shapes_world):
    rebuilt = build(SHAPES, weights=None)
    for name in SHAPES.models:
        again, shipped = (shares(opened(world, name), world) for world in (rebuilt, shapes_world))
        tolerance = 2 * TOLERANCE if name in LEAST_KEPT else TOLERANCE
        assert again == pytest.approx(shipped, abs=tolerance), name
