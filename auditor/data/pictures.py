"""Pictures of facts: what an attacker has of a concept, and what a drawing is compared with."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from auditor.data.fact import Fact, FactSets
from auditor.digests import digest, digest_file
from auditor.errors import AuditorError, MeasurementError, Unavailable

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Of the files that are looked for, in this order."""


class Pictures(BaseModel):
    """A folder with at most one picture a fact, hashed."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    names: dict[str, str]
    """Fact id to the file's name, relative to the folder."""
    digests: dict[str, str]
    """Fact id to sha256 (hex) of the file."""

    @cached_property
    def digest(self) -> str:
        """Sha256 (hex) over the facts' ids and their pictures' digests."""
        return digest(self.digests)

    def read(self, facts: Sequence[Fact], height: int, width: int) -> Tensor:
        """The facts' pictures, [n, 3, height, width] float32 in [0, 1].

        Raises:
            Unavailable: a fact has none.
            MeasurementError: a file is no picture any more.
        """
        missing = [fact.id for fact in facts if fact.id not in self.names]
        if missing:
            raise Unavailable(
                f"{len(missing)} of {len(facts)} facts have no picture in {self.folder} "
                f"({', '.join(missing[:5])}); put them there, named by the facts' ids"
            )
        if not facts:
            return torch.zeros(0, 3, height, width)
        files = (self.folder / self.names[fact.id] for fact in facts)
        return torch.stack([_read(file, height, width) for file in files])


def find_pictures(folder: Path, sets: FactSets) -> Pictures:
    """Find and hash the pictures of facts: ``<fact id>.png`` (or .jpg, .jpeg, .webp).

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
            if (folder / f"{fact.id}{ending}").is_file():
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


def _read(file: Path, height: int, width: int) -> Tensor:
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise MeasurementError(f"{file} cannot be read as a picture: {error}") from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
