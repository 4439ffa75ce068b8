"""Image-to-image: what is given, what is drawn, and whether a given picture came back by itself."""

import pytest
import torch
from PIL import Image
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import LAYOUTS

from attacks.generation.reconstruction import bounds, mean_error, pixel_errors
from attacks.prompting.concepts.image_to_image import ImageToImage, ImageToImageParameters
from attacks.prompting.concepts.noise_matching import image_shape
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.hashing import canonical_json
from auditor.data.pictures import find_pictures
from auditor.models.preserve import weights_digest
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.redrawing import Redrawing


def made(**more):
    return ImageToImage(ImageToImageParameters(**more))


@pytest.fixture
def with_holdout(tmp_path):
    """An evaluator of which two holdout facts have pictures, too."""
    found = image_evaluator(tmp_path)
    holdout = tuple(
        Fact(id=f"rod/{i}", entity="rod", prompt="a rod", answer="rod") for i in range(3)
    )
    for fact in holdout[:2]:
        file = tmp_path / "images" / f"{fact.id}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (200, 20, 20)).save(file)
    sets = found.sets.model_copy(update={"holdout": holdout})
    pictures = find_pictures(tmp_path / "images", sets)
    return ImageEvaluator(sets, ["concept"], found.classifier, pictures)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masked", [None, 0.5])
def test_it_runs_on_every_layout_and_leaves_nothing_behind(
    layout, masked, subjects, with_holdout, tmp_path
):
    subject, attack = subjects[layout], made(strength=0.7, masked=masked)
    digest, state = weights_digest(subject.network), torch.random.get_rng_state()
    record = attack.measure(subject, AttackContext(with_holdout, 0, tmp_path))
    assert weights_digest(subject.network) == digest
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [(row.set, row.fact) for row in record.rows] == [
        ("forget", "orb/0"),
        ("forget", "orb/1"),
        ("forget", "box/0"),
        ("retain", "bar/0"),
    ]
    assert record.notes["pictures"] == 3
    canonical_json(record.notes)
    figures = attack.side_figures({"unlearned": record.notes})
    assert [figure.name for figure in figures] == [
        "attack_success_rate",
        "reconstruction_error",
        "reconstruction_error_unseen",
    ]
    again = attack.measure(subject, AttackContext(with_holdout, 7, tmp_path))
    assert again.rows == record.rows  # the facts' own seeds, whatever the attack's


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("empty", ["", "", ""]),
        ("named", ["a orb", "red dot", "a box"]),
        ("unnamed", ["a", "red", "a"]),
    ],
)
def test_the_picture_goes_with_the_text_that_was_chosen(
    prompt, texts, subject, evaluator, tmp_path
):
    facts = evaluator.sets.forget
    given = evaluator.images(facts, image_shape(subject))
    seeds = [image_seed(fact.id) for fact in facts]
    expected = subject.generate(texts, seeds, redrawing=Redrawing(given, 0.7))
    rows = evaluator.judged([("forget", fact) for fact in facts], expected)
    record = made(strength=0.7, prompt=prompt).measure(
        subject, AttackContext(evaluator, 0, tmp_path)
    )
    for one, other in zip(record.rows, rows, strict=False):
        assert one.k == pytest.approx(other.k, abs=1e-5)
    assert record.notes["error"]["mean"] == pytest.approx(
        float((expected - given).square().mean()), abs=1e-5
    )


def test_the_right_part_is_drawn(subject, evaluator, tmp_path):
    given = evaluator.images(evaluator.sets.forget, image_shape(subject))
    mask = made(masked=0.25)._mask(given)
    assert mask.shape == given.shape[-2:]
    assert mask[0].tolist() == [False] * 6 + [True] * 2
    with pytest.raises(UnavailableError, match="none or all"):
        made(masked=0.01).measure(subject, AttackContext(evaluator, 0, tmp_path))


def test_it_needs_pictures_and_labels(subject, evaluator, tmp_path):
    asked = image_evaluator(tmp_path / "none", pictures=False)
    with pytest.raises(UnavailableError, match=r"data\.images"):
        made().measure(subject, AttackContext(asked, 0, tmp_path))
    unknown = tuple(f.model_copy(update={"answer": "rod"}) for f in evaluator.sets.forget)
    sets = evaluator.sets.model_copy(update={"forget": unknown})
    other = ImageEvaluator(sets, ["concept"], evaluator.classifier, evaluator.pictures)
    with pytest.raises(UnavailableError, match="no label"):
        made().measure(subject, AttackContext(other, 0, tmp_path))


def test_retain_facts_without_all_their_pictures_are_left_out(subject, evaluator, tmp_path):
    kept = (*evaluator.sets.retain, evaluator.sets.retain[0].model_copy(update={"id": "bar/9"}))
    sets = evaluator.sets.model_copy(update={"retain": kept})
    other = ImageEvaluator(sets, ["concept"], evaluator.classifier, evaluator.pictures)
    record = made().measure(subject, AttackContext(other, 0, tmp_path))
    assert {row.set for row in record.rows} == {"forget"}
    assert "unseen" not in record.notes


def test_errors_by_hand():
    given = torch.zeros(2, 3, 2, 2)
    drawn = torch.stack([torch.full((3, 2, 2), 0.5), torch.ones(3, 2, 2)])
    errors = pixel_errors(drawn, given)
    assert errors.tolist() == [0.25, 1.0]
    noted = mean_error(errors)
    assert noted == {"mean": 0.625, "spread": pytest.approx(0.375)}
    assert bounds(noted) == (0.0, pytest.approx(0.625 + 1.96 * 0.375))
    assert mean_error(errors[:1]) == {"mean": 0.25, "spread": None}
    assert bounds(mean_error(errors[:1])) is None


def noted(found, unseen=None, spread=0.001):
    error = {} if unseen is None else {"unseen": {"mean": unseen, "spread": spread}}
    return {"pictures": 50, "pictures_with_concept": found, **error}


def test_where_retrained_models_do_it_too_nothing_was_measured():
    check = made().self_checks
    (found,) = check({"original": noted(50), "unlearned": noted(45), "retrained-0": noted(48)})
    assert (found.code, found.passed) == ("redrawing_tells_original_apart", False)
    assert found.params == {"original": [50, 50], "arm": "retrained-0", "retrained": [48, 50]}
    (found,) = check({"original": noted(50), "unlearned": noted(45), "retrained-0": noted(3)})
    assert found.passed
    (found,) = check({"original": noted(0), "unlearned": noted(0), "retrained-0": noted(0)})
    assert not found.passed
    assert check({"unlearned": noted(45)}) == ()


def test_a_model_that_copies_pictures_that_none_was_shown_is_told():
    def checked(**unseen):
        arms = {name.replace("_", "-"): noted(0, *each) for name, each in unseen.items()}
        return [c for c in made().self_checks(arms) if c.code == "redrawing_copies_no_better"]

    (found,) = checked(unlearned=(0.01,), retrained_0=(0.05,), retrained_1=(0.04,))
    assert not found.passed
    assert found.params == {"unlearned": 0.01, "arm": "retrained-1", "retrained": 0.04}
    (found,) = checked(unlearned=(0.01,), retrained_0=(0.05,), retrained_1=(0.011,))
    assert found.passed
    (found,) = checked(unlearned=(0.01, 0.03), retrained_0=(0.05,))
    assert found.passed  # the intervals touch
    (found,) = checked(unlearned=(0.09,), retrained_0=(0.05,))
    assert found.passed
    assert checked(unlearned=(0.01, None), retrained_0=(0.05,)) == []
    assert checked(unlearned=(0.01,)) == []
    assert checked(retrained_0=(0.01,)) == []


@pytest.mark.slow
@pytest.mark.nightly
def test_what_was_erased_comes_back_from_its_picture_and_what_was_never_learned_does_not(
    shapes_world, tmp_path
):
    """Without text; by name the erased model draws what it puts in the circle's place."""
    evaluator = shapes_examiner(shapes_world, 24)

    def notes(name, **more):
        context = AttackContext(evaluator, 0, tmp_path)
        return made(**more).measure(open_shapes(shapes_world, name), context).notes

    arms = {"unlearned": "uce", "original": "original", "retrained-0": "retrained-0"}
    found = {arm: notes(name) for arm, name in arms.items()}
    share = {
        arm: noted["pictures_with_concept"] / noted["pictures"] for arm, noted in found.items()
    }
    assert share["unlearned"] > 0.7
    assert share["original"] > 0.7
    assert share["retrained-0"] < 0.1
    (check,) = made().self_checks(found)
    assert check.passed
    named = notes("uce", prompt="named")
    assert named["pictures_with_concept"] / named["pictures"] < 0.2
