"""Reliable and efficient concept erasure (RECE), Gong et al., arXiv 2407.12383.

After a closed-form edit, some other embedding still makes the edited matrices give what the
concept gave. RECE finds the best one in closed form, edits it away like the concept itself, and
repeats.
"""

from collections.abc import Mapping, Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from auditor.core.progress import Progress, SilentProgress
from auditor.unlearning.erasure.closed_form_edit import redirect, second_moment
from auditor.unlearning.erasure.cross_attention import as_parameters, key_value_weights
from auditor.unlearning.erasure.encoded_prompts import (
    EncodedPrompt,
    Erasure,
    pairs_from_subject,
)
from auditor.unlearning.erasure.settings import ReceSettings
from auditor.unlearning.erasure.uce import preserved_rows, uce


def adversarial_map(
    current: Mapping[str, Tensor], original: Mapping[str, Tensor], regularisation: float
) -> Tensor:
    """Return the linear map to the embedding that restores a concept.

    ``c' = argmin sum_i |W_i c' - W_i^orig c|^2 + l |c'|^2``, hence c' = M c with
    ``M = (l I + sum_i W_i^T W_i)^-1 (sum_i W_i^T W_i^orig)``: one M for all keys, values and
    tokens.

    Args:
        current: Edited matrices by name, each [out, width].
        original: The unedited ones, same names and shapes.
        regularisation: l, above 0.

    Returns:
        M, [width, width], float64; rows c are mapped by ``c @ M.T``.

    Raises:
        ValueError: Other names than the original's, or a regularisation that is not above 0.
    """
    if current.keys() != original.keys():
        raise ValueError("the edited matrices are not those of the original")
    if regularisation <= 0:
        raise ValueError(f"the regularisation must be above 0, not {regularisation}")
    width = next(iter(original.values())).shape[1]
    left = regularisation * torch.eye(width, dtype=torch.float64)
    right = torch.zeros(width, width, dtype=torch.float64)
    for name, matrix in current.items():
        exact = matrix.to("cpu", torch.float64)
        left = left + exact.T @ exact
        right = right + exact.T @ original[name].to("cpu", torch.float64)
    found: Tensor = torch.linalg.solve(left, right)
    return found


def rece(
    unet: UNet2DConditionModel,
    erasures: Sequence[Erasure],
    preserved: Sequence[EncodedPrompt] = (),
    settings: ReceSettings | None = None,
    start: Mapping[str, Tensor] | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Edit keys and values until no adversarial embedding is left.

    The edit goes epoch by epoch.

    Args:
        unet: The unedited UNet, left as it was.
        erasures: Concepts, each with its target.
        preserved: Prompts whose outputs are to stay; the authors preserve the empty one.
        settings: Those published for nudity if ``None``.
        start: Edited matrices to begin from; those of UCE with ``settings.start`` if ``None``.
        progress: Told about every epoch.

    Returns:
        The edited matrices by name in the state dict, in the UNet's type.

    Raises:
        AuditorError: The UNet has no cross-attention.
        ValueError: As ``uce`` and ``adversarial_map``.
    """
    settings = settings or ReceSettings()
    original = key_value_weights(unet)
    if start is None:
        start = uce(unet, erasures, preserved, settings.start)
    current = {name: matrix.to("cpu", torch.float64) for name, matrix in start.items()}
    inputs, replacements = pairs_from_subject(erasures)
    kept = second_moment(inputs, settings.hold_erased)
    if preserved:
        kept = kept + second_moment(preserved_rows(preserved), settings.preserve_weight)
    with (progress or SilentProgress()).task("RECE", settings.epochs) as advance:
        for _ in range(settings.epochs):
            harmful = adversarial_map(current, original, settings.regularisation)
            current = redirect(
                current,
                inputs.to("cpu", torch.float64) @ harmful.T,
                replacements,
                weight=settings.erase_weight,
                preserved=kept,
                ridge=settings.ridge,
            )
            advance()
    return as_parameters(unet, current)
