"""Base class of models under audit, whatever their modality."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.core.errors import AuditorError, DoesNotFitError, OpeningError
from auditor.core.kept_digests import kept_digest
from auditor.models.manifest import Location, Manifest, hashed_files
from auditor.models.spec import ModelSpec, PromptFormat

if TYPE_CHECKING:  # logs stand in for models where torch is not installed
    from torch import nn

_SHOWN = 5
"""Most files that a message names."""


@dataclass
class Meter:
    """Cost of a measurement.

    A model and the copies opened from it share one meter.
    """

    forward_tokens: int = 0
    """Tokens (padding included) that went through a model."""


class AuditedModel(ABC):
    """A model under audit: opened from files, or handed over loaded.

    From files, its weights are loaded when they are first needed. A model that was handed over
    (``location`` is None) has no files and no digests: it can be measured, but not certified.
    """

    def __init__(self, spec: ModelSpec, location: Location | None) -> None:
        self.spec = spec
        self.meter = Meter()
        self.fits = True
        """Whether its weights fitted into memory, as far as they were loaded."""
        self._location = location

    @property
    def in_memory(self) -> bool:
        """Whether the model was handed over loaded.

        Such a model has no files that could be hashed.
        """
        return self._location is None

    @property
    def location(self) -> Location:
        """Files from which the model was opened.

        Raises:
            AuditorError: the model was handed over loaded, so it has none.
        """
        if self._location is None:
            raise AuditorError(
                f"the model {self.spec.path!r} was handed over in memory, so there are no files "
                "of it to hash; save it and open it from its directory"
            )
        return self._location

    @property
    def manifest(self) -> Manifest:
        """Digests of the files that the model was opened from.

        Raises:
            AuditorError: the model was handed over loaded.
        """
        return self.location.manifest

    def has_weights_of(self, manifest: Manifest) -> bool:
        """Return whether it was opened from weight files with these digests.

        A model in memory never was.
        """
        if self.in_memory:
            return False
        return self.manifest.weights_digest == manifest.weights_digest

    def ask_in(self, prompt_format: PromptFormat) -> None:  # noqa: B027 - not all kinds have one
        """Put later prompts into another format; models without formats ignore it."""

    @property
    @abstractmethod
    def network(self) -> "nn.Module":
        """The loaded network, in evaluation mode."""

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Remember while weights are loaded whether they fit.

        Raises:
            DoesNotFitError: They do not.
            OpeningError: The files are not those that were hashed.
        """
        if self._location is None:
            yield
            return
        from auditor.models.memory import loaded_whole  # torch, which logs do without

        try:
            with loaded_whole(self.spec, self._location):
                yield
        except DoesNotFitError:
            self.fits = False
            raise
        self._check_changed(self._location)

    def _hashed_files(self, location: Location) -> Mapping[str, Path]:
        """Return the files that are read, by name in the manifest."""
        return hashed_files(location)

    def _check_changed(self, location: Location) -> None:
        """Refuse files that were changed between hashing and loading.

        What is measured would count as another model's. It is looked at after loading, so that
        nothing can change in between.

        Raises:
            OpeningError: Names them.
        """
        files = self._hashed_files(location)
        hashed = location.manifest.files
        changed = [n for n, file in files.items() if not _is_of(file, hashed[n])]
        if changed:
            raise OpeningError(
                f"{location.model} was changed since it was hashed: {', '.join(changed[:_SHOWN])}. "
                "Leave the files of models alone while they are audited, and start again."
            )

    @abstractmethod
    def preserve_weights(self) -> "AbstractContextManager[nn.Module]":
        """Lend the weights to an attack that changes them; exactly restored afterwards."""

    def unchanged_weights(self) -> "AbstractContextManager[nn.Module]":
        """Show the weights to an attack, and prove that it left them."""
        return self.preserve_weights()

    @abstractmethod
    def directory(self, scratch: Path) -> Path:
        """A directory with the audited weights (an adapter is merged, into ``scratch``)."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the weights."""


def _is_of(file: Path, digest: str) -> bool:
    """Whether a file is there with this digest."""
    try:
        return kept_digest(file) == digest
    except OSError:
        return False
