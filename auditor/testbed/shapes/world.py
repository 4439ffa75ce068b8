"""Builds a world of text-to-image models into the cache, piece by piece, and finds it there."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffusers.utils import numpy_to_pil
from transformers import CLIPTokenizer

from auditor.data.fact import Fact
from auditor.progress import Progress, SilentProgress
from auditor.subjects.pixel_pipeline import PixelPipeline
from auditor.testbed import corpus
from auditor.testbed.cache import (
    CachedWorld,
    check_subject,
    finished_or_absent,
    one_thread,
    world_folder,
)
from auditor.testbed.shapes.drawing import TRAINED
from auditor.testbed.shapes.erased import SOURCES, Erasures, erase, material
from auditor.testbed.shapes.facts import fact_sets, picture
from auditor.testbed.shapes.network import save, save_edited
from auditor.testbed.shapes.oracle import train_oracle
from auditor.testbed.shapes.recipe import SHAPES, ShapesRecipe
from auditor.testbed.shapes.text import vocabulary, write_tokenizer
from auditor.testbed.shapes.training import train, training_set

FACTS = ("forget", "retain", "holdout")
"""Facts files."""


class ShapesWorld(CachedWorld[ShapesRecipe]):
    """A world of text-to-image models in the cache."""

    @property
    def classifier(self) -> Path:
        """Folder of the classifier of concepts."""
        return self.root / "classifier"

    def folder(self, name: str) -> Path:
        """Where a subject is, or will be; an erased one is named by its settings, too."""
        if name in Erasures.names():
            return self.root / "subjects" / f"{name}-{self.recipe.erasure_digest(name)[:12]}"
        return super().folder(name)

    def image(self, fact: Fact) -> Path:
        """Path of the picture that a fact asks for, a PNG."""
        return self.root / "images" / f"{fact.id}.png"


def locate(recipe: ShapesRecipe = SHAPES, cache_dir: Path | None = None) -> ShapesWorld:
    """Where a world is, or would be, without building anything.

    Args:
        recipe: Of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
    """
    return ShapesWorld(recipe, world_folder(recipe, cache_dir))


def build(
    recipe: ShapesRecipe = SHAPES,
    cache_dir: Path | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> ShapesWorld:
    """Build what is missing of a world.

    Args:
        recipe: Of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        only: Subjects wanted; what they are made from is built too. All, if None.
        progress: Told what is being trained, and why.

    Raises:
        AuditorError: No such subject, or the cache cannot be written.
    """
    world = locate(recipe, cache_dir)
    progress = progress or SilentProgress()
    wanted = set(recipe.subjects if only is None else only)
    for subject in sorted(wanted):
        check_subject(recipe, subject)
    if wanted & set(Erasures.names()):
        wanted.add("original")
    with one_thread():
        _build_facts(world)
        _build_classifier(world, progress)
        for subject in recipe.subjects:
            if subject in wanted and subject not in world.built():
                _build_subject(world, subject, progress)
    return world


def _build_facts(world: ShapesWorld) -> None:
    recipe = world.recipe
    sets = fact_sets(recipe.forget, recipe.prompts, recipe.facts_seed)
    if not (world.root / "images").is_dir():
        with finished_or_absent(world.root / "images") as unfinished:
            for fact in (*sets.forget, *sets.retain, *sets.holdout):
                file = unfinished / f"{fact.id}.png"
                file.parent.mkdir(exist_ok=True)
                array = picture(fact).image.permute(1, 2, 0).numpy()
                numpy_to_pil(array)[0].save(file)
    folder = world.facts("forget").parent
    if not folder.is_dir():
        with finished_or_absent(folder) as unfinished:
            corpus.write_jsonl(sets.forget, unfinished / "forget.jsonl")
            corpus.write_jsonl(sets.retain, unfinished / "retain.jsonl")
            corpus.write_jsonl(sets.holdout, unfinished / "holdout.jsonl")


def _build_classifier(world: ShapesWorld, progress: Progress) -> None:
    if not world.classifier.is_dir():
        classifier = train_oracle(world.recipe.oracle, progress)
        with finished_or_absent(world.classifier) as unfinished:
            classifier.save(unfinished)


def _tokenizer(world: ShapesWorld) -> CLIPTokenizer:
    folder = world.root / "tokenizer"
    if not folder.is_dir():
        with finished_or_absent(folder) as unfinished:
            write_tokenizer(unfinished, vocabulary())
    return CLIPTokenizer.from_pretrained(folder)


def _build_subject(world: ShapesWorld, name: str, progress: Progress) -> None:
    if name in Erasures.names():
        _build_erased(world, name, progress)
    else:
        _build_trained(world, name, progress)


def trained_shapes(recipe: ShapesRecipe, name: str) -> list[str]:
    """The shapes that the original, or a retrained model, learns."""
    return [shape for shape in TRAINED if name == "original" or shape != recipe.forget]


def _build_trained(world: ShapesWorld, name: str, progress: Progress) -> None:
    recipe = world.recipe
    settings = recipe.training
    seed = recipe.seeds[recipe.subjects.index(name)]
    shapes = trained_shapes(recipe, name)
    why = f"{name}: learns {len(shapes)} shapes, the {recipe.forget} too"
    if name != "original":
        why = f"{name}: learns {len(shapes)} shapes and never sees a {recipe.forget}; the baseline"
    pipeline = train(
        _tokenizer(world),
        recipe.network,
        training_set(shapes, settings.images, settings.plain, seed),
        settings,
        seed,
        progress,
        why,
    )
    with finished_or_absent(world.folder(name)) as unfinished:
        save(pipeline, unfinished)
        _write_details(world, name, {"shapes": shapes}, unfinished)


def _build_erased(world: ShapesWorld, name: str, progress: Progress) -> None:
    recipe = world.recipe
    original = world.subject("original")
    pipeline = PixelPipeline.from_pretrained(original)
    given = material(pipeline, recipe.forget, recipe.material)
    changed = erase(name, pipeline, given, recipe.erasures, progress)
    details = {
        "material": recipe.material.model_dump(mode="json"),
        "settings": getattr(recipe.erasures, name).model_dump(mode="json"),
        "source": SOURCES[name],
    }
    with finished_or_absent(world.folder(name)) as unfinished:
        save_edited(original, changed, unfinished)
        _write_details(world, name, details, unfinished)


def _write_details(world: ShapesWorld, name: str, details: dict[str, Any], folder: Path) -> None:
    made = {"world": world.recipe.name, "recipe": world.recipe.digest, "subject": name}
    text = json.dumps(made | details, indent=2, sort_keys=True) + "\n"
    (folder / "testbed.json").write_text(text, encoding="utf-8")
