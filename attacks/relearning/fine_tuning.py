"""Fine-tuning of a model in place: LoRA through PEFT, or all weights."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from attacks.relearning.equilibration import (
    Factor,
    Frame,
    along,
    layer_frame,
    multiplied,
    parameter_factors,
    pulled_back,
)
from attacks.relearning.family import FineTuning
from attacks.relearning.head_frames import Heads, attention_heads
from auditor.core.errors import MemoryExhaustedError, UnavailableError
from auditor.core.faults import is_out_of_memory
from auditor.models.devices import gpus_of
from auditor.models.language.layers import embedded_weights
from auditor.models.language.model import Example, LanguageModel
from auditor.models.memory import release_memory
from auditor.unlearning.adam import moments
from auditor.unlearning.batches import shuffled_batches

Item = TypeVar("Item")
"""Type of what a batch holds."""

LORA_SCALE = 2
"""LoRA's alpha over its rank."""


HEAD_STEP = 0.3
"""Size of LoRA's steps in the output head, relative to those in other matrices. What is taught can
be learned in the head alone, as words that are said more often, and then less comes back of what is
not taught: on the testbed 0.18 with whole steps, 0.21 with these or none."""


class Trained(NamedTuple):
    """A parameter that is trained."""

    parameter: nn.Parameter
    factors: tuple[Factor, ...]
    """What its steps are multiplied by, beside the learning rate."""
    rounded: bool = False
    """Whether its moments are kept in 8 bits."""


class FramedAdamW(torch.optim.Optimizer):
    """Adam in the frame of each parameter (arXiv 1412.6980).

    It is AdamW without weight decay.

    A parameter is its value in the frame times its factors. So are its steps, and its gradient in
    the frame is its gradient times the factors. No copy of the value in the frame is kept.

    Args:
        trained: what is trained.
        rate: constant learning rate.
    """

    def __init__(self, trained: Sequence[Trained], rate: float) -> None:
        super().__init__([one.parameter for one in trained], {"lr": rate})
        self._trained: dict[Any, Trained] = {one.parameter: one for one in trained}
        self._steps = 0
        self.halfway = False
        """Whether some parameters have made a step that others have not."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one step with the gradients, and let go of them."""
        with self._one_step() as move:
            for parameter in self._trained:
                if parameter.grad is not None:
                    move(parameter)

    @contextmanager
    def step_in_turn(self) -> Iterator[None]:
        """Make one step in the backward pass that comes within the context.

        Each parameter moves as soon as its gradient is whole, and lets go of it, so there is never
        more than one. It has its gradient last of all that is computed from its value.
        """
        with ExitStack() as hooks, self._one_step() as move:
            for parameter in self._trained:
                hook = parameter.register_post_accumulate_grad_hook(move)
                hooks.callback(hook.remove)
            yield

    @contextmanager
    def _one_step(self) -> Iterator[Callable[[torch.Tensor], None]]:
        """Yield what moves a parameter by its gradient.

        Without an error all count as moved.
        """
        (group,) = self.param_groups

        @torch.no_grad()
        def move(parameter: Any) -> None:
            self.halfway = True
            one, state = self._trained[parameter], self.state[parameter]
            change, parameter.grad = parameter.grad.contiguous(), None
            if not state:
                state["moments"] = moments(change, rounded=one.rounded)
            divisor = state["moments"].step_(pulled_back(change, one.factors), self._steps + 1)
            parameter.sub_(multiplied(change, one.factors), alpha=group["lr"] / divisor)

        yield move
        self._steps += 1
        self.halfway = False


class Learner(Generic[Item]):
    """A model that is being trained.

    It stays where accelerate's device map put it, and in evaluation mode: without dropout
    nothing is random but the order of examples, LoRA's first matrices and what a batch draws,
    and all come from the seed alone, so they are the same on every arm.

    Args:
        trained: what is trained.
        batches: the examples of each step.
        loss: mean loss of some examples, with gradients.
        settings: batch size, and the learning rate where none is given.
        rate: learning rate.
        size: how much an example counts in the mean.
    """

    def __init__(
        self,
        trained: Sequence[Trained],
        batches: Iterator[Sequence[Item]],
        loss: Callable[[Sequence[Item]], torch.Tensor],
        settings: FineTuning,
        rate: float | None = None,
        size: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        self.step = 0
        """Optimiser steps made so far."""
        self._batches = batches
        self._loss = loss
        self._size = size
        self._part = settings.batch_size
        self._optimizer = FramedAdamW(trained, rate or settings.rate)

    def advance(self, step: int) -> None:
        """Train until ``step`` optimiser steps are made in all.

        Raises:
            MeasurementError: the loss is not finite.
            MemoryExhaustedError: one example alone, or a step, runs out of memory.
        """
        while self.step < step:
            batch = next(self._batches)
            while not self._descend(batch):
                release_memory()
            self.step += 1
        self._optimizer.zero_grad()

    def _descend(self, batch: Sequence[Item]) -> bool:
        """Make one step; the first one takes the memory of the moments.

        Where a batch is read whole no more than one gradient is held at a time. If memory ran out
        before anything moved it returns False and makes the parts smaller.
        """
        self._optimizer.zero_grad()  # of a try that failed halfway, too
        whole = sum(map(self._size, batch))
        parts = [batch[at : at + self._part] for at in range(0, len(batch), self._part)]
        try:
            with self._optimizer.step_in_turn() if len(parts) == 1 else nullcontext():
                for part in parts:
                    share = sum(map(self._size, part)) / whole
                    torch.autograd.backward(self._loss(part) * share)
            if len(parts) > 1:
                self._optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self._optimizer.halfway:
                raise MemoryExhaustedError("out of memory while making a training step") from error
            if self._part == 1:
                raise MemoryExhaustedError("out of memory while training on one example") from error
            self._part = max(1, min(self._part, len(batch)) // 2)
            return False
        return True


@contextmanager
def learner(
    model: LanguageModel,
    examples: Sequence[Example],
    settings: FineTuning,
    seed: int,
    rate: float | None = None,
) -> Iterator[Learner[Example]]:
    """Train a model on ``examples`` in place, and restore it.

    Afterwards it is restored bit for bit.

    Args:
        model: model that is taught.
        examples: what is taught.
        settings: how.
        seed: seed of the order of examples and of LoRA's first matrices.
        rate: learning rate, by default that of the settings.

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
    with model.unchanged_weights() as network:
        trained = (
            adapter(
                network,
                settings.rank,
                seed,
                matrices(network),
                _head_step(network),
                attention_heads(network),
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
                rate,
                size=lambda item: item.answer_tokens,
            )


@contextmanager
def adapter(
    network: nn.Module,
    rank: int,
    seed: int,
    layers: Mapping[str, nn.Module],
    sizes: Mapping[str, float] | None = None,
    heads: Mapping[str, Heads] | None = None,
) -> Iterator[list[Trained]]:
    """Put LoRA around layers of a model, each in its frame.

    Afterwards it is taken off again.

    The change of a layer's weight is ``diag(rows) B A diag(columns)`` with its frame's rows and
    columns, B zero and A of LoRA's usual size at first.

    Args:
        network: It stays as it is, LoRA aside.
        rank: rank of LoRA's matrices.
        seed: seed of LoRA's first matrices.
        layers: around which it is put, by name.
        sizes: relative size of the steps in a layer; 1 where none is given.
        heads: where the heads are in layers of attention.

    Yields:
        LoRA's matrices, with the scales of their frame.

    Raises:
        UnavailableError: PEFT has no LoRA for these layers, or no gradient gets through them.
    """
    from peft import LoraConfig, get_peft_model

    layers = _taken(network, layers)
    frames = {name: layer_frame(layer, (heads or {}).get(name)) for name, layer in layers.items()}
    lora = LoraConfig(
        r=rank,
        lora_alpha=LORA_SCALE * rank,
        target_modules=list(layers),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
    )
    try:
        with torch.random.fork_rng(gpus_of(network)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
            torch.manual_seed(seed)
            adapted = get_peft_model(network, lora)
    except (ValueError, ImportError, NotImplementedError) as error:
        _unwrap(network)
        raise UnavailableError(f"PEFT cannot put LoRA on this model: {error}") from error
    try:
        _check_blocked(adapted)
        around = dict(network.named_modules(remove_duplicate=False))
        yield [
            trained
            for name, frame in frames.items()
            for trained in _framed(around[name], frame, (sizes or {}).get(name, 1.0))
        ]
    finally:
        adapted.unload()


def _taken(network: nn.Module, layers: Mapping[str, nn.Module]) -> Mapping[str, nn.Module]:
    """Return the layers around which PEFT puts LoRA in such a network.

    Those of Mamba whose weights its kernels read past the layer are left out.

    Raises:
        UnavailableError: PEFT takes none of them.
    """
    from peft import LoraConfig
    from peft.tuners import tuners_utils

    refuse = getattr(tuners_utils, "_check_lora_target_modules_mamba", lambda *given: None)
    taken, reason = {}, None
    for name, layer in layers.items():
        try:
            refuse(LoraConfig(), network, name.rpartition(".")[2])
        except ValueError as error:
            reason = error
        else:
            taken[name] = layer
    if not taken:
        raise UnavailableError(f"PEFT cannot put LoRA on this model: {reason}") from reason
    return taken


def _unwrap(network: nn.Module) -> None:
    """Take off what PEFT had put on before it gave up."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            network.set_submodule(name, module.get_base_layer())


@torch.no_grad()
def _framed(layer: Any, frame: Frame | None, size: float) -> Iterator[Trained]:
    """Yield LoRA's matrices of a layer, in the layer's frame.

    The first ones are moved into the frame of the layer's weight.

    Args:
        layer: PEFT's.
        frame: frame of the layer's weight; without one they stay in that of the weights themselves.
        size: relative size of the steps.
    """
    (adapter_name,) = layer.r
    if layer.lora_embedding_A:
        # A [rank, tokens] is zero at first and B [width, rank] random, of the size 1 in PEFT
        a, b = layer.lora_embedding_A[adapter_name], layer.lora_embedding_B[adapter_name]
        b.mul_((3 * len(b)) ** -0.5)
        sides = () if frame is None else (along(frame.rows, 1, 2), along(frame.columns, 0, 2))
    else:
        # A [rank, in, …] is random at first and B [out, rank, …] zero
        a, b = layer.lora_A[adapter_name].weight, layer.lora_B[adapter_name].weight
        sides = (
            ()
            if frame is None
            else (along(frame.columns, 1, a.ndim), along(size * frame.rows, 0, b.ndim))
        )
    for place, matrix in enumerate((a, b)):
        factors = sides[place : place + 1]
        multiplied(matrix, factors)
        yield Trained(matrix, factors)


def matrices(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that hold a matrix, by name.

    LoRA is put around them.

    These are the linear ones, the output head among them, those of quantization kernels, and the
    embeddings of tokens and of positions. A matrix that several layers share has LoRA beside each.
    """
    return {
        name: module
        for name, module in network.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Linear | Conv1D)
        or (isinstance(module, nn.Embedding) and _looks_up(module))
        or (hasattr(module, "qweight") and hasattr(module, "in_features"))
    }


def _head_step(network: Any) -> dict[str, float]:
    """Size of the steps in the output head, by its name."""
    head = network.get_output_embeddings()
    return {name: HEAD_STEP for name, module in network.named_modules() if module is head}


def _looks_up(module: nn.Embedding) -> bool:
    """Return whether an embedding is asked by ids alone.

    LoRA beside it needs that.
    """
    return type(module).forward is nn.Embedding.forward or type(module).__name__.endswith(
        "ScaledWordEmbedding"
    )


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
        if isinstance(base, nn.Embedding):
            continue
        if isinstance(base, nn.Linear | Conv1D) and tensor.is_floating_point():
            continue
        given = torch.ones(1, base.in_features, device=tensor.device, requires_grad=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                passed = torch.autograd.grad(base(given).sum(), given, allow_unused=True)[0]
        except (RuntimeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
            passed = None
        if passed is None:
            raise UnavailableError(
                f"the quantized layers ({type(base).__name__}) pass no gradient on this device; "
                "run it where their kernels can train, or give the model at full precision"
            )


@contextmanager
def all_weights(network: nn.Module) -> Iterator[list[Trained]]:
    """Make every weight trainable, in its frame and in float32.

    Steps are lost in the rounding of half types. Copies are trained: the weights themselves are set
    aside, in the main memory, and put back afterwards. A weight takes six bytes: itself and two
    moments of 8 bits; those of embeddings and head stay whole, for most of their rows have no
    gradient in a step. Its gradient takes four more, in turn where a batch is read whole.
    """
    factors = parameter_factors(network, attention_heads(network))
    weights = dict(network.named_parameters())
    aside = {name: weight.data.cpu() for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.requires_grad_(True)
        shared = weight.data.data_ptr() == aside[name].data_ptr()
        weight.data = weight.data.to(torch.float32, copy=shared)
    try:
        whole = set(map(id, embedded_weights(network)))
        yield [Trained(w, factors[n], rounded=id(w) not in whole) for n, w in weights.items()]
    finally:
        for name, weight in weights.items():
            weight.grad = None
            weight.data = aside[name].to(weight.device)
