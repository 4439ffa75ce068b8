import random

import pytest
import torch

from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
    load_classifier,
)
from auditor.testbeds.shapes.drawing import COLORS, HELD_OUT, TRAINED, draw
from auditor.testbeds.shapes.oracle import LABELS, OracleTraining, judged_pictures, train_oracle


@pytest.fixture(scope="module")
def oracle(shapes_world):
    return load_classifier(shapes_world.classifier)


def assert_tells_labels(oracle, most_noise):
    settings = OracleTraining(most_noise=most_noise)
    images, labels = judged_pictures(
        500, settings, random.Random(5), torch.Generator().manual_seed(5)
    )
    with torch.no_grad():
        told = oracle(images).argmax(-1)
    for index, label in enumerate(LABELS):
        assert (told[labels == index] == index).double().mean() >= 0.95, label


@pytest.mark.parametrize("most_noise", [0, 0.25])
def test_tells_shapes_and_pictures_of_none(oracle, most_noise):
    assert_tells_labels(oracle, most_noise)


@pytest.mark.nightly
def test_trained_anew_it_tells_them_too():
    assert_tells_labels(train_oracle(OracleTraining(), SilentProgress()), 0.25)


def test_shapes_that_nothing_learns_are_none(oracle):
    images = torch.stack([draw(s, c, 9).image for s in HELD_OUT for c in COLORS])
    assert oracle.probability(images, "none").min() > 0.5
    for shape in TRAINED:
        assert oracle.probability(images, shape).max() < 0.5


def test_every_label_is_shown_as_often():
    _, labels = judged_pictures(50, OracleTraining(), random.Random(0), torch.Generator())
    assert labels.bincount().tolist() == [10] * 5


def test_saved_and_opened_it_says_the_same(oracle, tmp_path):
    oracle.save(tmp_path)
    opened = load_classifier(tmp_path)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(oracle.probability(images, "cross"), opened.probability(images, "cross"))
    assert not opened.training


def test_labels_it_does_not_have_are_refused_by_name(oracle, tmp_path):
    oracle.save(tmp_path)
    assert open_classifier(tmp_path, TRAINED).labels == LABELS
    with pytest.raises(AuditorError, match=r"no label for 'ship'.*'circle', 'square'.*'none'"):
        open_classifier(tmp_path, ["circle", "ship"])
    with pytest.raises(AuditorError, match=r"no label 'ship'.*circle, square"):
        oracle.probability(torch.zeros(1, 3, 16, 16), "ship")


def break_weights(folder):
    (folder / "model.safetensors").write_bytes(b"half")


def swap_weights(folder):
    other = ConvolutionalClassifier(ClassifierConfig(labels=("ship", "none")))
    other.save(folder / "other")
    (folder / "other" / "model.safetensors").rename(folder / "model.safetensors")


def lose_weights(folder):
    (folder / "model.safetensors").unlink()


def repeat_label(folder):
    (folder / "config.json").write_text('{"labels": ["none", "none"]}')


@pytest.mark.parametrize("spoil", [break_weights, swap_weights, lose_weights, repeat_label])
def test_a_folder_that_holds_no_classifier_is_an_error_that_says_so(oracle, tmp_path, spoil):
    oracle.save(tmp_path)
    (tmp_path / "other").mkdir()
    spoil(tmp_path)
    with pytest.raises(AuditorError, match="holds no classifier that opens"):
        load_classifier(tmp_path)
