"""Subjects of the world `shapes`, and an evaluator of a few of its facts."""

from auditor.core.facts import FactSets
from auditor.data.pictures import find_pictures
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.opening import locate
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.evaluator import ImageEvaluator
from auditor.models.text_to_image.model import TextToImage
from auditor.models.text_to_image.spec import TextToImageSpec
from auditor.testbeds.shapes.plans import SAMPLING
from auditor.testbeds.shapes.world import ShapesWorld


def open_shapes(world: ShapesWorld, name: str) -> TextToImage:
    """Open a subject as an audit does."""
    spec = TextToImageSpec(path=str(world.model_path(name)), sampling=SAMPLING)
    return TextToImage(spec, locate(spec))


def shapes_examiner(world: ShapesWorld, count: int) -> ImageEvaluator:
    """Asks the first facts of each set."""
    names = ("forget", "retain")
    facts = {n: read_facts(DataSource(path=str(world.facts(n))), n)[:count] for n in names}
    sets = FactSets(forget=tuple(facts["forget"]), retain=tuple(facts["retain"]))
    concepts = sorted({fact.answer for fact in (*sets.forget, *sets.retain)})
    return ImageEvaluator(
        sets,
        ["concept"],
        open_classifier(world.classifier, concepts),
        find_pictures(world.image_folder, sets),
    )
