"""Mass concept erasure (MACE), Lu et al., arXiv 2403.06135.

It is written from the paper's mathematics.

Three steps: a closed-form edit takes the concept out of the words around it, one LoRA for each
concept turns attention away from its own words, and a second closed-form edit makes one matrix
of all LoRAs.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor

from auditor.core.progress import Progress, SilentProgress
from auditor.unlearning.erasure.attention_suppression import (
    LowRank,
    MaskedImages,
    train_low_rank,
)
from auditor.unlearning.erasure.closed_form_edit import ClosedFormEdit, redirect
from auditor.unlearning.erasure.cross_attention import (
    as_parameters,
    key_value_weights,
    load_weights,
)
from auditor.unlearning.erasure.encoded_prompts import (
    EncodedPrompt,
    Erasure,
    pairs_of_context,
)
from auditor.unlearning.erasure.settings import MaceSettings


@dataclass(frozen=True)
class MaceConcept:
    """One concept to erase.

    Attributes:
        sentences: Sentences with the concept, each with the same sentence about something
            harmless ("a photo of the ship", "a photo of the ground"); the subjects are marked.
        shown: Images of the concept, described and masked.
    """

    sentences: Sequence[Erasure]
    shown: MaskedImages


@dataclass(frozen=True)
class Prior:
    """Second moments of embeddings to preserve, [width, width].

    The embeddings are those of tokens.

    Attributes:
        general: Second moment of captions of anything (the paper takes those of MS-COCO).
        domain: Second moment of prompts near the concepts (other celebrities, other artists).
    """

    general: Tensor
    domain: Tensor | None = None

    def weighted(self, settings: MaceSettings) -> Tensor:
        """``s (P_general + w P_domain)``, float64."""
        moment = self.general.to("cpu", torch.float64)
        if self.domain is not None:
            moment = moment + settings.domain_weight * self.domain.to("cpu", torch.float64)
        return settings.prior_weight * moment


def refine(
    weights: Mapping[str, Tensor],
    sentences: Sequence[Erasure],
    prior: Prior | None,
    settings: MaceSettings,
) -> dict[str, Tensor]:
    """Closed-form refinement: words around a concept give what they give without it.

    Uses every position but the concept's own tokens, so that what the concept's words give by
    themselves is left to the LoRA.

    Args:
        weights: Key and value matrices by name, each [out, width].
        sentences: Sentences of all concepts.
        prior: What is to stay; weighed by the settings.
        settings: Ridge and prior weight.

    Returns:
        The refined matrices, float64.

    Raises:
        ValueError: As ``pairs_of_context`` and ``ClosedFormEdit``.
    """
    inputs, replacements = pairs_of_context(sentences)
    return redirect(
        weights,
        inputs,
        replacements,
        weight=1.0,
        preserved=None if prior is None else prior.weighted(settings),
        ridge=settings.refinement_ridge,
    )


def fuse(
    weights: Mapping[str, Tensor],
    adapters: Sequence[Mapping[str, LowRank]],
    prompts: Sequence[Sequence[EncodedPrompt]],
    prior: Prior | None,
    settings: MaceSettings,
) -> dict[str, Tensor]:
    """Fuse the LoRAs into one matrix in closed form.

    On each concept's prompts the matrix does what the concept's LoRA does.

    ``argmin_W sum_j sum_c |W c - (W' + B_j A_j) c|^2`` with the prior and the ridge around the
    refined W', over all tokens of the prompts.

    Args:
        weights: The refined W' by name.
        adapters: One LoRA for each concept.
        prompts: For each concept, the prompts that its LoRA is to act on.
        prior: What is to stay; weighed by the settings.
        settings: Ridge and prior weight.

    Returns:
        The fused matrices, float64.

    Raises:
        ValueError: Not as many lists of prompts as LoRAs, an empty one, or as
            ``ClosedFormEdit``.
    """
    if len(adapters) != len(prompts) or not all(prompts) or not prompts:
        raise ValueError(
            f"{len(adapters)} LoRAs, prompts for {sum(map(bool, prompts))}: each needs its own"
        )
    rows = [
        torch.cat([prompt.states for prompt in of_concept]).to("cpu", torch.float64)
        for of_concept in prompts
    ]
    edit = ClosedFormEdit(
        torch.cat(rows),
        1.0,
        None if prior is None else prior.weighted(settings),
        settings.fusion_ridge,
    )
    fused = {}
    for name, weight in weights.items():
        exact = weight.to("cpu", torch.float64)
        outputs = [
            inputs @ (exact + adapter[name].product()).T
            for inputs, adapter in zip(rows, adapters, strict=True)
        ]
        fused[name] = edit(exact, torch.cat(outputs))
    return fused


def mace(
    unet: UNet2DConditionModel,
    scheduler: SchedulerMixin,
    concepts: Sequence[MaceConcept],
    prior: Prior | None = None,
    settings: MaceSettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Erase concepts from a UNet's keys and values.

    Args:
        unet: The original, left as it was.
        scheduler: Its ``add_noise`` makes the LoRAs' training images.
        concepts: What is erased.
        prior: What is to stay.
        settings: Those published for objects if ``None``.
        seed: Seed of the LoRAs.
        progress: Told about every step of every LoRA.

    Returns:
        The fused matrices by name in the state dict, in the UNet's type.

    Raises:
        AuditorError: The UNet has no cross-attention.
        ValueError: As ``refine`` and ``fuse``.
    """
    settings = settings or MaceSettings()
    progress = progress or SilentProgress()
    sentences = [sentence for concept in concepts for sentence in concept.sentences]
    refined = refine(key_value_weights(unet), sentences, prior, settings)
    base = copy.deepcopy(unet)
    load_weights(base, refined)
    adapters = [
        train_low_rank(base, scheduler, concept.shown, settings, seed + number, progress)
        for number, concept in enumerate(concepts)
    ]
    prompts = [[sentence.concept for sentence in concept.sentences] for concept in concepts]
    return as_parameters(unet, fuse(refined, adapters, prompts, prior, settings))
