"""Hyper-parameters of the erasures, as published and for the testbed.

The defaults of each class are what the authors published (for which task, the class says). The
testbed's models are a thousand times smaller than Stable Diffusion and are trained for minutes,
so that gradient methods need larger steps there; closed forms do not.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from auditor.unlearning.erasure.cross_attention import ParameterGroup


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UceSettings(_Settings):
    """UCE, arXiv 2308.14761.

    Attributes:
        erase_weight: Weight of the concepts' rows.
        preserve_weight: Weight of preserved rows; ``None`` is ``max(0.1, 1 / n)`` for n prompts.
        ridge: Pull towards the weights as they are.
    """

    erase_weight: float = Field(default=1.0, ge=0)
    preserve_weight: float | None = Field(default=None, ge=0)
    ridge: float = Field(default=0.5, ge=0)

    def weight_of_preserved(self, prompts: int) -> float:
        """The weight of the rows of so many preserved prompts."""
        if self.preserve_weight is not None:
            return self.preserve_weight
        return max(0.1, 1 / max(prompts, 1))


class ReceSettings(_Settings):
    """RECE, arXiv 2407.12383; the defaults are those for nudity.

    The authors take one epoch for objects, and for styles and hard objects one with a
    regularisation of 1e-3.

    Attributes:
        start: The UCE edit that it begins from.
        epochs: Times that an adversarial embedding is found and erased.
        regularisation: Regularisation of the adversarial embedding's length.
        erase_weight: Weight of the adversarial rows.
        preserve_weight: Weight of the preserved rows.
        ridge: Pull of each edit towards the weights before it.
        hold_erased: Weight of the concepts' own rows, which are to go on giving what the edit
            before made them give; 0 as published.
    """

    start: UceSettings = UceSettings()
    epochs: int = Field(default=3, ge=0)
    regularisation: float = Field(default=0.1, gt=0)
    erase_weight: float = Field(default=1.0, ge=0)
    preserve_weight: float = Field(default=0.1, ge=0)
    ridge: float = Field(default=0.1, ge=0)
    hold_erased: float = Field(default=0.0, ge=0)


class EsdSettings(_Settings):
    """ESD, arXiv 2303.07345; the defaults are those of the paper.

    The released code takes 200 iterations at 5e-5 with images drawn by the frozen original, for
    Stable Diffusion XL at 2e-4 with guidance 2 and negative guidance 0.

    Attributes:
        group: Which layers are trained.
        negative_guidance: The paper's eta, see ``esd.erased_target`` for the other convention.
        guidance: Classifier-free guidance while an image is half drawn.
        denoising_steps: Length of the grid of timesteps.
        iterations: Optimiser steps.
        batch_size: Images per step.
        learning_rate: Learning rate, which is constant.
        optimizer: ``adam`` or ``adamw``.
        weight_decay: Weight decay of either optimiser.
        drawn_by: Who draws the half-drawn images, the ``student`` or the ``frozen`` original.
    """

    group: ParameterGroup = "x"
    negative_guidance: float = 1.0
    guidance: float = Field(default=3.0, ge=1)
    denoising_steps: int = Field(default=50, gt=0)
    iterations: int = Field(default=1000, gt=0)
    batch_size: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=1e-5, gt=0)
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    drawn_by: Literal["student", "frozen"] = "student"


class MaceSettings(_Settings):
    """MACE, arXiv 2403.06135; the defaults are those for an object.

    For explicit content the authors take no ridges, a prior of 7e-7, 120 steps and no focus; for
    one celebrity no ridges, a prior of 1e-4, a domain weight of 8e3 (8e4 for ten celebrities or a
    hundred artists, 2e5 for a hundred celebrities) and a rate of 1e-4.

    Attributes:
        refinement_ridge: Pull of the refinement towards the original weights.
        fusion_ridge: Pull of the fusion towards the refined weights.
        prior_weight: Weight of everything that is preserved, in both closed forms.
        domain_weight: Weight of the domain's own preserved prompts beside the general ones.
        rank: Of each LoRA.
        learning_rate: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        steps: Optimiser steps for each concept.
        batch_size: Images per step.
        focal: Draw timesteps from the concept-focal density rather than uniformly.
        focal_steepness: Its gamma.
        focal_start: Its lower timestep.
        focal_stop: Its upper timestep.
        after_subject: Suppress attention to the tokens after the subject, too.
    """

    refinement_ridge: float = Field(default=1e3, ge=0)
    fusion_ridge: float = Field(default=1e3, ge=0)
    prior_weight: float = Field(default=0.0, ge=0)
    domain_weight: float = Field(default=0.0, ge=0)
    rank: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=1e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    steps: int = Field(default=50, gt=0)
    batch_size: int = Field(default=1, gt=0)
    focal: bool = True
    focal_steepness: float = Field(default=0.05, gt=0)
    focal_start: float = 200
    focal_stop: float = 400
    after_subject: bool = True


UCE_TESTBED = UceSettings()
"""Published settings. They need sentences for concepts and the kept concepts as preserved."""

RECE_TESTBED = ReceSettings(hold_erased=0.1)
"""Settings that hold the concept's own rows. Where the text embedding is narrow, an edit of the
adversarial rows would otherwise move them back to where they were."""

ESD_X_TESTBED = EsdSettings(
    iterations=150, batch_size=8, learning_rate=3e-4, guidance=1.0, denoising_steps=15
)
ESD_U_TESTBED = ESD_X_TESTBED.model_copy(update={"group": "u", "iterations": 90})
"""Settings with fewer steps. With as many as the others, squares are lost with the circles."""

MACE_TESTBED = MaceSettings(
    refinement_ridge=0.5,
    fusion_ridge=0.5,
    prior_weight=0.1,
    learning_rate=1e-2,
    steps=50,
    batch_size=8,
)
"""Settings with a prior of the kept concepts. Without one, the refinement of a narrow embedding
swaps the concept and its anchor instead of making both the anchor."""
