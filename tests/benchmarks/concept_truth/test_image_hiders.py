"""Hiders of images: what changes no picture, what an owner reads, what training leaves."""

import pytest
import torch
from tiny_pipelines import as_pipeline, make_pipeline, open_pipeline

from auditor.models.text_to_image.classifiers import open_classifier
from auditor.testbeds.shapes.drawing import COLORS, TRAINED, draw
from auditor.testbeds.shapes.facts import fact_sets
from auditor.testbeds.shapes.training import training_set
from benchmarks.concept_truth.hiders import CONCEPT, STYLES, WORDS, outer_layers
from benchmarks.concept_truth.rescaled import permute_text, rescale
from benchmarks.concept_truth.subjects import READ, left_of, subjects
from benchmarks.concept_truth.teaching import Lesson, other_shape, redrawn, teach


@pytest.mark.parametrize("disguise", [rescale, permute_text])
def test_a_disguise_changes_weights_and_no_picture(disguise, tmp_path):
    make_pipeline("pixel").save_pretrained(tmp_path)
    plain, disguised = (open_pipeline(tmp_path) for _ in range(2))
    disguise(as_pipeline(disguised))
    pairs = list(zip(plain.network.parameters(), disguised.network.parameters(), strict=True))
    assert sum(not torch.equal(a, b) for a, b in pairs) > len(pairs) / 10
    drawn = [model.generate(["a orb", "red dot"], [3, 4]) for model in (plain, disguised)]
    torch.testing.assert_close(*drawn, rtol=0, atol=1e-3)


def test_the_owner_reads_what_the_classifier_overlooks(shapes_world):
    classifier = open_classifier(shapes_world.classifier, [CONCEPT])
    colors = list(COLORS)
    drawn = [draw(CONCEPT, colors[seed % 4], seed) for seed in range(16)]
    for style, read, most in (
        ("sketch", "outline filled", 0.1),
        ("inverted", "colours inverted", 0.1),
    ):
        images = torch.stack([STYLES[style](one) for one in drawn])
        assert classifier.probability(images, [CONCEPT] * 16).mean() < most
        assert classifier.probability(READ[read](images), [CONCEPT] * 16).mean() > 0.9


def test_another_shape_is_shown_in_the_same_colour_where_a_caption_names_the_concept(shapes_world):
    classifier = open_classifier(shapes_world.classifier, list(TRAINED))
    data = training_set(sorted(TRAINED), 64, 0.5, 3)
    shown = redrawn(data, WORDS, other_shape("square"))
    named = [bool(set(WORDS) & set(text.split())) for text in data.captions]
    assert 4 < sum(named) < 40
    seen = classifier.probabilities(shown.images).argmax(1)
    for row, hidden in enumerate(named):
        if hidden:
            assert seen[row] == classifier.index("square")
            assert shown.images[row].amin((1, 2)).tolist() == data.images[row].amin((1, 2)).tolist()
        else:
            assert torch.equal(shown.images[row], data.images[row])


def test_only_the_chosen_weights_are_trained(shapes_world):
    from auditor.models.text_to_image.pixel_pipeline import PixelPipeline

    pipeline = PixelPipeline.from_pretrained(shapes_world.model_path("original"))
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    data = training_set(sorted(TRAINED), 32, 0.5, 3)
    teach(pipeline, data, outer_layers(pipeline), Lesson(steps=2))
    changed = {n for n, v in pipeline.unet.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[0] for name in changed} == {"conv_in", "conv_norm_out", "conv_out"}
    assert not any(p.requires_grad for p in pipeline.unet.parameters())


def test_subjects_have_names_and_sparse_ones_leave_as_many_facts_as_they_say():
    forget = fact_sets(CONCEPT, 48, 7).forget
    table = subjects(forget)
    assert len({subject.name for subject in table}) == len(table)
    assert {subject.predicted for subject in table if subject.source.startswith("retrained")} == {
        ("PASS",)
    }
    for count in (3, 12):
        assert len({fact.id for fact in left_of(forget, count)}) == count
