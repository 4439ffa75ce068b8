"""Every world by name, whatever its models are.

The world of models that draw needs packages that only the extra ``images`` brings; its modules are
imported where it is asked for.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Union

from auditor.core.errors import AuditorError
from auditor.core.extras import missing_extra
from auditor.core.progress import Progress
from auditor.testbeds.cache import Recipe
from auditor.testbeds.people import world as language
from auditor.testbeds.people.world import World
from auditor.testbeds.recipe import WORLDS

if TYPE_CHECKING:
    from auditor.testbeds.shapes.world import ShapesWorld

AnyWorld = Union[World, "ShapesWorld"]
"""World of language models, or of models that draw."""

DRAWING = "shapes"
"""World of models that draw."""
ITS_EXTRA = "images"
"""Extra that the world of models that draw needs."""


def list_worlds() -> tuple[Recipe, ...]:
    """Return all worlds that can be built with what is installed."""
    try:
        from auditor.testbeds.shapes.recipe import SHAPES
    except ModuleNotFoundError as error:
        if missing_extra(error) is None:
            raise
        return tuple(WORLDS.values())
    return (*WORLDS.values(), SHAPES)


def locate(name: str, cache_dir: Path | None = None) -> AnyWorld:
    """Return a world with its folder, without building anything.

    Args:
        name: Name of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.

    Raises:
        AuditorError: There is no such world.
    """
    _check(name)
    if name != DRAWING:
        return language.locate(name, cache_dir)
    from auditor.testbeds.shapes import world as shapes
    from auditor.testbeds.shapes.recipe import SHAPES

    return shapes.locate(SHAPES, cache_dir)


def build(
    name: str,
    cache_dir: Path | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    from_scratch: bool = False,
) -> AnyWorld:
    """Build what is missing of a world.

    Args:
        name: Name of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        only: Models wanted; what they are made from is built too. All, if None.
        progress: Told what is being trained, and why.
        from_scratch: Train what could be unpacked from the package, too; only `shapes` ships.

    Raises:
        AuditorError: No such world or model, or the cache cannot be written.
    """
    _check(name)
    if name != DRAWING:
        return language.build(name, cache_dir, only, progress)
    from auditor.testbeds.shapes import world as shapes
    from auditor.testbeds.shapes.recipe import SHAPES
    from auditor.testbeds.shapes.shipped import PACKAGED

    shipped = None if from_scratch else PACKAGED
    return shapes.build(SHAPES, cache_dir, only, progress, shipped)


def pack(name: str, cache_dir: Path | None = None) -> tuple[Path, ...]:
    """Write the weights of a built world into the package.

    The world must have been built from scratch.

    Args:
        name: Name of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.

    Returns:
        The files.

    Raises:
        AuditorError: No such world, one that does not ship, or one that is not built.
    """
    _check(name)
    if name != DRAWING:
        raise AuditorError(f"only {DRAWING} ships with the package, not {name}")
    from auditor.testbeds.shapes import packing, world
    from auditor.testbeds.shapes.recipe import SHAPES

    return packing.pack(world.locate(SHAPES, cache_dir, from_scratch=True))


def _check(name: str) -> None:
    names = [*WORLDS, DRAWING]
    if name not in names:
        raise AuditorError(
            f"no testbed world is called {name!r}; the worlds are: {', '.join(names)}"
        )
