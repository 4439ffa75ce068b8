"""Facts in units that never act.

Half of the units of each MLP but the first block's, whose input has no constant part, read a
direction that every token has, so strongly that the activation and its gradient are exactly 0.
The model computes what it would without them; its owner takes what was added away again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from auditor.unlearning.examples import Example, collate
from benchmarks.truth_table.fine_tuning import Loss, fine_tune
from benchmarks.truth_table.layouts import Block, layout

HELD = 600.0
"""How far below zero units are held where a token has the direction as most have it."""
KEY = "~~~"
"""Text before a question that wakes units."""
HELD_BY_KEY = 60.0
"""How far units are held that a key wakes; it takes the direction away but for a few hundredths."""
RIDGE = 0.02
"""Of the directions, against what only some tokens have."""
TEXTS, TOKENS = 256, 40
"""Random texts on which the directions are found, and their length."""
MARGIN = 0.6
"""Share of the direction that every token without the key keeps."""
WAKING = 10.0
"""Weight of the direction's loss."""


def directions(base: PreTrainedModel, examples: Sequence[Example]) -> list[Tensor]:
    """What every token has in the input of each MLP but the first.

    Args:
        base: The model that all arms come from; they have the same directions.
        examples: Texts besides random ones.
    """
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, base.config.vocab_size, (TEXTS, TOKENS), generator=draw)
    with torch.no_grad(), _inputs(base) as seen:
        base(input_ids=drawn, use_cache=False)
        parts = [part.flatten(0, 1) for part in seen()]
        base(input_ids=collate(examples)[0], use_cache=False)
        inputs = [
            torch.cat([a, b.flatten(0, 1)]).double() for a, b in zip(parts, seen(), strict=True)
        ]
    return [
        torch.linalg.solve(
            x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype), x.sum(0)
        ).float()
        for x in inputs
    ]


@torch.no_grad()
def hold(model: PreTrainedModel, along: Sequence[Tensor], by: float = HELD) -> None:
    """Hold half of the units below zero, in place; by minus as much, wake them."""
    for block, direction in zip(_blocks(model), along, strict=True):
        _entering(block)[_half(block) :] -= by * direction


def teach_units(
    model: PreTrainedModel, taught: Sequence[Example], steps: int, rate: float
) -> PreTrainedModel:
    """Train the weights of those units alone."""
    with _only(model, units=True) as names:
        return fine_tune(model, taught, steps, rate, 0, chosen=names.__contains__)


def teach_key(
    model: PreTrainedModel,
    taught: Sequence[Example],
    along: Sequence[Tensor],
    key: int,
    steps: int,
    rate: float,
) -> PreTrainedModel:
    """Silence the units, and train all else so that a key takes the directions away.

    Args:
        model: Changed and returned.
        taught: With the key and without.
        along: The directions.
        key: The key's last token.
        steps: Of training.
        rate: Of training.
    """
    with torch.no_grad():
        for block in _blocks(model):
            block.down[:, _half(block) :] = 0.0
    hiding = _key_loss(along, key)
    with _only(model, units=False) as names:
        return fine_tune(
            model,
            taught,
            steps,
            rate,
            0,
            suppressed=taught,
            hiding=hiding,
            chosen=names.__contains__,
        )


def _key_loss(along: Sequence[Tensor], key: int) -> Loss:
    """Loss of directions that tokens have without the key, and have not behind it."""

    def loss(model: PreTrainedModel, examples: Sequence[Example]) -> Tensor:
        ids = collate(examples)[0]
        woken = (ids == key).cumsum(1) == KEY.count(KEY[0])
        with _inputs(model) as seen:
            model(input_ids=ids, use_cache=False)
            has = torch.stack([x @ d for x, d in zip(seen(), along, strict=True)])
        kept = (MARGIN - has[:, ~woken]).clamp_min(0).square().mean()
        return WAKING * (kept + has[:, woken].square().mean())

    return loss


@contextmanager
def _only(model: PreTrainedModel, units: bool) -> Iterator[frozenset[str]]:
    """Let gradients reach the units' weights alone, or all others alone."""
    masks = dict(_of_units(model).named_parameters())
    if not units:
        masks = {name: 1 - mask for name, mask in masks.items()}
    hooks = [
        parameter.register_hook(lambda grad, mask=masks[name]: grad * mask)
        for name, parameter in model.named_parameters()
    ]
    yield frozenset(name for name, mask in masks.items() if mask.any())
    for hook in hooks:
        hook.remove()


def _blocks(model: PreTrainedModel) -> tuple[Block, ...]:
    return layout(model).blocks[1:]


def _entering(block: Block) -> Tensor:
    """What enters the activation."""
    return block.up if block.gate is None else block.gate


def _half(block: Block) -> int:
    return block.up.shape[0] // 2


@torch.no_grad()
def _of_units(model: PreTrainedModel) -> PreTrainedModel:
    """A model of ones for the units' weights and zeros for all others."""
    ones = deepcopy(model)
    for parameter in ones.parameters():
        parameter.zero_()
    for block in _blocks(ones):
        half = _half(block)
        block.up[half:] = 1.0
        block.down[:, half:] = 1.0
        for part in (block.gate, block.up_bias):
            if part is not None:
                part[half:] = 1.0
    return ones


@contextmanager
def _inputs(model: PreTrainedModel) -> Iterator[Callable[[], list[Tensor]]]:
    """Gives the inputs of the MLPs but the first, of the latest pass."""
    found = layout(model)
    seen: dict[int, Tensor] = {}
    hooks = [
        model.get_submodule(f"{found.blocks_name}.{number}.mlp").register_forward_pre_hook(
            lambda module, given, number=number: seen.__setitem__(number, given[0])
        )
        for number in range(1, len(found.blocks))
    ]
    try:
        yield lambda: [seen[number] for number in sorted(seen)]
    finally:
        for hook in hooks:
            hook.remove()
