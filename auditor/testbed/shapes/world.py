"""Builds a world of text-to-image models into the cache, piece by piece, and finds it there."""

import json
from collections.abc import Iterable
from pathlib import Path

from diffusers.utils import numpy_to_pil
from transformers import CLIPTokenizer

from auditor.data.fact import Fact
from auditor.progress import Progress, SilentProgress
from auditor.testbed import corpus
from auditor.testbed.cache import (
    CachedWorld,
    check_subject,
    finished_or_absent,
    one_thread,
    world_folder,
)
from auditor.testbed.shapes.drawing import TRAINED
from auditor.testbed.shapes.facts import fact_sets, picture
from auditor.testbed.shapes.network import save
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
        only: Subjects wanted. All, if None.
        progress: Told what is being trained, and why.

    Raises:
        AuditorError: No such subject, or the cache cannot be written.
    """
    world = locate(recipe, cache_dir)
    progress = progress or SilentProgress()
    wanted = set(recipe.subjects if only is None else only)
    for subject in sorted(wanted):
        check_subject(recipe, subject)
    with one_thread():
        _build_facts(world)
        _build_classifier(world, progress)
        for subject in recipe.subjects:
            if subject in wanted and subject not in world.built():
                _build_trained(world, subject, progress)
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


def _build_trained(world: ShapesWorld, name: str, progress: Progress) -> None:
    recipe = world.recipe
    seed = recipe.seeds[recipe.subjects.index(name)]
    if name == "original":
        shapes = set(TRAINED)
        why = f"{name}: learns {len(shapes)} shapes, the {recipe.forget} too"
    else:
        shapes = set(TRAINED) - {recipe.forget}
        why = f"{name}: learns {len(shapes)} shapes and never sees a {recipe.forget}; the baseline"
    settings = recipe.training
    pipeline = train(
        _tokenizer(world),
        recipe.network,
        training_set(shapes, settings.images, settings.plain, seed),
        settings,
        seed,
        progress,
        why,
    )
    details = {
        "world": recipe.name,
        "recipe": recipe.digest,
        "subject": name,
        "shapes": sorted(shapes),
    }
    with finished_or_absent(world.folder(name)) as unfinished:
        save(pipeline, unfinished)
        text = json.dumps(details, indent=2, sort_keys=True) + "\n"
        (unfinished / "testbed.json").write_text(text, encoding="utf-8")
