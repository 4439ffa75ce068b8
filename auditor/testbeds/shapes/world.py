"""World of text-to-image models, built into the cache piece by piece.

What ships with the package is unpacked; what does not, or everything if asked, is trained.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffusers.utils import logging as diffusers_logging
from diffusers.utils import numpy_to_pil
from torch import Tensor
from transformers import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from auditor.core.facts import Fact, SetName
from auditor.core.progress import Progress, SilentProgress
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.cache import (
    MODELS_FOLDER,
    CachedWorld,
    check_model,
    finished_or_absent,
    one_thread,
    world_folder,
)
from auditor.testbeds.people import corpus
from auditor.testbeds.shapes import network, oracle
from auditor.testbeds.shapes.drawing import TRAINED
from auditor.testbeds.shapes.erased import SOURCES, Erasures, erase, material
from auditor.testbeds.shapes.facts import fact_sets, picture
from auditor.testbeds.shapes.recipe import SHAPES, ShapesRecipe
from auditor.testbeds.shapes.shipped import PACKAGED, ShippedWeights, rounded
from auditor.testbeds.shapes.text import vocabulary, write_tokenizer
from auditor.testbeds.shapes.training import train, training_set
from auditor.unlearning.erasure.formats import write_delta, write_unet_state

FACTS: tuple[SetName, ...] = ("forget", "retain", "holdout")
"""Names of the facts files."""

PUBLISHED: Mapping[str, str] = MappingProxyType(
    {
        "uce": "published.pt",
        "rece": "published.pt",
        "esd_x": "published.safetensors",
        "esd_u": "published.safetensors",
    }
)
"""Files in a model's folder that hold its erased UNet in the form of the method's own project."""

_LOGGING = (diffusers_logging, transformers_logging)


class ShapesWorld(CachedWorld[ShapesRecipe]):
    """A world of text-to-image models in the cache."""

    @property
    def classifier(self) -> Path:
        """Folder of the classifier of concepts."""
        return self.root / f"classifier-{self.recipe.classifier_digest[:12]}"

    @property
    def data(self) -> Path:
        """Folder of facts and pictures."""
        return self.root / f"facts-{self.recipe.facts_digest[:12]}"

    def facts(self, name: str) -> Path:
        """Path of a facts file: ``forget``, ``retain`` or ``holdout``."""
        return self.data / f"{name}.jsonl"

    def folder(self, name: str) -> Path:
        """Return the folder of a model, whether or not it exists.

        The settings of an erased model are part of its name.
        """
        if name in Erasures.names():
            return self.root / MODELS_FOLDER / f"{name}-{self.recipe.erasure_digest(name)[:12]}"
        return super().folder(name)

    def inputs(self) -> dict[str, Path]:
        """Return facts, pictures and classifier, by place in copies."""
        return super().inputs() | {
            "data/images": self.image_folder,
            "models/classifier": self.classifier,
        }

    def published(self, name: str) -> Path:
        """Return an erased model in its project's own form.

        It is a file beside the original, or a folder.

        UCE and RECE: a ``.pt`` with the state dict of the whole UNet. ESD: a ``.safetensors``
        with the changed tensors. MACE: the pipeline itself.

        Raises:
            AuditorError: The world has no such model, or it is not built.
        """
        folder = self.model_path(name)
        return folder / PUBLISHED[name] if name in PUBLISHED else folder

    @property
    def image_folder(self) -> Path:
        """Folder of the pictures that facts ask for, ``<fact id>.png``."""
        return self.data / "images"

    def image(self, fact: Fact) -> Path:
        """Path of the picture that a fact asks for, a PNG."""
        return self.image_folder / f"{fact.id}.png"


def locate(
    recipe: ShapesRecipe = SHAPES, cache_dir: Path | None = None, from_scratch: bool = False
) -> ShapesWorld:
    """Return a world with its folder, without building anything.

    Args:
        recipe: Recipe of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        from_scratch: The one that is built with nothing from the package, which lies beside the
            other, so that both can be compared.
    """
    root = world_folder(recipe, cache_dir)
    return ShapesWorld(
        recipe, root.with_name(f"{root.name}-from-scratch") if from_scratch else root
    )


def build(
    recipe: ShapesRecipe = SHAPES,
    cache_dir: Path | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    weights: ShippedWeights | None = PACKAGED,
) -> ShapesWorld:
    """Build what is missing of a world.

    Args:
        recipe: Recipe of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        only: Models wanted; what they are made from is built too. All, if None.
        progress: Told what is being trained, and why.
        weights: Unpacked instead of trained, where they are this recipe's; None builds from
            scratch, and into a folder of its own.

    Raises:
        AuditorError: No such model, or the cache cannot be written.
    """
    world = locate(recipe, cache_dir, from_scratch=weights is None)
    progress = progress or SilentProgress()
    wanted = set(recipe.models if only is None else only)
    for model in sorted(wanted):
        check_model(recipe, model)
    if wanted & set(Erasures.names()):
        wanted.add("original")
    with one_thread(), _no_library_bars():
        _build_facts(world)
        _build_classifier(world, weights, progress)
        for model in recipe.models:
            if model in wanted and model not in world.built():
                make = _build_erased if model in Erasures.names() else _build_trained
                make(world, model, weights, progress)
    return world


@contextmanager
def _no_library_bars() -> Iterator[None]:
    """Silence the progress bars of libraries.

    Bars over files that take a moment would break the one over training.
    """
    shown = [library for library in _LOGGING if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _build_facts(world: ShapesWorld) -> None:
    if world.data.is_dir():
        return
    recipe = world.recipe
    sets = fact_sets(recipe.forget, recipe.prompts, recipe.facts_seed)
    with finished_or_absent(world.data) as unfinished:
        for name in FACTS:
            facts = sets.named(name)
            corpus.write_jsonl(facts, unfinished / f"{name}.jsonl")
            for fact in facts:
                file = unfinished / "images" / f"{fact.id}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                numpy_to_pil(picture(fact).image.permute(1, 2, 0).numpy())[0].save(file)


def _shipped(
    world: ShapesWorld, name: str, weights: ShippedWeights | None
) -> dict[str, Tensor] | None:
    return None if weights is None else weights.read(name, world.recipe.shipped_digest(name))


def _build_classifier(
    world: ShapesWorld, weights: ShippedWeights | None, progress: Progress
) -> None:
    if world.classifier.is_dir():
        return
    state = _shipped(world, "classifier", weights)
    if state is None:
        state = rounded(oracle.train_oracle(world.recipe.oracle, progress).state_dict())
    with finished_or_absent(world.classifier) as unfinished:
        oracle.with_weights(state).save(unfinished)


def _tokenizer(world: ShapesWorld) -> CLIPTokenizer:
    folder = world.root / "tokenizer"
    if not folder.is_dir():
        with finished_or_absent(folder) as unfinished:
            write_tokenizer(unfinished, vocabulary())
    return CLIPTokenizer.from_pretrained(folder)


def trained_shapes(recipe: ShapesRecipe, name: str) -> list[str]:
    """Return the shapes that the original or a retrained model learns."""
    return [shape for shape in TRAINED if name == "original" or shape != recipe.forget]


def _build_trained(
    world: ShapesWorld, name: str, weights: ShippedWeights | None, progress: Progress
) -> None:
    recipe = world.recipe
    shapes = trained_shapes(recipe, name)
    tokenizer = _tokenizer(world)
    state = _shipped(world, name, weights)
    if state is None:
        seed = recipe.seeds[recipe.models.index(name)]
        settings = recipe.training
        why = f"{name}: learns {len(shapes)} shapes, the {recipe.forget} too"
        if name != "original":
            why = (
                f"{name}: learns {len(shapes)} shapes and never sees a {recipe.forget}; "
                "the baseline"
            )
        data = training_set(shapes, settings.images, settings.plain, seed)
        trained = train(tokenizer, recipe.network, data, settings, seed, progress, why)
        state = rounded(network.weights_of(trained))
    with finished_or_absent(world.folder(name)) as unfinished:
        network.save(network.with_weights(tokenizer, recipe.network, state), unfinished)
        _write_details(world, name, {"shapes": shapes}, unfinished)


def _build_erased(
    world: ShapesWorld, name: str, weights: ShippedWeights | None, progress: Progress
) -> None:
    recipe = world.recipe
    original = world.model_path("original")
    pipeline = PixelPipeline.from_pretrained(original)
    changed = _shipped(world, name, weights)
    if changed is None:
        given = material(pipeline, recipe.forget, recipe.material)
        changed = rounded(erase(name, pipeline, given, recipe.erasures, progress))
    details = {
        "material": recipe.material.model_dump(mode="json"),
        "settings": getattr(recipe.erasures, name).model_dump(mode="json"),
        "source": SOURCES[name],
    }
    with finished_or_absent(world.folder(name)) as unfinished:
        network.save_edited(original, changed, unfinished)
        if name in ("uce", "rece"):
            write_unet_state(pipeline.unet, changed, unfinished / PUBLISHED[name])
        elif name in PUBLISHED:
            write_delta(changed, unfinished / PUBLISHED[name])
        _write_details(world, name, details, unfinished)


def _write_details(world: ShapesWorld, name: str, details: dict[str, Any], folder: Path) -> None:
    made = {"world": world.recipe.name, "recipe": world.recipe.digest, "subject": name}
    text = json.dumps(made | details, indent=2, sort_keys=True) + "\n"
    (folder / "testbed.json").write_text(text, encoding="utf-8")
