"""Output head of the original, refitted in closed form.

It is read through a linear map.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from auditor.models.language.model import LanguageModel

_RIDGE = 1e-3
"""Weight of the penalty, as a share of the mean squared hidden state."""


@torch.no_grad()
def refitted_head(
    model: LanguageModel, donor: LanguageModel, pairs: Sequence[tuple[str, str]]
) -> Tensor | None:
    """Return the original's output head, mapped to the model's states.

    The linear map takes the model's hidden states to the original's.

    With hidden states as rows of X (the model's) and Y (the original's), both as the output heads
    get them, the map solves min |X A - Y|² + λ |A|², so that W A' with the original's head W reads
    the model's states.

    Args:
        model: The arm.
        donor: The original.
        pairs: Prompts and answers that both know.

    Returns:
        [vocabulary, width of the model] in float32; None where the two read texts differently, or
        there is no text.
    """
    ours, theirs = (last_states(one, pairs) for one in (model, donor))
    if ours is None or theirs is None or len(ours) != len(theirs):
        return None
    gram = ours.T @ ours
    penalty = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    mapped = torch.linalg.solve(gram + penalty, ours.T @ theirs)
    weight: Tensor = donor.network.get_output_embeddings().weight.detach()
    fitted: Tensor = (weight.cpu().double() @ mapped.T).float()
    return fitted


def last_states(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> Tensor | None:
    """Return the output head's inputs at every token.

    They are of some texts, [tokens, width] in float64.

    The texts are read one by one, so that none is padded.
    """
    if not pairs:
        return None
    with _captured(model) as states:
        for pair in pairs:
            model.score([pair])
    return torch.cat(states)


@contextmanager
def _captured(model: LanguageModel) -> Iterator[list[Tensor]]:
    """Collect what goes into the output head while the context lasts."""
    states: list[Tensor] = []

    def keep(_: object, arguments: tuple[Tensor, ...]) -> None:
        found = arguments[0].detach()
        states.append(found.reshape(-1, found.shape[-1]).cpu().double())

    handle = model.network.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield states
    finally:
        handle.remove()
