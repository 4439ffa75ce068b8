"""Cache of worlds, in which a killed build can go on."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from safetensors import SafetensorError

from auditor.core.cache import CACHE_VARIABLE, cache_folder
from auditor.core.errors import AuditorError
from auditor.core.files import whole_folder

MODELS_FOLDER = "subjects"
"""Folder of a world's models. Caches of earlier releases have this name; another would train
everything again."""


class Recipe(Protocol):
    """Common interface of the recipes of worlds."""

    @property
    def name(self) -> str:
        """Name of the world."""

    @property
    def purpose(self) -> str:
        """One sentence on what the world shows."""

    @property
    def retrained(self) -> tuple[str, ...]:
        """Names of the models trained without what is to be forgotten."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models, the original first."""

    @property
    def demo(self) -> str:
        """Name of the unlearned model that the demo audits."""

    @property
    def digest(self) -> str:
        """Sha256 (hex) of everything that decides the world's bytes."""


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe, covariant=True)


@dataclass(frozen=True)
class CachedWorld(Generic[AnyRecipe]):
    """A world in the cache.

    Attributes:
        recipe: What it is built from.
        root: Its folder.
    """

    recipe: AnyRecipe
    root: Path

    def facts(self, name: str) -> Path:
        """Return the path of a facts file of the world.

        ``forget``, ``retain`` and ``holdout`` are in every world; a world may have more.
        """
        return self.root / "facts" / f"{name}.jsonl"

    def built(self) -> tuple[str, ...]:
        """Names of the models that are in the cache."""
        return tuple(name for name in self.recipe.models if self.folder(name).is_dir())

    def model_path(self, name: str) -> Path:
        """Folder of a built model, as ``save_pretrained`` wrote it.

        Raises:
            AuditorError: The world has no such model, or it is not built.
        """
        check_model(self.recipe, name)
        if not self.folder(name).is_dir():
            raise AuditorError(
                f"{name!r} of testbed world {self.recipe.name!r} is not built in {self.root}; "
                f"run: auditor testbed build {self.recipe.name}"
            )
        return self.folder(name)

    def folder(self, name: str) -> Path:
        """Return the folder of a model, whether or not it exists."""
        return self.root / MODELS_FOLDER / name

    def inputs(self) -> dict[str, Path]:
        """Return what an audit needs beside models, by place in copies."""
        return {f"data/{name}.jsonl": self.facts(name) for name in ("forget", "retain", "holdout")}

    def copy_to(self, folder: Path, models: Iterable[str]) -> None:
        """Copy built models and facts, laid out as an auditor's own.

        Args:
            folder: Where ``models/<name>`` and ``data/<set>.jsonl`` are written.
            models: Names of the models.

        Raises:
            AuditorError: A model is not built, or something is there already.
        """
        copies = {f"models/{name}": self.model_path(name) for name in models} | self.inputs()
        if there := [place for place in copies if (folder / place).exists()]:
            raise AuditorError(
                f"nothing is written over: {', '.join(there)} in {folder} exist already; "
                f"choose another folder"
            )
        for place, source in copies.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)


def world_folder(recipe: Recipe, cache_dir: Path | None = None) -> Path:
    """Return the folder of a world, whether or not it exists.

    Args:
        recipe: Recipe of the world.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
    """
    return (cache_dir or cache_folder()) / "testbed" / f"{recipe.name}-{recipe.digest[:12]}"


def check_model(recipe: Recipe, name: str) -> None:
    """Refuse a model that a world does not have.

    Raises:
        AuditorError: There is no such model; those that exist are named.
    """
    if name not in recipe.models:
        raise AuditorError(
            f"testbed world {recipe.name!r} has no model {name!r}; "
            f"its models are: {', '.join(recipe.models)}"
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread.

    Sums depend on how they are split, so the number of threads would decide the bytes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def finished_or_absent(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` on success."""
    try:
        with whole_folder(folder) as unfinished:
            yield unfinished
    except (OSError, SafetensorError) as error:
        raise AuditorError(
            f"cannot write the testbed to {folder}: {error}; free the space, or set "
            f"{CACHE_VARIABLE} to a folder that can be written"
        ) from error
