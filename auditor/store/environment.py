"""Environments in which evidence was measured.

What a job was asked names its evidence. The device, Python and the packages with which a worker
answered are recorded beside it, so that workers of other machines can take part; whether evidence
from different environments may be compared is decided when it is combined.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

CPU = "cpu"
"""Device of a job that no accelerator ran."""


class Environment(BaseModel):
    """Machine and packages with which a job was measured."""

    model_config = ConfigDict(frozen=True)

    device: str
    """Name of the accelerator, or ``cpu``."""
    packages: dict[str, str]
    """Versions of the distributions that decide the result."""
    python: str | None = None
    """Version of Python; it was not recorded before version 0.2."""
    device_map: str | None = None
    """Placement of the weights, as the plan has it."""
    token_budget: int | None = None
    """Padded tokens in a batch, as the plan has it."""


def former_environment(identity: Mapping[str, Any]) -> Environment | None:
    """Return the environment within the identity of former evidence.

    Before version 0.2 it was part of the identity. None means that there is none.
    """
    try:
        return Environment(
            device=identity["device"],
            packages=identity["libraries"],
            device_map=identity.get("device_map"),
            token_budget=identity.get("token_budget"),
        )
    except (KeyError, ValidationError):
        return None
