"""The second judge of pictures: other styles of a concept, honest models, blind pictures."""

import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from torch.nn import functional

from auditor.core.errors import AuditorError
from auditor.models.text_to_image.classifiers import open_classifier, open_judge
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.likeness import Likeness
from auditor.models.text_to_image.oriented_gradients import (
    CELLS,
    ORIENTATIONS,
    oriented_gradients,
)
from auditor.testbeds.shapes.drawing import COLORS, TRAINED, draw, painted

PER_SHAPE = 24


def drawings(shape, first=0):
    return [
        draw(shape, list(COLORS)[seed % len(COLORS)], seed)
        for seed in range(first, first + PER_SHAPE)
    ]


def outline(mask):
    inside = -functional.max_pool2d(-mask[None, None].float(), 3, 1, 1)[0, 0]
    return mask & ~inside.bool()


STYLES = {
    "as it is": lambda one: one.image,
    "silhouette": lambda one: painted(one.mask, (0.0, 0.0, 0.0)),
    "inverted": lambda one: 1 - one.image,
    "sketch": lambda one: painted(outline(one.mask), COLORS["blue"]),
}


@pytest.fixture(scope="module")
def judge():
    given = {shape: [one.image for one in drawings(shape)] for shape in TRAINED}
    pictures = torch.stack([image for images in given.values() for image in images])
    concepts = [shape for shape, images in given.items() for _ in images]
    return Likeness(oriented_gradients, oriented_gradients(pictures), concepts)


def seen(judge, images, concept):
    return sum(judge.of(torch.stack(images), [concept] * len(images))) / len(images)


def test_outlines_have_length_one_and_know_no_colour_or_brightness():
    one = torch.stack([drawings("cross")[0].image])
    described = oriented_gradients(one)
    assert described.shape == (1, ORIENTATIONS * CELLS**2)
    assert described.norm().item() == pytest.approx(1)
    for other in (1 - one, one.flip(1), 0.5 * one + 0.2):
        assert (described @ oriented_gradients(other).T).item() == pytest.approx(1, abs=1e-4)
    assert not oriented_gradients(torch.full((1, 3, 16, 16), 0.5)).any()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("concept", TRAINED)
def test_a_concept_in_another_style_is_like_its_pictures(judge, concept, style):
    judge.check_blind([concept])
    for shape in TRAINED:
        alike = seen(judge, [STYLES[style](one) for one in drawings(shape, 1000)], concept)
        assert alike > 0.5 if shape == concept else alike < 0.05


def test_the_classifier_overlooks_styles_that_the_judge_sees(judge, shapes_world):
    classifier = open_classifier(shapes_world.classifier, ["circle"])
    for style, most in (("sketch", 0.05), ("inverted", 0.05)):
        images = [STYLES[style](one) for one in drawings("circle", 1000)]
        found = classifier.probability(torch.stack(images), ["circle"] * len(images))
        assert found.mean() < most
        assert seen(judge, images, "circle") > 0.6


def test_retrained_models_draw_nothing_like_the_concept(shapes_world):
    """The figure of false alarms: the original's drawings are alike, those of R not one."""
    evaluator = shapes_examiner(shapes_world, 24).with_metrics(["concept-likeness"])
    facts = evaluator.sets.forget
    prompts, seeds = [f.prompt for f in facts], [image_seed(f.id) for f in facts]
    known = {}
    for name in ("original", "retrained-0", "retrained-1"):
        images = open_shapes(shapes_world, name).generate(prompts, seeds)
        rows = evaluator.judged([("forget", fact) for fact in facts], images)
        assert [row.metric for row in rows] == ["concept-likeness"] * len(facts)
        known[name] = [row.k for row in rows]
    assert sum(known["original"]) / len(facts) > 0.75
    assert max(known["retrained-0"]) < 0.05
    assert max(known["retrained-1"]) < 0.05


def test_pictures_of_one_kind_or_of_one_concept_are_refused(judge):
    noise = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    named = ["a", "b"] * 20
    blind = Likeness(oriented_gradients, oriented_gradients(noise), named)
    with pytest.raises(AuditorError, match=r"cannot tell 'a'.*metrics: \{judge"):
        blind.check_blind(["a"])
    alone = Likeness(oriented_gradients, oriented_gradients(noise), ["a"] * 40)
    assert alone.of(noise[:1], ["a"]) == [None]
    for concept in ("a", "unknown"):
        with pytest.raises(AuditorError, match="none of another concept"):
            alone.check_blind([concept])
    assert judge.of(noise[:0], []) == []


def test_a_network_may_judge(shapes_world):
    """Here the features of the classifier itself, which a plan refuses."""
    described = open_judge(shapes_world.classifier)
    pictures = [one.image for shape in TRAINED for one in drawings(shape)]
    concepts = [shape for shape in TRAINED for _ in range(PER_SHAPE)]
    judge = Likeness(described, described(torch.stack(pictures)), concepts)
    judge.check_blind(["circle"])
    assert seen(judge, [one.image for one in drawings("circle", 1000)], "circle") > 0.8
    assert seen(judge, [one.image for one in drawings("square", 1000)], "circle") < 0.05
