"""Files besides model and facts that a measurement depends on: a classifier, pictures."""

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
    """Id of a fact to the name of its file, relative to the folder, where files belong to facts."""
    digests: dict[str, str] = {}
    """Id of a fact to sha256 (hex) of its file, likewise."""


class AuxiliaryInputs(BaseModel):
    """The auxiliary inputs of an audit by name; a kind of model says which it needs."""

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
