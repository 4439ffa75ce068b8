"""Packing of a built world's weights into the package."""

from pathlib import Path

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor, equal

from auditor.core.errors import AuditorError
from auditor.models.text_to_image.convolutional_classifier import load_classifier
from auditor.models.text_to_image.pixel_pipeline import PixelPipeline
from auditor.testbeds.shapes.erased import Erasures
from auditor.testbeds.shapes.network import weights_of
from auditor.testbeds.shapes.shipped import PACKAGED, ShippedWeights
from auditor.testbeds.shapes.world import ShapesWorld


def pack(world: ShapesWorld, into: ShippedWeights = PACKAGED) -> tuple[Path, ...]:
    """Write a whole world's weights.

    Of erased models it writes what differs from the original.

    Args:
        world: With every model built, usually from scratch.
        into: Where they go.

    Returns:
        The files.

    Raises:
        AuditorError: A model is not built.
    """
    if missing := [name for name in world.recipe.models if name not in world.built()]:
        raise AuditorError(
            f"{', '.join(missing)} of testbed world {world.recipe.name!r} not built in "
            f"{world.root}; run: auditor testbed build {world.recipe.name} --from-scratch"
        )
    found = {"classifier": dict(load_classifier(world.classifier).state_dict())}
    for name in world.recipe.models:
        if name in Erasures.names():
            found[name] = _changed(world, name)
        else:
            found[name] = weights_of(PixelPipeline.from_pretrained(world.model_path(name)))
    return tuple(
        into.write(name, world.recipe.shipped_digest(name), weights)
        for name, weights in found.items()
    )


def _changed(world: ShapesWorld, name: str) -> dict[str, Tensor]:
    """Return the tensors of the UNet that an erasure changed.

    ESD publishes them, and others do not.
    """
    published = world.published(name)
    if published.suffix == ".safetensors":
        delta: dict[str, Tensor] = load_file(published)
        return delta
    original, erased = (
        load_file(world.model_path(model) / "unet" / SAFETENSORS_WEIGHTS_NAME)
        for model in ("original", name)
    )
    return {key: weight for key, weight in erased.items() if not equal(weight, original[key])}
