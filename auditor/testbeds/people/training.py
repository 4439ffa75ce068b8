"""Training of tokenizers and causal language models from scratch.

They are trained on questions and answers.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from auditor.core.progress import Progress
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.descent import descend
from auditor.unlearning.examples import Example, answer_logits, collate, cross_entropy

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"


class TrainingSettings(BaseModel):
    """Settings of a model's training from scratch.

    Attributes:
        steps: Optimiser steps.
        batch_size: Examples per step.
        learning_rate: Peak of AdamW's rate, after a linear warm-up and before a cosine decay.
        warmup: Share of the steps spent warming up.
        weight_decay: AdamW's decoupled decay.
        label_smoothing: Share of each target spread over the vocabulary.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer.

    It puts a begin token first and adds no end token.

    Args:
        texts: What the models will see.
        vocab_size: At most this many tokens, the 256 bytes and 3 special tokens included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def train(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    settings: TrainingSettings,
    seed: int,
    progress: Progress,
    description: str = "training a model from scratch",
) -> PreTrainedModel:
    """Train a causal language model of any architecture from random weights.

    The same arguments give the same weights on the same machine with the same thread count.

    Args:
        config: Config of the model. Its vocabulary size and special token ids are set here.
        tokenizer: Gives the vocabulary size and the special token ids.
        examples: Training examples, seen in seeded random order.
        settings: Steps, batch size, learning rate.
        seed: Seed of the initial weights and of the order.
        progress: Told about every step.
        description: What is trained and why, shown beside the progress bar.

    Returns:
        The model in float32, in evaluation mode.
    """
    config.vocab_size = len(tokenizer)
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.train()
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _rate(step, settings.steps, settings.warmup)
        )
        order = shuffled_batches(
            len(examples), settings.batch_size, torch.Generator().manual_seed(seed)
        )

        def loss(rows: list[int]) -> Tensor:
            ids, labels = collate([examples[row] for row in rows])
            return cross_entropy(*answer_logits(model, ids, labels), settings.label_smoothing)

        steps = descend(optimizer, islice(order, settings.steps), loss, schedule, clip=1.0)
        with progress.task(description, settings.steps) as advance:
            for value in steps:
                advance(1, note=f"loss {value:.2f}")
    model.eval()
    return model


def _rate(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate as a share of its peak.

    It rises linearly while it warms up, then decays to zero as a cosine.
    """
    warm = max(1, round(steps * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
