"""An evaluator of pictures for tiny pipelines: two concepts, random pictures, a network."""

from pathlib import Path

import torch
from PIL import Image

from auditor.core.facts import Fact, FactSets
from auditor.data.pictures import find_pictures
from auditor.models.text_to_image.classifiers import open_classifier
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)
from auditor.models.text_to_image.evaluator import ImageEvaluator


def facts() -> FactSets:
    """Short enough that a name survives the tiny tokenizer's length."""

    def fact(answer: str, number: int, prompt: str, *paraphrases: str) -> Fact:
        return Fact(
            id=f"{answer}/{number}",
            entity=answer,
            prompt=prompt,
            answer=answer,
            paraphrases=paraphrases,
        )

    return FactSets(
        forget=(
            fact("orb", 0, "a orb", "a dot"),
            fact("orb", 1, "red dot"),
            fact("box", 0, "a box"),
        ),
        retain=(fact("bar", 0, "a bar"),),
    )


def image_evaluator(folder: Path, *, pictures: bool = True, size: int = 16) -> ImageEvaluator:
    """Judges with a random network; every fact has a picture of noise, or none has."""
    sets = facts()
    draws = torch.Generator().manual_seed(0)
    for fact in (*sets.forget, *sets.retain):
        file = folder / "images" / f"{fact.id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (size, size, 3), generator=draws, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(file)
    classifier = folder / "classifier"
    classifier.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        labels = ("orb", "box", "bar", "none")
        ConvolutionalClassifier(ClassifierConfig(labels=labels, channels=(4, 4))).save(classifier)
    return ImageEvaluator(
        sets,
        ["concept"],
        open_classifier(classifier, ["orb", "box", "bar"]),
        find_pictures(folder / "images", sets) if pictures else None,
    )
