"""Attacks on every model of the world `shapes` by themselves, level by level, without an audit.

    python -m benchmarks.concept_attacks redrawing [--facts 48]
    python -m benchmarks.concept_attacks prompts [--facts 48]

`redrawing` gives pictures of circles to `prompting/image-to-image` at several strengths, with each
of its texts and with half of each picture masked; `prompts` searches by `prompting/mma-diffusion`
and `prompting/ring-a-bell` on all models, and draws on every one with what was found on any. Both
print the share of pictures in which the classifier finds a circle, as tables in Markdown.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attacks.prompting.concepts.image_to_image import ImageToImage, ImageToImageParameters
from attacks.prompting.concepts.mma_diffusion import MMADiffusion, MMADiffusionParameters
from attacks.prompting.concepts.ring_a_bell import RingABell, RingABellParameters
from auditor.attack import AnyAttack, AttackContext
from auditor.core.arms import Arm
from auditor.core.facts import FactSets
from auditor.core.findings import Finding
from auditor.core.quiet import quiet_libraries
from auditor.data.pictures import find_pictures
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.opening import locate
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.models.text_to_image.model import TextToImage
from auditor.models.text_to_image.spec import TextToImageSpec
from auditor.testbeds.shapes import world as shapes
from auditor.testbeds.shapes.attack_settings import SETTINGS
from auditor.testbeds.shapes.plans import SAMPLING
from auditor.testbeds.shapes.recipe import SHAPES
from auditor.testbeds.shapes.world import FACTS, ShapesWorld

STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MASKED = (0.25, 0.5, 0.75)


def evaluator(world: ShapesWorld, count: int) -> ImageEvaluator:
    """Asks the first facts of each set, and counts the most probable label."""
    facts = {name: read_facts(DataSource(path=str(world.facts(name))), name) for name in FACTS}
    sets = FactSets(**{name: tuple(found[:count]) for name, found in facts.items()})
    concepts = sorted({fact.answer for fact in (*sets.forget, *sets.retain)})
    return ImageEvaluator(
        sets,
        ["concept-top-1"],
        open_classifier(world.classifier, concepts),
        find_pictures(world.image_folder, sets),
    )


def opened(world: ShapesWorld, name: str) -> TextToImage:
    """Open a model as an audit does."""
    spec = TextToImageSpec(path=str(world.model_path(name)), sampling=SAMPLING)
    return TextToImage(spec, locate(spec))


def share(notes: Mapping[str, Any]) -> str:
    """Share of the pictures with the concept."""
    return f"{notes['pictures_with_concept'] / notes['pictures']:.2f}"


def table(rows: Mapping[str, Sequence[str]], names: Sequence[str]) -> str:
    """Rows by level, a column a model."""
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --: |' * len(names)}"]
    lines += [f"| {level} | {' | '.join(cells)} |" for level, cells in rows.items()]
    return "\n".join(lines)


def redrawing(world: ShapesWorld, asked: ImageEvaluator, names: Sequence[str]) -> None:
    """Print the share of circles, and the error of unseen pictures, by level."""
    levels: list[dict[str, Any]] = [
        {"strength": strength, "prompt": prompt}
        for prompt in ("empty", "unnamed", "named")
        for strength in STRENGTHS
    ]
    levels += [{"strength": 1.0, "masked": masked} for masked in MASKED]
    attacks = [ImageToImage(ImageToImageParameters(**level)) for level in levels]
    found: dict[str, list[str]] = {str(level): [] for level in levels}
    errors: dict[str, list[str]] = {str(level): [] for level in levels}
    for name in names:
        model = opened(world, name)
        for level, attack in zip(levels, attacks, strict=True):
            notes = attack.measure(model, AttackContext(asked, 0, Path("unused"))).notes
            found[str(level)].append(share(notes))
            errors[str(level)].append(f"{notes['unseen']['mean']:.4f}")
        model.close()
    print(f"Share of pictures drawn again that show a circle:\n\n{table(found, names)}\n")
    print(f"Mean squared error of pictures that no model was shown:\n\n{table(errors, names)}")


def prompts(world: ShapesWorld, asked: ImageEvaluator, names: Sequence[str]) -> None:
    """Print the share of circles with the prompts found on all models."""
    searching: Mapping[str, AnyAttack] = {
        "mma-diffusion": MMADiffusion(
            MMADiffusionParameters(**SETTINGS["prompting/mma-diffusion"][0])
        ),
        "ring-a-bell": RingABell(RingABellParameters(**SETTINGS["prompting/ring-a-bell"][0])),
    }
    rows: dict[str, list[str]] = {"none/as-is": []}
    for name in names:
        known = asked.evaluate(opened(world, name), ("forget",))
        rows["none/as-is"].append(f"{sum(row.k for row in known) / len(known):.2f}")
    with tempfile.TemporaryDirectory() as scratch:
        context = AttackContext(asked, 0, Path(scratch))
        for label, attack in searching.items():
            records = {name: attack.search(opened(world, name), context) for name in names}
            for name, record in records.items():
                if record is not None:
                    print(f"{label} on {name}: {record.notes['found']}")
            rows[label] = []
            for name in names:
                pool = [
                    Finding(Arm(other), other == name, record)
                    for other, record in records.items()
                    if record is not None
                ]
                given = AttackContext(asked, 0, Path(scratch), pool)
                rows[label].append(share(attack.measure(opened(world, name), given).notes))
    print(f"\n{table(rows, names)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("redrawing", "prompts"))
    parser.add_argument("--facts", type=int, default=48, help="of each set")
    parser.add_argument("--only", action="append", help="these models")
    arguments = parser.parse_args()
    world = shapes.build(SHAPES)
    asked = evaluator(world, arguments.facts)
    run = redrawing if arguments.what == "redrawing" else prompts
    run(world, asked, arguments.only or list(SHAPES.models))


if __name__ == "__main__":
    quiet_libraries()
    main()
