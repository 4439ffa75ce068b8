"""Unified concept editing (UCE), Gandikota et al., arXiv 2308.14761.

Every key and value matrix is edited in closed form so that the concept's tokens give what the
target's give. The concept is hidden rather than removed: nothing else in the model changes.
"""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from auditor.unlearning.erasure.closed_form_edit import redirect, second_moment
from auditor.unlearning.erasure.cross_attention import as_parameters, key_value_weights
from auditor.unlearning.erasure.encoded_prompts import (
    EncodedPrompt,
    Erasure,
    pairs_from_subject,
    rows_from_subject,
)
from auditor.unlearning.erasure.settings import UceSettings


def uce(
    unet: UNet2DConditionModel,
    erasures: Sequence[Erasure],
    preserved: Sequence[EncodedPrompt] = (),
    settings: UceSettings | None = None,
) -> dict[str, Tensor]:
    """Edit a UNet's keys and values; all concepts at once.

    Args:
        unet: Left as it was.
        erasures: Concepts, each with its target: an anchor such as "square", or the empty
            prompt (the published default), which leaves what the model draws unasked.
        preserved: Prompts whose outputs are to stay, with the rows that count marked by their
            subject (from its last token on).
        settings: The published ones if ``None``.

    Returns:
        The edited matrices by name in the state dict, in the UNet's type.

    Raises:
        AuditorError: The UNet has no cross-attention.
        ValueError: No erasure, or embeddings of another width than the UNet reads.
    """
    settings = settings or UceSettings()
    inputs, replacements = pairs_from_subject(erasures)
    kept = None
    if preserved:
        kept = second_moment(
            preserved_rows(preserved), settings.weight_of_preserved(len(preserved))
        )
    edited = redirect(
        key_value_weights(unet),
        inputs,
        replacements,
        weight=settings.erase_weight,
        preserved=kept,
        ridge=settings.ridge,
    )
    return as_parameters(unet, edited)


def preserved_rows(preserved: Sequence[EncodedPrompt]) -> Tensor:
    """Return the rows of preserved prompts that count.

    They are those from the last subject token on, [n, width].
    """
    return torch.cat([rows_from_subject(prompt) for prompt in preserved])
