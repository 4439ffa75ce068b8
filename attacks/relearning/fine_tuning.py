"""Fine-tuning of a model in place: LoRA through PEFT, or all weights."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn
from transformers.pytorch_utils import Conv1D

from attacks.relearning.family import FineTuning
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.models.language.model import Example, LanguageModel
from auditor.unlearning.batches import shuffled_batches

Item = TypeVar("Item")
"""What a batch holds."""

LORA_SCALE = 2
"""LoRA's alpha over its rank."""


class Learner(Generic[Item]):
    """A model that is being trained.

    It stays where accelerate's device map put it, and in evaluation mode: without dropout
    nothing is random but the order of examples, LoRA's first matrices and what a batch draws,
    and all come from the seed alone, so they are the same on every arm.

    Args:
        weights: what is trained.
        batches: the examples of each step.
        loss: mean loss of some examples, with gradients.
        settings: learning rate and batch size.
        size: how much an example counts in the mean.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        batches: Iterator[Sequence[Item]],
        loss: Callable[[Sequence[Item]], torch.Tensor],
        settings: FineTuning,
        size: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self.step = 0
        """Optimiser steps made so far."""
        self._batches = batches
        self._loss = loss
        self._size = size
        self._part = settings.batch_size
        self._optimizer = torch.optim.AdamW(weights, lr=settings.rate, weight_decay=0.0)

    def advance(self, step: int) -> None:
        """Train until ``step`` optimiser steps are made in all.

        Raises:
            MeasurementError: the loss is not finite, or one example alone runs out of memory.
        """
        while self.step < step:
            batch = next(self._batches)
            while not self._accumulate(batch):
                clear_device_cache(garbage_collection=True)
            self._optimizer.step()
            self.step += 1
        self._optimizer.zero_grad()

    def _accumulate(self, batch: Sequence[Item]) -> bool:
        """Accumulate gradients of the mean loss.

        If memory ran out it returns False and makes the parts smaller.
        """
        self._optimizer.zero_grad()  # of a try that failed halfway, too
        whole = sum(map(self._size, batch))
        try:
            for start in range(0, len(batch), self._part):
                part = batch[start : start + self._part]
                share = sum(map(self._size, part)) / whole
                torch.autograd.backward(self._loss(part) * share)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            if self._part == 1:
                raise MeasurementError("out of memory while training on one example") from error
            self._part = max(1, min(self._part, len(batch)) // 2)
            return False
        return True


@contextmanager
def learner(
    model: LanguageModel, examples: Sequence[Example], settings: FineTuning, seed: int
) -> Iterator[Learner[Example]]:
    """Train a model on ``examples`` in place; afterwards it is restored bit for bit.

    Raises:
        UnavailableError: PEFT has no LoRA for the model's layers, or an example is longer than the
            model's context.
    """
    limit = model.context_length
    longest = max(item.positions for item in examples)
    if limit is not None and longest > limit:
        raise UnavailableError(
            f"a training example has {longest} tokens, and the model's context holds {limit}"
        )
    with model.preserve_weights() as network:
        trained = (
            adapter(
                network,
                settings.rank,
                seed,
                target_modules=_packed_layers(network) or "all-linear",
                fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
            )
            if settings.method == "lora"
            else all_weights(network)
        )
        order = shuffled_batches(
            len(examples), settings.batch_size, torch.Generator().manual_seed(seed)
        )
        with trained as weights:
            yield Learner(
                weights,
                ([examples[i] for i in rows] for rows in order),
                lambda part: model.loss(part),
                settings,
                size=lambda item: item.answer_tokens,
            )


@contextmanager
def adapter(
    network: nn.Module, rank: int, seed: int, **settings: Any
) -> Iterator[list[nn.Parameter]]:
    """Put LoRA around layers of a model, and take it off again.

    Args:
        network: It stays as it is, LoRA aside.
        rank: of LoRA's matrices.
        seed: of LoRA's first matrices.
        settings: for PEFT's ``LoraConfig``; ``target_modules`` says which layers.

    Yields:
        LoRA's matrices.

    Raises:
        UnavailableError: PEFT has no LoRA for these layers, or no gradient gets through them.
    """
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=rank, lora_alpha=LORA_SCALE * rank, **settings)
    devices = list(range(torch.cuda.device_count()))
    try:
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            torch.manual_seed(seed)
            adapted = get_peft_model(network, lora)
    except (ValueError, ImportError, NotImplementedError) as error:
        raise UnavailableError(f"PEFT cannot put LoRA on this model: {error}") from error
    try:
        _check_blocked(adapted)
        yield [p for p in adapted.parameters() if p.requires_grad]
    finally:
        adapted.unload()


def _packed_layers(network: nn.Module) -> list[str]:
    """Linear layers of GPTQ and AWQ kernels.

    PEFT adapts them but does not count them as linear.
    """
    return [
        name
        for name, module in network.named_modules()
        if hasattr(module, "qweight") and hasattr(module, "in_features")
    ]


def _check_blocked(adapted: nn.Module) -> None:
    """Refuse quantized layers that no gradient gets through.

    LoRA below them would not learn.

    Raises:
        UnavailableError: the kernel of some layer is for inference only.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in (module for module in adapted.modules() if isinstance(module, BaseTunerLayer)):
        base = layer.get_base_layer()
        tensor = next(itertools.chain(base.parameters(), base.buffers()))
        if isinstance(base, nn.Linear | Conv1D) and tensor.is_floating_point():
            continue
        given = torch.ones(1, base.in_features, device=tensor.device, requires_grad=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                passed = torch.autograd.grad(base(given).sum(), given, allow_unused=True)[0]
        except (RuntimeError, NotImplementedError):
            passed = None
        if passed is None:
            raise UnavailableError(
                f"the quantized layers ({type(base).__name__}) pass no gradient on this device; "
                "run it where their kernels can train, or give the model at full precision"
            )


@contextmanager
def all_weights(network: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Make every weight trainable, in float32.

    Steps are lost in the rounding of half types.
    """
    weights = list(network.parameters())
    types = [weight.dtype for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
        weight.data = weight.data.float()
    try:
        yield weights
    finally:
        for weight, dtype in zip(weights, types, strict=True):
            weight.grad = None
            weight.data = weight.data.to(dtype)
