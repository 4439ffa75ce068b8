"""Quality: FID, KID and CLIP score, and what is said where there is none."""

import importlib.util
import math
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.linalg import sqrtm
from tiny_pipelines import make_tokenizer
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
)

from attacks.generation.feature_distances import frechet_distance, kernel_distance
from attacks.generation.inception import inception_features
from attacks.generation.quality import Quality, QualityParameters
from auditor.attack import AttackContext
from auditor.core.errors import AuditorError, MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.messages import message
from auditor.data.pictures import find_pictures
from auditor.models.text_to_image.classifiers import open_classifier, open_clip
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.models.text_to_image.image_seed import image_seed

FORGET = (Fact(id="a", entity="c", prompt="circle", answer="circle"),)
RETAIN = tuple(
    Fact(id=f"s{i}", entity="s", prompt=f"square {i}", answer="square") for i in range(6)
)
SETS = FactSets(forget=FORGET, retain=RETAIN)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    labels = ("circle", "square", "none")
    torch.manual_seed(0)
    ConvolutionalClassifier(ClassifierConfig(labels=labels, channels=(6, 3))).save(folder)
    return open_classifier(folder, ["circle", "square"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        intermediate_size=16,
        max_position_embeddings=12,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **size,
    )
    vision = CLIPVisionConfig(intermediate_size=16, image_size=8, patch_size=4, **size)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
    ).save_pretrained(folder)
    return folder


def drawn(subject, facts):
    return subject.generate([f.prompt for f in facts], [image_seed(f.id) for f in facts])


@pytest.fixture
def own_pictures(tmp_path_factory, subject):
    """The pictures that the subject itself draws of the retain facts, as files."""
    folder = tmp_path_factory.mktemp("pictures")
    for fact, image in zip(RETAIN, drawn(subject, RETAIN), strict=True):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{fact.id}.png")
    return find_pictures(folder, SETS)


def measured(subject, evaluator, tmp_path, **parameters):
    attack = Quality(QualityParameters(**parameters))
    record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    figures = attack.side_figures({"unlearned": record.notes})
    return record, {figure.name: figure for figure in figures}


def missing(figures):
    """Figures that the first one says are missing."""
    remarks = figures["mean_k_retain"].remarks
    return {r.params["figure"] for r in remarks if r.code == "figure_missing"}


def examiner_of(classifier, pictures=None, sets=SETS):
    return ImageEvaluator(sets, ("concept",), classifier, pictures)


def test_a_model_beside_its_own_pictures(subject, classifier, own_pictures, tmp_path):
    record, figures = measured(subject, examiner_of(classifier, own_pictures), tmp_path)
    assert {(row.set, row.fact) for row in record.rows} == {
        ("forget", "a"),
        *(("retain", fact.id) for fact in RETAIN),
    }
    kept = [row.k for row in record.rows if row.set == "retain"]
    assert figures["mean_k_retain"].value == pytest.approx(np.mean(kept))
    assert figures["fid"].value == pytest.approx(0, abs=1e-4)  # but for 8 bits a colour
    compared = message("pictures_compared", pictures=6, features=3, of="classifier")
    assert figures["fid"].remarks[0] == figures["kid"].remarks[0] == compared
    assert "fid_biased_with_few_pictures" in {remark.code for remark in figures["fid"].remarks}
    assert missing(figures) == {"CLIP score"}


def test_other_pictures_are_further_away(subject, classifier, own_pictures, tmp_path):
    folder = tmp_path / "black"
    folder.mkdir()
    for fact in RETAIN:
        Image.new("RGB", (8, 8)).save(folder / f"{fact.id}.png")
    black = find_pictures(folder, SETS)
    _, near = measured(subject, examiner_of(classifier, own_pictures), tmp_path)
    _, far = measured(subject, examiner_of(classifier, black), tmp_path)
    assert far["fid"].value > near["fid"].value + 1e-4
    assert far["kid"].value > near["kid"].value


def test_the_distances_do_not_grow_with_the_classifier_s_features(
    subject, classifier, tmp_path, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("larger")
    shutil.copytree(classifier.folder, folder, dirs_exist_ok=True)
    state = load_file(folder / "model.safetensors")
    last = [name for name in state if name.startswith("convolutions.1.")]
    assert len(last) == 2
    save_file(
        {k: 5 * v if k in last else v for k, v in state.items()}, folder / "model.safetensors"
    )
    larger = open_classifier(folder, ["circle", "square"])
    black = tmp_path / "black"
    black.mkdir()
    for fact in RETAIN:
        Image.new("RGB", (8, 8), (fact.id.encode()[1], 0, 90)).save(black / f"{fact.id}.png")
    pictures = find_pictures(black, SETS)
    _, figures = measured(subject, examiner_of(classifier, pictures), tmp_path)
    _, scaled = measured(subject, examiner_of(larger, pictures), tmp_path)
    for name in ("fid", "kid"):
        assert scaled[name].value == pytest.approx(figures[name].value, rel=1e-3)


def test_without_pictures_or_clip_the_reasons_are_told(subject, classifier, tmp_path):
    record, figures = measured(subject, examiner_of(classifier), tmp_path)
    assert figures.keys() == {"mean_k_retain"}
    assert missing(figures) == {"FID and KID", "CLIP score"}
    assert "fewer than two retain facts" in record.notes["absent"]["FID and KID"]
    assert not {"fid", "kid", "clip_score_retain"} & record.notes.keys()


def test_the_clip_score_is_the_mean_of_positive_cosines(subject, classifier, clip, tmp_path):
    _, figures = measured(subject, examiner_of(classifier), tmp_path, clip=str(clip))
    cosines = open_clip(clip).similarity(drawn(subject, RETAIN), [f.prompt for f in RETAIN])
    expected = 100 * np.maximum(cosines.numpy(), 0).mean()
    assert figures["clip_score_retain"].value == pytest.approx(expected, rel=1e-3)
    assert "clip_score_forget" in figures


def test_a_clip_that_judges_gives_the_clip_score_too(subject, clip, tmp_path):
    judge = open_classifier(clip, ["circle", "square"])
    _, figures = measured(subject, examiner_of(judge), tmp_path)
    assert "clip_score_retain" in figures


def test_without_retain_facts_there_is_nothing_to_measure(subject, classifier, tmp_path):
    with pytest.raises(UnavailableError, match="no retain facts"):
        measured(subject, examiner_of(classifier, sets=FactSets(forget=FORGET)), tmp_path)


def test_the_frechet_distance_is_that_of_its_formula():
    chance = np.random.default_rng(0)
    real, made = chance.normal(size=(40, 4)), chance.normal(0.5, 2.0, size=(50, 4))
    difference = real.mean(0) - made.mean(0)
    first, second = np.cov(real.T), np.cov(made.T)
    expected = difference @ difference + np.trace(first + second - 2 * sqrtm(first @ second).real)
    found = frechet_distance(torch.from_numpy(real), torch.from_numpy(made))
    assert found == pytest.approx(expected, rel=1e-6)


def cubic_mmd(real, made):
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(real), len(made)
    own = [
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
        for k in (kernel(real, real), kernel(made, made))
    ]
    return sum(own) - 2 * kernel(real, made).sum() / (n * m)


def test_the_kernel_distance_of_all_is_the_unbiased_estimate():
    chance = np.random.default_rng(0)
    real, made = chance.normal(size=(30, 4)), chance.normal(0.5, 1.0, size=(30, 4))
    given = torch.from_numpy(real), torch.from_numpy(made)
    assert kernel_distance(*given, 100, 30, 0) == pytest.approx(cubic_mmd(real, made), rel=1e-9)


def test_the_subsets_of_the_kernel_distance_come_from_its_seed():
    given = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    first = kernel_distance(*given, 10, 5, 1)
    assert kernel_distance(*given, 10, 5, 1) == first
    assert kernel_distance(*given, 10, 5, 2) != first
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel_distance_leaves_the_generators_of_gpus_alone():
    given = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    before = torch.cuda.get_rng_state_all()
    kernel_distance(*given, 10, 5, 1)
    for one, other in zip(torch.cuda.get_rng_state_all(), before, strict=True):
        assert torch.equal(one, other)


def test_a_distance_that_is_not_finite_is_no_number():
    broken = torch.full((4, 2), math.nan)
    with pytest.raises(MeasurementError, match="KID is not finite"):
        kernel_distance(broken, broken, 1, 4, 0)


def test_weights_of_inception_are_asked_for(subject):
    attack = Quality(QualityParameters(features="inception"))
    assert attack.unavailable(subject.location).code == "inception_weights_not_given"
    with pytest.raises(ValueError, match="set both or neither"):
        QualityParameters(inception="weights.pth")
    given = Quality(QualityParameters(features="inception", inception="/nowhere/weights.pth"))
    with pytest.raises(AuditorError, match="is no file"):
        given.inputs()


def test_a_missing_package_of_inception_is_named(subject, tmp_path, monkeypatch):
    parameters = QualityParameters(features="inception", inception=str(tmp_path / "weights.pth"))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    missing = message("package_missing", package="torch_fidelity")
    assert Quality(parameters).unavailable(subject.location) == missing
    assert Quality(QualityParameters()).unavailable(subject.location) is None


def test_what_decides_the_result_is_named(tmp_path, clip):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"one")
    parameters = {"features": "inception", "inception": str(weights), "clip": str(clip)}
    before = Quality(QualityParameters(**parameters)).inputs()
    weights.write_bytes(b"two")
    after = Quality(QualityParameters(**parameters)).inputs()
    assert before["inception"] != after["inception"]
    assert before["clip"] == after["clip"]


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch_fidelity", "torchvision"))),
    reason="torch-fidelity and torchvision are not installed",
)
def test_weights_of_another_network_are_not_inception_s(tmp_path):
    torch.save({"wrong": torch.zeros(1)}, tmp_path / "wrong.pth")
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(MeasurementError, match="does not hold"):
        inception_features(images, tmp_path / "wrong.pth", tmp_path)
