"""Training loop of all unlearning methods, and its stopping rule."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from peft import LoraConfig, get_peft_model
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from auditor.core.facts import Fact
from auditor.core.progress import Progress
from auditor.models.language.layers import linear_layers
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.descent import descend
from auditor.unlearning.examples import (
    answer_logits,
    answer_scores,
    collate,
    encode,
    trained_pairs,
)
from auditor.unlearning.registry import METHODS, Method
from auditor.unlearning.relabelling import relabelled_pairs
from auditor.unlearning.saliency_mask import saliency, salient_modules


class UnlearningSettings(BaseModel):
    """Settings of unlearning.

    Attributes:
        method: Name in ``METHODS``.
        learning_rate: Learning rate of AdamW, which is constant.
        max_steps: Optimiser steps if the stop rule does not end it before.
        forget_batch: Forget examples per step.
        retain_batch: Retain examples per step, where the method has a retain term.
        retain_weight: Weight of the retain term.
        check_every: Steps between looks at the stop rule; 0 takes all ``max_steps``.
        stop_exact: Stop when at most this share of forget answers is given exactly ...
        stop_probability: ... and their mean answer probability is at most this.
        changes: ``linear`` leaves embeddings, norms and the output layer alone, as adapters of
            a quantized model do; ``lora`` trains adapters of rank 8 on those and merges them;
            ``all`` changes every weight.
        mask_percentile: Saliency at or above which SURE changes a module.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    learning_rate: float = Field(gt=0)
    max_steps: int = Field(gt=0)
    forget_batch: int = Field(default=48, gt=0)
    retain_batch: int = Field(default=48, gt=0)
    retain_weight: float = Field(default=1.0, ge=0)
    check_every: int = Field(default=5, ge=0)
    stop_exact: float = Field(default=0.03, ge=0, le=1)
    stop_probability: float = Field(default=0.05, ge=0, le=1)
    changes: Literal["linear", "lora", "all"] = "linear"
    mask_percentile: float = Field(default=90.0, ge=0, le=100)


def unlearn(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    forget: Sequence[Fact],
    retain: Sequence[Fact],
    settings: UnlearningSettings,
    seed: int,
    progress: Progress,
    description: str = "unlearning",
    separator: str = " ",
) -> int:
    """Make a model forget facts, in place.

    Args:
        model: The original, float32; changed.
        tokenizer: The model's.
        forget: Facts to forget, in their trained phrasings.
        retain: Facts for the retain term.
        settings: Method, rate, stop rule.
        seed: Seed of the order of examples.
        progress: Told about every step.
        description: What is unlearned and why, shown beside the progress bar.
        separator: Stands between prompt and answer.

    Returns:
        The number of optimiser steps taken.
    """
    method = METHODS[settings.method]
    true_pairs = trained_pairs(forget)
    pairs = relabelled_pairs(forget) if method.relabels else true_pairs
    forget_examples = encode(tokenizer, pairs, separator)
    preferred = () if method.preferred is None else method.preferred(forget)
    preferred_examples = encode(tokenizer, preferred, separator)
    retain_examples = encode(tokenizer, trained_pairs(retain), separator)
    watched = encode(tokenizer, [(fact.prompt, fact.answer) for fact in forget], separator)

    reference = copy.deepcopy(model).requires_grad_(False) if method.needs_reference else None
    adapted = get_peft_model(model, _adapters(model)) if settings.changes == "lora" else None
    changed = changed_parameters(model, settings)
    if method.masked:
        salient = salient_modules(
            {
                name: norm
                for name, norm in saliency(model, encode(tokenizer, true_pairs, separator)).items()
                if name in changed
            },
            settings.mask_percentile,
        )
        changed = changed & salient
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in changed)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=0.0,
    )
    order = torch.Generator().manual_seed(seed)
    forget_batches = shuffled_batches(len(forget_examples), settings.forget_batch, order)
    retain_batches = shuffled_batches(len(retain_examples), settings.retain_batch, order)

    def loss(step: int) -> Tensor:
        rows = next(forget_batches)
        part = [preferred_examples[row] for row in rows] if preferred_examples else []
        part += [forget_examples[row] for row in rows]
        if method.retain is not None:
            part += [retain_examples[row] for row in next(retain_batches)]
        ids, labels = collate(part)
        before = _reference_logits(reference, ids, labels)
        logits, answered = answer_logits(model, ids, labels)
        return _loss(method, settings, logits, answered, before)

    steps = 0
    losses = descend(optimizer, range(settings.max_steps), loss)
    with progress.task(description, settings.max_steps) as advance:
        for steps, value in enumerate(losses, start=1):
            note = f"loss {value:.2f}"
            if settings.check_every and steps % settings.check_every == 0:
                scores = answer_scores(model, watched)
                note = f"{scores.exact_rate:.0%} of forget answers left"
                if (
                    scores.exact_rate <= settings.stop_exact
                    and scores.mean_probability <= settings.stop_probability
                ):
                    advance(settings.max_steps - steps + 1, note=note)
                    break
            advance(1, note=note)
    if adapted is not None:
        adapted.merge_and_unload()
    model.requires_grad_(True)
    model.eval()
    return steps


def changed_parameters(model: PreTrainedModel, settings: UnlearningSettings) -> frozenset[str]:
    """Names of the parameters that unlearning may change, before any mask."""
    if settings.changes == "all":
        return frozenset(name for name, _ in model.named_parameters())
    if settings.changes == "lora":
        return frozenset(name for name, _ in model.named_parameters() if "lora_" in name)
    return frozenset(f"{name}.weight" for name in linear_layers(model))


def _adapters(model: PreTrainedModel) -> LoraConfig:
    """LoRA (arXiv 2106.09685) on every linear layer but the output head."""
    return LoraConfig(r=8, lora_alpha=16, target_modules=sorted(linear_layers(model)))


@torch.no_grad()
def _reference_logits(
    reference: PreTrainedModel | None, ids: Tensor, labels: Tensor
) -> Tensor | None:
    return None if reference is None else answer_logits(reference, ids, labels)[0]


def _loss(
    method: Method,
    settings: UnlearningSettings,
    logits: Tensor,
    labels: Tensor,
    reference: Tensor | None,
) -> Tensor:
    """Return the forget loss plus the weighted retain term.

    The first rows of the batch are forgotten, and the rest is retained.
    """
    cut = settings.forget_batch * (1 if method.preferred is None else 2)
    before, after = (None, None) if reference is None else (reference[:cut], reference[cut:])
    loss = method.forget(logits[:cut], labels[:cut], before)
    if method.retain is not None:
        retained = method.retain(logits[cut:], labels[cut:], after)
        loss = loss + settings.retain_weight * retained
    return loss
