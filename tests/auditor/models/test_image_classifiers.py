"""Classifiers of three kinds, opened from folders that are made here from configurations."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_clips import SIDE, make_clip
from transformers import (
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

from auditor.core.errors import AuditorError, MeasurementError
from auditor.core.facts import Fact
from auditor.metrics.concepts import ConceptDetector
from auditor.models.text_to_image.classifiers import locate_classifier, open_classifier, open_clip
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
    load_classifier,
)
from auditor.models.text_to_image.drawn import Drawn
from auditor.models.text_to_image.hugging_face_classifiers import NEUTRAL, TEMPLATE

LABELS = ("circle", "square", "crane", "tench, Tinca tinca", "crane, machine")


def make_plain(folder):
    torch.manual_seed(0)
    ConvolutionalClassifier(ClassifierConfig(labels=LABELS, channels=(4, 6))).save(folder)


def vit_config(**more):
    return ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIDE,
        patch_size=8,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        **more,
    )


def make_vit(folder, kind=ViTForImageClassification, **more):
    torch.manual_seed(0)
    kind(vit_config(**more)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


MAKERS = {"plain": make_plain, "vit": make_vit, "clip": make_clip}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, make in MAKERS.items():
        made[name] = tmp_path_factory.mktemp(name)
        make(made[name])
    return made


@pytest.fixture(scope="module")
def images():
    """Of 8 bits, so that the rounding to 8 bits changes nothing."""
    drawn = torch.randint(0, 256, (70, 3, 12, 12), generator=torch.Generator().manual_seed(3))
    return drawn / 255


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_judges_images(folders, images, kind):
    classifier = open_classifier(folders[kind], ["square", "circle"])
    found = classifier.probabilities(images)
    assert found.shape == (70, len(classifier.labels))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(70))
    own = classifier.probability(images[:3], ["square", "circle", "square"])
    columns = [classifier.labels.index(name) for name in ("square", "circle", "square")]
    torch.testing.assert_close(own, found[torch.arange(3), columns])
    assert classifier.probabilities(images[:0]).shape == (0, len(classifier.labels))
    assert classifier.features(images).shape[0] == 70


@pytest.mark.parametrize("kind", MAKERS)
def test_an_image_that_is_not_finite_is_no_number(folders, images, kind):
    broken = images[:2].clone()
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(MeasurementError, match="not finite"):
        open_classifier(folders[kind], ["circle"]).probabilities(broken)


def test_an_output_that_is_not_finite_is_no_number(tmp_path, images):
    make_plain(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["output.bias"][0] = torch.nan
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(MeasurementError, match="not finite"):
        open_classifier(tmp_path, ["circle"]).probability(images, ["circle"] * 70)


def test_a_model_of_the_library_gives_what_it_gives_on_a_file(folders, images, tmp_path):
    file = tmp_path / "image.png"
    pixels = (images[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file)
    model = ViTForImageClassification.from_pretrained(folders["vit"]).eval()
    processor = ViTImageProcessorPil.from_pretrained(folders["vit"])
    given = processor(images=Image.open(file), return_tensors="pt")
    with torch.no_grad():
        expected = model(**given).logits.softmax(-1)[0]
    found = open_classifier(folders["vit"], ["circle"]).probabilities(images[:1])[0]
    torch.testing.assert_close(found, expected)


def test_features_are_what_the_last_layer_gets(folders, images):
    classifier = open_classifier(folders["vit"], ["circle"])
    model = ViTForImageClassification.from_pretrained(folders["vit"]).eval()
    logits = model.classifier(classifier.features(images[:4]))
    torch.testing.assert_close(logits.softmax(-1), classifier.probabilities(images[:4]))


def test_features_of_the_small_network_are_its_last_map_averaged(folders, images):
    classifier = open_classifier(folders["plain"], ["circle"])
    hidden = images[:4] * 2 - 1
    for convolution in load_classifier(folders["plain"]).convolutions:
        hidden = convolution(hidden).relu()
    torch.testing.assert_close(classifier.features(images[:4]), hidden.mean((2, 3)))


def test_what_was_drawn_is_judged_by_each_name_of_a_label(folders, images):
    classifier = open_classifier(folders["plain"], ["circle"])
    answers = ["circle", "Tinca tinca", "square"]
    facts = [Fact(id=name, entity=name, prompt=name, answer=name) for name in answers]
    drawn = Drawn(facts, images[:3], classifier)
    assert torch.equal(drawn.own, drawn.probabilities[torch.arange(3), torch.tensor([0, 3, 1])])
    assert torch.equal(drawn.own, classifier.probability(images[:3], answers))


def test_a_multi_label_model_is_read_by_label(tmp_path, images):
    make_vit(tmp_path, problem_type="multi_label_classification")
    found = open_classifier(tmp_path, ["circle"]).probabilities(images[:2])
    assert (found.sum(1) > 1.5).all()  # five labels of about one half each


def test_zero_shot_is_the_softmax_of_the_concepts_and_none(folders, images):
    classifier = open_classifier(folders["clip"], ["circle", "square", "circle"])
    assert classifier.labels == ("circle", "square", NEUTRAL)
    model = CLIPModel.from_pretrained(folders["clip"]).eval()
    processor = CLIPImageProcessorPil.from_pretrained(folders["clip"])
    tokenizer = CLIPTokenizer.from_pretrained(folders["clip"])
    texts = tokenizer(
        ["a photo of a circle", "a photo of a square", "a photo"],
        padding=True,
        return_tensors="pt",
    )
    pixels = [(image * 255).round().to(torch.uint8).numpy() for image in images[:3]]
    given = processor(images=pixels, input_data_format="channels_first", return_tensors="pt")
    with torch.no_grad():
        out = model(**texts, **given)
    found = classifier.probabilities(images[:3])
    torch.testing.assert_close(found, out.logits_per_image.softmax(-1))
    similarity = open_clip(folders["clip"]).similarity(
        images[:3], ["a photo of a circle", "a photo of a square", "a photo"]
    )
    torch.testing.assert_close(
        similarity * model.logit_scale.exp().detach(), out.logits_per_image.diagonal()
    )


def test_one_concept_may_still_be_absent(folders, images):
    found = open_classifier(folders["clip"], ["circle"]).probability(images, ["circle"] * 70)
    assert (found < 1).all()


def test_clip_needs_concepts_and_keeps_its_neutral_word(folders):
    with pytest.raises(AuditorError, match="no labels of its own"):
        open_classifier(folders["clip"], [])
    with pytest.raises(AuditorError, match="rename"):
        open_classifier(folders["clip"], [NEUTRAL])
    with pytest.raises(AuditorError, match="no CLIP"):
        open_clip(folders["vit"])


@pytest.mark.parametrize("kind", ["plain", "vit"])
def test_labels_by_their_names(folders, kind):
    classifier = open_classifier(folders[kind], [])
    assert classifier.labels == LABELS
    for name in ("tench", "TINCA tinca", "tench, Tinca tinca"):
        assert classifier.index(name) == 3
    assert classifier.index("crane") == 2  # the whole label goes before a name in a list
    with pytest.raises(AuditorError, match=r"more than one label.*'crane'.*'crane, machine'"):
        classifier.index("Crane")


@pytest.mark.parametrize("kind", ["plain", "vit"])
def test_labels_are_called_as_the_audit_does(folders, kind):
    classifier = open_classifier(folders[kind], ["crane", "Machine", "tinca Tinca"])
    assert classifier.labels == ("circle", "square", "crane", "tinca Tinca", "Machine")
    with pytest.raises(AuditorError, match="'tench' and 'Tinca tinca' are one label"):
        open_classifier(folders[kind], ["tench", "Tinca tinca"])


@pytest.mark.parametrize("kind", ["plain", "vit"])
def test_a_concept_without_a_label_is_told_with_the_labels(folders, kind):
    with pytest.raises(AuditorError, match=r"no label for 'cicle'.*'circle', 'square'") as raised:
        open_classifier(folders[kind], ["circle", "cicle"])
    assert "give a classifier that knows it" in str(raised.value)


def test_of_many_labels_the_closest_come_first(tmp_path):
    labels = (*(f"thing {i}" for i in range(50)), "circle")
    ConvolutionalClassifier(ClassifierConfig(labels=labels, channels=(2,))).save(tmp_path)
    with pytest.raises(AuditorError, match=r"its labels are: 'circle'.* and 31 more"):
        open_classifier(tmp_path, ["cicle"])


@pytest.mark.parametrize("kind", MAKERS)
def test_pickled_weights_are_refused(tmp_path, kind):
    MAKERS[kind](tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    for act in (
        lambda: open_classifier(tmp_path, ["circle"]),
        lambda: locate_classifier(str(tmp_path)),
    ):
        with pytest.raises(AuditorError, match="only pickled weights"):
            act()


def test_a_model_without_its_head_is_refused(tmp_path):
    make_vit(tmp_path, ViTModel)
    with pytest.raises(AuditorError, match=r"lacks weights.*classifier\.(bias|weight)"):
        open_classifier(tmp_path, ["circle"])


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_that_comes_with_a_classifier_is_never_run(tmp_path, file):
    make_vit(tmp_path)
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(content | {"auto_map": {"AutoModel": "mine.Mine"}}))
    (tmp_path / "mine.py").write_text("raise SystemExit('ran')")
    for act in (
        lambda: open_classifier(tmp_path, ["circle"]),
        lambda: locate_classifier(str(tmp_path)),
    ):
        with pytest.raises(AuditorError, match=r"auto_map.*never run"):
            act()


@pytest.mark.parametrize(
    ("missing", "said"),
    [("config.json", "no config.json"), ("preprocessor_config.json", "no image processor")],
)
def test_a_missing_file_is_named(tmp_path, missing, said):
    make_vit(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(AuditorError, match=said):
        open_classifier(tmp_path, ["circle"])


def test_a_model_of_another_kind_is_refused(tmp_path):
    make_vit(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 1}))
    with pytest.raises(AuditorError, match="does not load as a classifier"):
        open_classifier(tmp_path, ["circle"])


@pytest.mark.parametrize("kind", MAKERS)
def test_the_digest_names_every_file_that_decides(tmp_path, kind):
    MAKERS[kind](tmp_path)
    before = locate_classifier(str(tmp_path))
    assert before.model == tmp_path
    assert {"config.json", "model.safetensors"} <= before.manifest.files.keys()
    assert kind == "plain" or "preprocessor_config.json" in before.manifest.files
    assert kind != "clip" or "tokenizer.json" in before.manifest.files
    with (tmp_path / "config.json").open("a") as file:
        file.write("\n")
    assert locate_classifier(str(tmp_path)).manifest.digest != before.manifest.digest


@pytest.mark.parametrize("kind", ["clip", "vit"])
def test_a_detector_knows_what_it_was_opened_for_and_says_nothing_of_the_rest(
    folders, images, kind
):
    detector = open_classifier(folders[kind], ["circle"])
    facts = [
        Fact(id=str(i), entity=name, prompt=name, answer=name)
        for i, name in enumerate(["circle", "ring", "circle"])
    ]
    drawn = Drawn(facts, images[:3], open_classifier(folders["plain"], ["circle"]), None, detector)
    found = drawn.detected
    assert found[1] is None
    own = detector.probability(images[[0, 2]], ["circle", "circle"]).tolist()
    assert [found[0], found[2]] == own
    assert [score.k for score in ConceptDetector().read(drawn)] == found
    none = Drawn(facts, images[:3], drawn.classifier)
    assert none.detected == [None] * 3


def test_a_clip_detector_is_asked_for_the_concept_against_a_picture_without_it(folders, images):
    """By hand: the softmax of two cosines, scaled, of `a photo of a circle` and `a photo`."""
    detector = open_classifier(folders["clip"], ["circle"])
    clip = open_clip(folders["clip"])
    asked = [TEMPLATE.format(concept="circle"), NEUTRAL]
    cosines = torch.stack([clip.similarity(images, [text] * len(images)) for text in asked])
    expected = (clip.scale.detach().cpu() * cosines).softmax(0)[0]
    torch.testing.assert_close(
        detector.probability(images, ["circle"] * len(images)), expected, atol=1e-4, rtol=1e-3
    )
