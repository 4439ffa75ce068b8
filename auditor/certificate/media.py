"""Pictures that models drew, as parts of a certificate."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from auditor.certificate.parts import ByArm, Part
from auditor.core.picture import BYTES, fault

BUDGET = 1_500_000
"""Most characters of all pictures of a certificate together."""


def text_of(content: bytes) -> str:
    """A picture's bytes as a certificate holds them."""
    return base64.b64encode(content).decode("ascii")


def content_of(text: str) -> bytes:
    """The bytes of a picture, which are checked to be one.

    Raises:
        ValueError: it is not the base64 of a PNG, or of one that is too large.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a picture that is not base64") from error
    if text_of(content) != text:
        raise ValueError("a picture whose base64 is not in its one form")
    if found := fault(content):
        raise ValueError(f"a picture that {found}")
    return content


def _checked(text: str) -> str:
    content_of(text)
    return text


Picture = Annotated[
    str,
    Field(
        max_length=4 * -(-BYTES // 3),
        json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"},
    ),
    AfterValidator(_checked),
]
"""A small PNG in base64, checked to be one whenever a certificate is made or read."""


class ViewPart(Part):
    """Pictures and K of a fact under one attack."""

    attack: str
    """Label of the attack."""
    k: ByArm
    """K by arm, over all seeds."""
    pictures: dict[str, Picture]
    """Picture that each arm drew, with the first seed."""


class ImageExamplePart(Part):
    """A fact of which the models drew something."""

    fact: str
    entity: str
    prompt: str
    answer: str
    views: tuple[ViewPart, ...]
    """Views of the fact: without attack, if that was measured; then under the attack that brings
    out most; then under others of whose worst facts this is one."""


class ImageExamplesPart(Part):
    """Pictures of the facts that the unlearned model knows most.

    Its knowledge is counted beyond that of the retrained models.
    """

    facts: tuple[ImageExamplePart, ...]
    """Facts with their pictures, worst first."""
    pictured: int
    """Number of facts of which the evidence holds pictures."""
    left_out: int
    """Number of views (a fact under an attack) whose pictures are in the evidence and not here."""

    @model_validator(mode="after")
    def _within_budget(self) -> "ImageExamplesPart":
        size = sum(
            len(picture)
            for fact in self.facts
            for view in fact.views
            for picture in view.pictures.values()
        )
        if size > BUDGET:
            raise ValueError(f"pictures of {size:,} characters, and no more than {BUDGET:,} fit")
        return self
