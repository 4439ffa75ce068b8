"""Auxiliary inputs of a measurement, besides model and facts.

They are a classifier and pictures.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class AuxiliaryInput(BaseModel):
    """Hashed files in one folder."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    digest: str
    """Sha256 (hex) over the files."""
    names: dict[str, str] = {}
    """Name of the file of each fact, relative to the folder, by the fact's id; empty where files do
    not belong to facts."""
    digests: dict[str, str] = {}
    """Sha256 (hex) of the file of each fact, by the fact's id; empty where files do not belong to
    facts."""


class AuxiliaryInputs(BaseModel):
    """Auxiliary inputs of an audit by name.

    A kind of model says which it needs.
    """

    model_config = ConfigDict(frozen=True)

    inputs: dict[str, AuxiliaryInput] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.inputs

    def __getitem__(self, name: str) -> AuxiliaryInput:
        return self.inputs[name]

    @property
    def digests(self) -> Mapping[str, str]:
        """Name to the digest of what decides a result."""
        return {name: found.digest for name, found in self.inputs.items()}
