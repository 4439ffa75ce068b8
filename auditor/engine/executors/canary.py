"""Proof that workers on several machines compute alike."""

import hashlib
import platform
from typing import NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

from auditor.models.devices import first_device
from auditor.store.environment import CPU

_SIDE = 64
"""Tokens and width of the states of the fixed computation."""


class Canary(NamedTuple):
    """What a worker says of itself before it may work."""

    device: str
    """Name of its accelerator, or ``cpu``."""
    python: str
    torch: str
    answer: str
    """Digest of the results of a fixed computation, to the last bit."""

    def differences(self, other: "Canary") -> str:
        """Return in words what differs from another worker's, or an empty text."""
        named = zip(self._fields, self, other, strict=True)
        return "; ".join(f"{name} {a} against {b}" for name, a, b in named if a != b)


def sing() -> Canary:
    """Compute on this machine what every worker of an audit computes first.

    It is one attention and one softmax, in float32 and in bfloat16, of states drawn on the CPU.
    """
    device = first_device()
    drawn = torch.randn(1, 4, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    sha = hashlib.sha256()
    for dtype in (torch.float32, torch.bfloat16):
        states = drawn.to(device, dtype)
        attended = scaled_dot_product_attention(states, states, states, is_causal=True)
        found = (attended @ states.transpose(-1, -2)).softmax(-1)
        sha.update(found.float().cpu().numpy().tobytes())
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else CPU
    return Canary(name, platform.python_version(), torch.__version__, sha.hexdigest()[:16])
