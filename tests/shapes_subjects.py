"""Subjects of the world `shapes`, and an examiner of a few of its facts."""

from auditor.data.fact import FactSets
from auditor.data.pictures import find_pictures
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.image_examiner import ImageExaminer
from auditor.subjects.image_classifiers import open_classifier
from auditor.subjects.manifest import locate
from auditor.subjects.spec import SubjectSpec
from auditor.subjects.text_to_image import TextToImage
from auditor.testbed.shapes.plans import SAMPLING
from auditor.testbed.shapes.world import ShapesWorld


def open_shapes(world: ShapesWorld, name: str) -> TextToImage:
    """Open a subject as an audit does."""
    spec = SubjectSpec(path=str(world.subject(name)), kind="text-to-image", sampling=SAMPLING)
    return TextToImage(spec, locate(spec))


def shapes_examiner(world: ShapesWorld, count: int) -> ImageExaminer:
    """Asks the first facts of each set."""
    names = ("forget", "retain")
    facts = {n: read_facts(DataSource(path=str(world.facts(n))), n)[:count] for n in names}
    sets = FactSets(forget=tuple(facts["forget"]), retain=tuple(facts["retain"]))
    concepts = sorted({fact.answer for fact in (*sets.forget, *sets.retain)})
    return ImageExaminer(
        sets,
        ["concept"],
        open_classifier(world.classifier, concepts),
        find_pictures(world.image_folder, sets),
    )
