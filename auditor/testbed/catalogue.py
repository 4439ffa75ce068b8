"""Every world by name, whatever its models are."""

from collections.abc import Iterable
from pathlib import Path

from auditor.errors import AuditorError
from auditor.progress import Progress
from auditor.testbed import world as language
from auditor.testbed.cache import CachedWorld, Recipe
from auditor.testbed.recipe import WORLDS
from auditor.testbed.shapes import world as shapes
from auditor.testbed.shapes.recipe import SHAPES


def list_worlds() -> tuple[Recipe, ...]:
    """All worlds that can be built."""
    return (*WORLDS.values(), SHAPES)


def locate(name: str, cache_dir: Path | None = None) -> CachedWorld[Recipe]:
    """Where a world is, or would be, without building anything.

    Args:
        name: Of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.

    Raises:
        AuditorError: There is no such world.
    """
    _check(name)
    if name == SHAPES.name:
        return shapes.locate(SHAPES, cache_dir)
    return language.locate(name, cache_dir)


def build(
    name: str,
    cache_dir: Path | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> CachedWorld[Recipe]:
    """Build what is missing of a world.

    Args:
        name: Of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        only: Subjects wanted; what they are made from is built too. All, if None.
        progress: Told what is being trained, and why.

    Raises:
        AuditorError: No such world or subject, or the cache cannot be written.
    """
    _check(name)
    if name == SHAPES.name:
        return shapes.build(SHAPES, cache_dir, only, progress)
    return language.build(name, cache_dir, only, progress)


def _check(name: str) -> None:
    names = [recipe.name for recipe in list_worlds()]
    if name not in names:
        raise AuditorError(
            f"no testbed world is called {name!r}; the worlds are: {', '.join(names)}"
        )
