"""Digests of tensors, worked out on the device that holds them."""

import functools
import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

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
    whole = len(octets) // 8 * 8
    factors = _factors(flat.device)
    for part in torch.split(octets[:whole].view(torch.int64), _WORDS * _at_once(flat.device)):
        blocks = functional.pad(part, (0, -len(part) % _WORDS)).view(-1, _WORDS)
        mixed = blocks * _SPREAD
        mixed ^= (mixed >> 32) & _LOW
        yield (mixed * factors).sum(1).cpu().numpy().tobytes()
    yield octets[whole:].cpu().numpy().tobytes()


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
