"""Compositions: what a CLIP reads in composed pictures, and what the unlearned model alone lost."""

import pytest
import torch
from scipy.stats import binomtest
from shapes_subjects import open_shapes, shapes_examiner
from tiny_clips import make_clip, train_clip

from attacks.generation.compositions import (
    Compositions,
    CompositionsParameters,
    reads_as_asked,
)
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.hashing import canonical_json
from auditor.data.compositions import Composition
from auditor.models.preserve import weights_digest
from auditor.models.text_to_image.classifiers import open_classifier, open_clip
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.testbeds.shapes.drawing import COLORS, TRAINED, draw


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    with torch.random.fork_rng(devices=[]):
        make_clip(folder)
    return folder


def made(**more):
    return Compositions(CompositionsParameters(**more))


def test_it_draws_every_composition_and_leaves_nothing_behind(
    subject, evaluator, clip_folder, tmp_path
):
    attack = made(clip=str(clip_folder), prompts=2)
    digest, before = weights_digest(subject.network), subject.meter.forward_tokens
    record = attack.measure(subject, AttackContext(evaluator, 0, tmp_path))
    assert weights_digest(subject.network) == digest
    found = record.notes["compositions"]
    assert [each["kind"] for each in found] == ["colour"] * 2 + ["count"] * 2  # one retain concept
    assert subject.meter.forward_tokens - before == (4 + 3) * 3 * 2
    assert {row.set for row in record.rows} == {"forget"}
    canonical_json(record.notes)
    again = attack.measure(subject, AttackContext(evaluator, 5, tmp_path))
    assert again.notes["compositions"] == found
    assert attack.inputs().keys() == {"clip"}
    assert not Compositions.decides


def test_the_audits_own_clip_is_taken_by_default(subject, evaluator, clip_folder, tmp_path):
    judge = open_classifier(clip_folder, ["orb", "box", "bar"])
    asked = ImageEvaluator(evaluator.sets, ["concept"], judge)
    own = made(prompts=2).measure(subject, AttackContext(asked, 0, tmp_path)).notes
    given = made(prompts=2, clip=str(clip_folder))
    named = given.measure(subject, AttackContext(evaluator, 0, tmp_path)).notes
    assert own["compositions"] == named["compositions"]
    with pytest.raises(UnavailableError, match="name one as `clip`"):
        made().measure(subject, AttackContext(evaluator, 0, tmp_path))
    sets = evaluator.sets.model_copy(update={"retain": ()})
    nothing = ImageEvaluator(sets, ["concept"], judge)
    with pytest.raises(UnavailableError, match="no retain facts"):
        made().measure(subject, AttackContext(nothing, 0, tmp_path))


def noted(*right, kind="colour"):
    return {
        "pictures": 0,
        "compositions": [
            {"kind": kind, "text": f"text {i}", "texts": 4, "right": bool(done)}
            for i, done in enumerate(right)
        ],
    }


def test_shares_stand_beside_chance():
    (figure,) = made().side_figures({"original": noted(1, 1, 1, 0)})
    assert (figure.name, figure.of, figure.value) == ("compositions_drawn", "original", 0.75)
    assert figure.params == {"composition": "colour"}
    exact = binomtest(3, 4).proportion_ci(0.95, method="exact")
    assert (figure.lower, figure.upper) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert figure.remarks[0].params == {"texts": 4.0, "share": 0.25}


def test_lost_is_what_all_others_draw():
    """Of the prompts 0, 1 and 4, which the others all draw, the unlearned model misses two."""
    arms = {
        "unlearned": noted(0, 1, 0, 0, 0),
        "original": noted(1, 1, 1, 0, 1),
        "retrained-0": noted(1, 1, 1, 1, 1),
        "retrained-1": noted(1, 1, 0, 1, 1),
    }

    def lost(arms):
        return [f for f in made().side_figures(arms) if f.name == "compositions_lost"]

    (figure,) = lost(arms)
    assert (figure.of, figure.value) == ("unlearned", pytest.approx(2 / 3))
    assert figure.remarks[0].params == {"count": 3}
    assert lost({name: arms[name] for name in ("unlearned", "original")}) == []
    assert lost(arms | {"original": noted(0, 0, 0, 0, 0)}) == []


@pytest.mark.slow
@pytest.mark.nightly
def test_a_clip_that_was_trained_on_shapes_reads_colours(shapes_world, clip_folder, tmp_path):
    """It reads held-out drawings, and what the original and a retrained model draw of kept ones."""
    folder = tmp_path / "trained"
    with torch.random.fork_rng(devices=[]):
        make_clip(folder, 64)
        kept = [shape for shape in TRAINED if shape != "circle"]
        every = [(shape, color) for shape in kept for color in COLORS]
        drawn = [draw(shape, color, seed).image for seed in range(20) for shape, color in every]
        train_clip(
            folder,
            torch.stack(drawn),
            [f"a {color} {shape}" for _ in range(20) for shape, color in every],
            400,
        )
    clip = open_clip(folder)
    right = [
        reads_as_asked(
            clip,
            draw(shape, color, 99).image,
            Composition(
                "colour",
                f"a {color} {shape}",
                tuple(f"a {other} {shape}" for other in COLORS if other != color),
            ),
        )
        for shape, color in every
    ]
    assert sum(right) >= len(right) - 1
    attack = made(clip=str(folder), prompts=12)
    evaluator = shapes_examiner(shapes_world, 12)
    sets = evaluator.sets.model_copy(
        update={
            "retain": tuple(
                evaluator.sets.retain[0].model_copy(
                    update={"id": shape, "answer": shape, "entity": shape}
                )
                for shape in kept
            )
        }
    )
    asked = ImageEvaluator(sets, ["concept"], evaluator.classifier)
    notes = {
        arm: attack.measure(
            open_shapes(shapes_world, name), AttackContext(asked, 0, tmp_path)
        ).notes
        for arm, name in (
            ("unlearned", "esd_u"),
            ("original", "original"),
            ("retrained-0", "retrained-0"),
        )
    }
    shares = {
        figure.of: figure.value
        for figure in attack.side_figures(notes)
        if figure.params.get("composition") == "colour"
    }
    assert shares["original"] > 0.7
    assert shares["retrained-0"] > 0.7
