"""A tokenizer and causal language models, trained from scratch on questions and answers.

The model sees exactly ``{prompt} {answer}`` followed by the end token; the loss is taken on
the answer and the end token. ``tokenizer(prompt)`` therefore gives the trained condition for
generation, and ``tokenizer(prompt + " " + answer)`` adds no end token.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from auditor.core.progress import Progress
from auditor.models.language.scoring import IGNORED

Item = TypeVar("Item")

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"


class TrainingSettings(BaseModel):
    """How a model is trained from scratch.

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


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt, its answer and the end token.

    Attributes:
        ids: All token ids, the end token last.
        prompt_length: How many of them belong to the prompt.
    """

    ids: tuple[int, ...]
    prompt_length: int


@dataclass(frozen=True)
class Scores:
    """What a model answers, one entry per example.

    Attributes:
        exact: Greedy decoding gives the answer and then stops, bool [examples].
        probability: exp(mean log-probability of the answer's tokens), float [examples].
    """

    exact: Tensor
    probability: Tensor

    @property
    def exact_rate(self) -> float:
        """Share of the answers given exactly."""
        return float(self.exact.double().mean())

    @property
    def mean_probability(self) -> float:
        """Mean answer probability."""
        return float(self.probability.double().mean())


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that puts a begin token first and adds no end token.

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


def encode(
    tokenizer: PreTrainedTokenizerFast, pairs: Iterable[tuple[str, str]]
) -> tuple[Example, ...]:
    """Turn (prompt, answer) pairs into examples."""
    examples = []
    for prompt, answer in pairs:
        ids = [*tokenizer(f"{prompt} {answer}")["input_ids"], tokenizer.eos_token_id]
        examples.append(Example(tuple(ids), len(tokenizer(prompt)["input_ids"])))
    return tuple(examples)


def collate(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Pad examples on the right to one batch.

    Padding lies after every real token and carries no loss, so a causal model needs no mask.

    Returns:
        Token ids [batch, time], and labels [batch, time - 1] that hold the next token where it
        belongs to the answer or is the end token, and ``IGNORED`` elsewhere.
    """
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest - 1), IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example.ids)
        ids[row, : len(tokens)] = tokens
        labels[row, example.prompt_length - 1 : len(tokens) - 1] = tokens[example.prompt_length :]
    return ids, labels


def next_token_logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Logits for every next token, [batch, time - 1, vocabulary]."""
    logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits[:, :-1]


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood over labelled positions, a scalar in nats."""
    return functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )


def batches(
    examples: Sequence[Item], size: int, generator: torch.Generator
) -> Iterator[list[Item]]:
    """Endless shuffled passes over the examples; every batch is full."""
    queue: list[int] = []
    while True:
        while len(queue) < size:
            queue.extend(torch.randperm(len(examples), generator=generator).tolist())
        yield [examples[index] for index in queue[:size]]
        queue = queue[size:]


@torch.no_grad()
def answer_scores(
    model: PreTrainedModel, examples: Sequence[Example], batch_size: int = 64
) -> Scores:
    """Score answers in one teacher-forced pass.

    Greedy decoding gives an answer exactly if and only if every one of its tokens, and the end
    token after it, is the most probable one given the tokens before it.
    """
    training = model.training
    model.eval()
    exact: list[Tensor] = []
    probability: list[Tensor] = []
    for start in range(0, len(examples), batch_size):
        ids, labels = collate(examples[start : start + batch_size])
        logits = next_token_logits(model, ids).float()
        answered = labels != IGNORED
        exact.append(((logits.argmax(-1) == labels) | ~answered).all(-1))
        targets = labels.clamp_min(0)[..., None]
        log_probability = logits.log_softmax(-1).gather(-1, targets)[..., 0]
        is_end = answered & (answered.long().cumsum(-1) == answered.sum(-1, keepdim=True))
        answer = answered & ~is_end
        mean = (log_probability * answer).sum(-1) / answer.sum(-1)
        probability.append(mean.exp())
    model.train(training)
    return Scores(torch.cat(exact), torch.cat(probability))


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
        config: Of the model. Its vocabulary size and special token ids are set here.
        tokenizer: Gives the vocabulary size and the special token ids.
        examples: Training examples, seen in seeded random order.
        settings: Steps, batch size, learning rate.
        seed: Of the initial weights and of the order.
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
        order = batches(examples, settings.batch_size, torch.Generator().manual_seed(seed))
        with progress.task(description, settings.steps) as advance:
            for _ in range(settings.steps):
                ids, labels = collate(next(order))
                logits = next_token_logits(model, ids)
                loss = cross_entropy(logits, labels, settings.label_smoothing)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                advance(1, note=f"loss {loss.item():.2f}")
    model.eval()
    return model


def _rate(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then cosine decay to zero, as a share of the peak."""
    warm = max(1, round(steps * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
