"""Files of a model and their sha256 digests."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from auditor.core.hashing import digest
from auditor.core.messages import Message

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Endings of the names of weight files."""


class Manifest(BaseModel):
    """Identity of a model by the digests of its files.

    One digest covers them all.
    """

    model_config = ConfigDict(frozen=True)

    files: dict[str, str]
    """Sha256 (hex) of each file by its relative name. An adapter's files stand under ``adapter/``,
    those that replace some of a model's weights under ``replacement/``."""

    @property
    def digest(self) -> str:
        """Sha256 (hex) over the sorted list of names and digests."""
        return digest(self.files)

    @property
    def weights_digest(self) -> str:
        """The same over the weight files alone, whatever else lies beside them."""
        return digest({k: v for k, v in self.files.items() if k.endswith(WEIGHTS)})


class Location(BaseModel):
    """A model's files on this machine."""

    model_config = ConfigDict(frozen=True)

    model: Path
    adapter: Path | None
    manifest: Manifest
    replacement: Path | None = None
    """File or directory that replaces weights of the model."""
    notes: tuple[Message, ...] = ()
    """Notes on what was chosen where the model's directory left a choice, and on what was set
    aside."""
