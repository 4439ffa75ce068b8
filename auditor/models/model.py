"""What every model under audit can do, whatever its modality."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from auditor.models.manifest import Location, Manifest
from auditor.models.spec import ModelSpec


@dataclass
class Meter:
    """What a measurement has cost; shared by a subject and the copies opened from it."""

    forward_tokens: int = 0
    """Tokens (padding included) that went through a model."""


class AuditedModel(ABC):
    """A model under audit. Opened from its spec; its weights are loaded when first needed."""

    def __init__(self, spec: ModelSpec, location: Location) -> None:
        self.spec = spec
        self.location = location
        self.meter = Meter()

    @property
    def manifest(self) -> Manifest:
        """Digests of the files that the subject was opened from."""
        return self.location.manifest

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The loaded network, in evaluation mode."""

    @abstractmethod
    def preserve_weights(self) -> AbstractContextManager[nn.Module]:
        """Lend the weights to an attack that changes them; exactly restored afterwards."""

    @abstractmethod
    def directory(self, scratch: Path) -> Path:
        """A directory with the audited weights (an adapter is merged, into ``scratch``)."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the weights."""
