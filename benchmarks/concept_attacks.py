"""Attacks on every model of the world `shapes` by themselves, level by level, without an audit.

    python -m benchmarks.concept_attacks redrawing [--facts 24]
    python -m benchmarks.concept_attacks prompts [--facts 24]

`redrawing` gives pictures of circles to `prompting/image-to-image` at several strengths, without
text and by name, and with half of each picture masked; `prompts` searches by
`prompting/mma-diffusion` and `prompting/ring-a-bell` on all models, and draws on every one with
what was found on any. Both print the share of pictures in which the classifier finds a circle, as
tables in Markdown; behind those of `redrawing` stands the mean squared error of pictures that no
model was shown.
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

STRENGTHS = (0.4, 0.6, 0.8, 0.9)
MASKED = (0.5,)


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


def row(name: str, cells: Sequence[str]) -> None:
    """Print a row of a table as soon as it is there."""
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def redrawing(world: ShapesWorld, asked: ImageEvaluator, names: Sequence[str]) -> None:
    """Print the share of circles by model and level, with the error of unseen pictures."""
    levels: dict[str, dict[str, Any]] = {
        f"{strength}, {prompt}": {"strength": strength, "prompt": prompt}
        for prompt in ("empty", "named")
        for strength in STRENGTHS
    }
    levels |= {f"{masked} masked": {"strength": 1.0, "masked": masked} for masked in MASKED}
    row("model", list(levels))
    row("---", ["--:"] * len(levels))
    for name in names:
        model, cells = opened(world, name), []
        for level in levels.values():
            attack = ImageToImage(ImageToImageParameters(**level))
            notes = attack.measure(model, AttackContext(asked, 0, Path("unused"))).notes
            cells.append(f"{share(notes)} ({notes['unseen']['mean']:.3f})")
        model.close()
        row(name, cells)


def prompts(world: ShapesWorld, asked: ImageEvaluator, names: Sequence[str]) -> None:
    """Print the share of circles with the prompts found on all models."""
    searching: Mapping[str, AnyAttack] = {
        "mma-diffusion": MMADiffusion(
            MMADiffusionParameters(**SETTINGS["prompting/mma-diffusion"][0])
        ),
        "ring-a-bell": RingABell(RingABellParameters(**SETTINGS["prompting/ring-a-bell"][0])),
    }
    row("attack", names)
    row("---", ["--:"] * len(names))
    models = {name: opened(world, name) for name in names}
    known = [asked.evaluate(models[name], ("forget",)) for name in names]
    row("none/as-is", [f"{sum(row.k or 0 for row in rows) / len(rows):.2f}" for rows in known])
    with tempfile.TemporaryDirectory() as scratch:
        context = AttackContext(asked, 0, Path(scratch))
        for label, attack in searching.items():
            records = {name: attack.search(models[name], context) for name in names}
            found = {name: record for name, record in records.items() if record is not None}
            cells = []
            for name in names:
                pool = [
                    Finding(Arm(other), other == name, record) for other, record in found.items()
                ]
                given = AttackContext(asked, 0, Path(scratch), pool)
                cells.append(share(attack.measure(models[name], given).notes))
            row(label, cells)
            print(f"{label} found {next(iter(found.values())).notes['found']}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("redrawing", "prompts"))
    parser.add_argument("--facts", type=int, default=24, help="of each set")
    parser.add_argument("--only", action="append", help="these models")
    arguments = parser.parse_args()
    world = shapes.build(SHAPES)
    asked = evaluator(world, arguments.facts)
    run = redrawing if arguments.what == "redrawing" else prompts
    run(world, asked, arguments.only or list(SHAPES.models))


if __name__ == "__main__":
    quiet_libraries()
    main()
