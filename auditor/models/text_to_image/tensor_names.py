"""The names that versions of the libraries give to the tensors of one network."""

from collections.abc import Callable, Sequence

RESPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.removeprefix("text_model."),
    lambda name: name if name.startswith("text_projection") else f"text_model.{name}",
)
"""A text encoder's layers stand under ``text_model`` or not, by the version of transformers."""

OBSOLETE = "embeddings.position_ids"
"""A buffer of older text encoders: the numbers 0, 1, 2, … and nothing else."""

_SHOWN = 5


def listed(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
