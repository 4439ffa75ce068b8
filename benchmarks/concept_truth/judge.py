"""The second judge of images beside the classifier: honest and erased models, other styles.

    python -m benchmarks.concept_truth.judge

Prints K of both for what models of the world `shapes` draw without attack, and for drawings of the
concept in the styles of hiders; for retrained models also rho of each against the other.
"""

import numpy as np
import torch
from torch import Tensor

from auditor.core.facts import FactSets
from auditor.core.quiet import quiet_libraries
from auditor.data.pictures import find_pictures
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.statistics.arms import Arms
from auditor.statistics.figures import measure
from auditor.statistics.margins import Margins
from auditor.testbeds.shapes import world as shapes
from auditor.testbeds.shapes.facts import picture
from auditor.testbeds.shapes.world import ShapesWorld
from benchmarks.concept_truth.hiders import STYLES
from benchmarks.concept_truth.world import Gallery

METRICS = ("concept", "concept-likeness")
HONEST = ("retrained-0", "retrained-1")
MODELS = ("original", *HONEST, "rece", "esd_x")


def evaluator(world: ShapesWorld) -> ImageEvaluator:
    """All facts of the world, read by both."""
    sets = FactSets(
        **{
            name: tuple(read_facts(DataSource(path=str(world.facts(name))), name))
            for name in ("forget", "retain")
        }
    )
    concepts = sorted({fact.answer for fact in (*sets.forget, *sets.retain)})
    classifier = open_classifier(world.classifier, concepts)
    return ImageEvaluator(sets, METRICS, classifier, find_pictures(world.image_folder, sets))


def knowledge(reader: ImageEvaluator, images: Tensor) -> dict[str, np.ndarray]:
    """K of images of the forget facts, by metric."""
    rows = reader.judged([("forget", fact) for fact in reader.sets.forget], images)
    return {name: np.array([row.k for row in rows if row.metric == name]) for name in METRICS}


def against(known: dict[str, dict[str, np.ndarray]], subject: str, metric: str) -> str:
    """Rho of a retrained model against the other, with its upper bound and leaks."""
    (other,) = (name for name in HONEST if name != subject)
    arms = Arms(known[subject][metric], known["original"][metric], known[other][metric][None])
    gap = float((arms.original - arms.retrained[0]).mean())
    found = measure(arms, Margins(), "census", no_attack_gap=gap, tests=1, mandatory=True)
    leaked = "" if found.leak_count is None else f", {len(found.leak_count.facts)} leaks"
    return f"{found.rho:.3f}, at most {found.rho_upper:.3f}{leaked}"


def main() -> None:
    """Draw, read and print."""
    world = shapes.build(only=MODELS)
    reader, gallery = evaluator(world), Gallery(world)
    known = {name: knowledge(reader, gallery.drawn(world.model_path(name))) for name in MODELS}
    drawings = [picture(fact) for fact in reader.sets.forget]
    known |= {
        f"drawings: {style}": knowledge(reader, torch.stack([altered(one) for one in drawings]))
        for style, altered in STYLES.items()
    }
    print("| pictures | classifier | judge | rho, classifier | rho, judge |")
    print("| --- | --: | --: | --- | --- |")
    for name, read in known.items():
        means = " | ".join(f"{read[metric].mean():.3f}" for metric in METRICS)
        rhos = (against(known, name, metric) if name in HONEST else "-" for metric in METRICS)
        print(f"| {name} | {means} | {' | '.join(rhos)} |")


if __name__ == "__main__":
    quiet_libraries()
    main()
