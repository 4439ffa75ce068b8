"""Inference-time erasers, at work beside the weights in drawing.

They change how a drawing is guided, or the states of its prompt, or both.

They are plug-ins: an entry point of the group ``auditor.erasers`` names the class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest
from auditor.core.registry import Registry
from auditor.models.text_to_image.spec import EraserSpec
from auditor.models.text_to_image.text import Text
from auditor.models.text_to_image.text_encoding import PromptReader


class EraserSettings(BaseModel):
    """Base of an eraser's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=EraserSettings)


class Guide(ABC):
    """Guidance of one batch of images by an eraser, step by step."""

    @abstractmethod
    def guided(
        self, without: Tensor, with_text: Tensor, others: Sequence[Tensor], guidance: float
    ) -> Tensor:
        """Return the output that the scheduler is given.

        It is called once a step, in their order. No image may depend on those beside it.

        Args:
            without: the denoiser's output without text, [n, c, h, w].
            with_text: its output under the images' own prompts.
            others: its output under each text of the eraser.
            guidance: weight of classifier-free guidance; 1 is none.
        """


@dataclass(frozen=True)
class Replaced:
    """States with which drawings begin, in place of a prompt's own."""

    states: Tensor
    """What attention reads, [n, length, width]."""
    steps: Tensor
    """First steps of each drawing in which it reads them, [n] integers."""

    def at(self, step: int, own: Text, rows: list[int]) -> Text:
        """Return what some prompts are drawn with.

        Args:
            step: number of the step, from 0.
            own: the prompts' own.
            rows: which they are.
        """
        first = (step < self.steps[rows]).view(-1, 1, 1).to(own.hidden.device)
        return replace(own, hidden=torch.where(first, self.states[rows], own.hidden))


class Eraser(ABC, Generic[S]):
    """An eraser that changes guidance or states of prompts, and no weights."""

    settings_type: ClassVar[type[EraserSettings]]
    """Class of its settings."""
    reads_prompts: ClassVar[bool] = False
    """Whether it replaces states of prompts. Then it takes models with one text encoder, CLIP's."""

    def __init__(self, settings: S) -> None:
        """Create the eraser with validated settings."""
        self.settings = settings

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts under which the denoiser is asked besides the prompt."""
        return ()

    def replaced(
        self, prompts: Sequence[str], states: Tensor, reader: PromptReader
    ) -> Replaced | None:
        """Return what prompts are drawn with; None leaves their own states.

        It is called where ``reads_prompts`` says so, and drawings are of prompts: whoever draws
        from states has passed by it.

        Args:
            prompts: one a drawing.
            states: what attention would read, [n, length, width].
            reader: reads further texts, as the model does.
        """
        return None

    @abstractmethod
    def guide(self) -> Guide:
        """Return the guide of one batch."""


ERASERS: Registry[type[Eraser[Any]]] = Registry("eraser", group="auditor.erasers")

E = TypeVar("E", bound=type[Eraser[Any]])


def eraser(name: str) -> Callable[[E], E]:
    """Class decorator that registers an eraser.

    A package that brings one also names it among its entry points:
    ``[project.entry-points."auditor.erasers"]``, ``name = "package.module:Class"``.

    Raises:
        AuditorError: another class has that name.
    """

    def add(cls: E) -> E:
        ERASERS.register(name)(cls)
        return cls

    return add


def open_eraser(spec: EraserSpec) -> Eraser[Any]:
    """Return the eraser of a plan.

    Raises:
        AuditorError: there is none of that name, or its settings do not fit.
    """
    cls = ERASERS.get(spec.name)
    try:
        settings = cls.settings_type.model_validate(spec.settings)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}"
            for each in error.errors()
        )
        raise AuditorError(f"`eraser: {{name: {spec.name}, …}}`: {said}") from error
    return cls(settings)


def eraser_digest(spec: EraserSpec) -> str:
    """Sha256 (hex) over an eraser's name and all of its settings.

    Raises:
        AuditorError: there is none of that name, or its settings do not fit.
    """
    settings = open_eraser(spec).settings.model_dump(mode="json")
    return digest({"name": spec.name, "settings": settings})
