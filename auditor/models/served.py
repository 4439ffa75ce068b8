"""Models whose texts an engine may write.

A model is handed to an engine where it is opened from files, and nowhere else. What is made of it
(copies with other weights, tokenizers or options) has none.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from auditor.core.errors import AuditorError
from auditor.core.messages import Message
from auditor.core.registry import Registry
from auditor.models.kind import Tick
from auditor.models.manifest import Location
from auditor.models.spec import ModelSpec, PromptFormat
from auditor.models.text_engine import AskedEngine

if TYPE_CHECKING:  # torch, which a plan is checked without
    from auditor.models.model import AuditedModel


@dataclass
class EngineUse:
    """Texts that were written of a model since it was opened."""

    engine: int = 0
    """By the engine."""
    network: int = 0
    """By the network in memory, which is changed, or which the engine was refused for."""
    tokens: int = 0
    """Tokens of the engine's texts that the network has read and found its own."""
    adapted: int = 0
    """By the engine, of the texts of a network with adapters that an attack has trained."""
    unadapted: int = 0
    """Of these, by the network, as the engine was refused for them."""
    refused: Message | None = None
    """Why the engine is not asked; None while it is."""
    adapters_refused: Message | None = None
    """Why it is not asked with adapters of attacks."""

    def since(self, before: "EngineUse") -> "EngineUse":
        """Return what was written after another time."""
        return EngineUse(
            self.engine - before.engine,
            self.network - before.network,
            self.tokens - before.tokens,
            self.adapted - before.adapted,
            self.unadapted - before.unadapted,
            self.refused,
            self.adapters_refused,
        )


@runtime_checkable
class ServedModel(Protocol):
    """A model whose texts an engine may write."""

    use: EngineUse

    @classmethod
    def open_served(
        cls,
        spec: ModelSpec,
        location: Location,
        prompt_format: PromptFormat,
        token_budget: int,
        tick: Tick,
        engine: AskedEngine,
    ) -> "AuditedModel":
        """Open a located model, and hand it to an engine."""

    @classmethod
    def unsuited(cls, spec: ModelSpec, location: Location) -> str | None:
        """Return why no engine can hold a model's files, or None.

        It is a reason of the message ``text_engine_unsuited``.
        """


SERVED: Registry[type[ServedModel]] = Registry("served model", group="auditor.served_models")
"""Kinds of model that an engine can write for, each with the class that opens them."""


def check_served(kind: str) -> None:
    """Refuse a kind of model that no engine writes for.

    Raises:
        AuditorError: Says for which kinds there are engines.
    """
    if kind not in SERVED.names():
        raise AuditorError(
            f"`generation`: no engine writes for models of the kind {kind}; leave it out (engines "
            f"are for {', '.join(SERVED.names())})."
        )
