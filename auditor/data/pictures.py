"""Pictures of facts.

An attacker has them of a concept, and a drawing is compared with them.
"""

import hashlib
import io
import struct
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from auditor.core.errors import AuditorError, MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import digest, digest_file

if TYPE_CHECKING:  # to find pictures needs no torch
    from torch import Tensor

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of the files that are looked for, in this order."""
_FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats that a file may have, whatever its name: some of the library's other formats run
programs."""
_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""Errors that the library raises where a file is damaged, or was made to do damage."""


class Pictures(BaseModel):
    """A folder with at most one picture a fact, hashed."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    names: dict[str, str]
    """Name of each fact's file, relative to the folder, by the fact's id."""
    digests: dict[str, str]
    """Sha256 (hex) of each fact's file, by the fact's id."""

    @cached_property
    def digest(self) -> str:
        """Sha256 (hex) over the facts' ids and their pictures' digests."""
        return digest(self.digests)

    def read(self, facts: Sequence[Fact], height: int, width: int) -> "Tensor":
        """The facts' pictures, [n, 3, height, width] float32 in [0, 1].

        Where a picture is transparent, white shows through.

        Raises:
            UnavailableError: a fact has none.
            MeasurementError: a file is not the one that was hashed, or is no picture.
        """
        import torch

        missing = [fact.id for fact in facts if fact.id not in self.names]
        if missing:
            raise UnavailableError(
                f"{len(missing)} of {len(facts)} facts have no picture in {self.folder} "
                f"({', '.join(missing[:5])}); put them there, named by the facts' ids"
            )
        if not facts:
            return torch.zeros(0, 3, height, width)
        return torch.stack([self._read(fact.id, height, width) for fact in facts])

    def _read(self, fact: str, height: int, width: int) -> "Tensor":
        import torch

        file = self.folder / self.names[fact]
        try:
            content = file.read_bytes()
        except OSError as error:
            raise MeasurementError(f"{file} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != self.digests[fact]:
            raise MeasurementError(f"{file} was changed since it was hashed")
        try:
            image = _decoded(content)
        except _FAILURES as error:
            raise MeasurementError(f"{file} cannot be read as a picture: {error}") from error
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def find_pictures(folder: Path, sets: FactSets) -> Pictures:
    """Find and hash the pictures of facts.

    A picture's name is ``<fact id>.png`` (or .jpg, .jpeg, .webp).

    Facts without a picture are left out; attacks that need theirs say so.

    Raises:
        AuditorError: there is no such folder, or it holds no picture of any fact.
    """
    if not folder.is_dir():
        raise AuditorError(f"`data.images`: {folder} is no folder.")
    names = {}
    for fact in (*sets.forget, *sets.retain, *sets.holdout):
        place = PurePosixPath(fact.id)
        if place.is_absolute() or ".." in place.parts:
            continue
        for ending in ENDINGS:
            if _is_file(folder / f"{fact.id}{ending}"):
                names[fact.id] = f"{fact.id}{ending}"
                break
    if not names:
        raise AuditorError(
            f"`data.images`: {folder} holds no picture of any fact; expected files such as "
            f"{sets.forget[0].id}.png."
        )
    return Pictures(
        folder=folder.resolve(),
        names=names,
        digests={fact: digest_file(folder / name) for fact, name in names.items()},
    )


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):  # an id that is too long for a name, or cannot be one
        return False


def _decoded(content: bytes) -> Image.Image:
    """A picture in RGB, on white."""
    with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        if not opened.has_transparency_data:
            return opened.convert("RGB")
        image = opened.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
