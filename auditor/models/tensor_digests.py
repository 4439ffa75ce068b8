"""Digests of tensors, worked out on the device that holds them."""

import functools
import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

_WORDS = 1 << 15
"""Words of eight bytes in a block, which has one sum."""
_BLOCKS = 1 << 9
"""Blocks that an accelerator adds up at a time; a processor takes one, within its cache."""
_SPREAD = 0x9E3779B97F4A7C15 - (1 << 64)
"""An odd factor that spreads the low bits of a word (2^64 over the golden ratio)."""
_LOW = 0xFFFFFFFF


def tensor_digest(tensor: Tensor) -> str:
    """Digest (hex) of a tensor's type, shape and bits.

    Words of eight bytes are mixed, multiplied by odd factors that differ within a block, and added
    up by blocks modulo 2^64; the sums are hashed. One word that changes always changes the sum of
    its block, as mixing and odd factors can be undone. Two words that change places in a block do
    but for about one pair in 2^48, and other changes but for about one in 2^64.
    """
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    for part in _sums(tensor.detach().contiguous().reshape(-1)):
        digest.update(part)
    return digest.hexdigest()


def _sums(flat: Tensor) -> Iterator[bytes]:
    """Yield the sums of a tensor's blocks, and its last bytes."""
    if flat.storage_offset() * flat.element_size() % 8:
        flat = flat.clone()
    octets = flat.view(torch.uint8)
    words = octets[: len(octets) // 8 * 8].view(torch.int64)
    whole = len(words) // _WORDS * _WORDS
    for part in torch.split(words[:whole].view(-1, _WORDS), _at_once(flat.device)):
        yield _weighted(part)
    yield _weighted(words[whole:].unsqueeze(0))
    yield octets[8 * len(words) :].cpu().numpy().tobytes()


def _weighted(blocks: Tensor) -> bytes:
    """Sums of blocks of words [blocks, words]."""
    mixed = blocks * _SPREAD
    mixed ^= (mixed >> 32) & _LOW
    mixed *= _factors(blocks.device)[: blocks.shape[1]]
    return bytes(mixed.sum(1).cpu().numpy().tobytes())


def _at_once(device: torch.device) -> int:
    return 1 if device.type == "cpu" else _BLOCKS


@functools.cache
def _factors(device: torch.device) -> Tensor:
    """Odd factors of the words of a block.

    No two have the same low bits.
    """
    generator = torch.Generator().manual_seed(0)
    high = torch.randint(1 << 46, (_WORDS,), generator=generator)
    return ((high << 17) | (2 * torch.arange(_WORDS) + 1)).to(device)
