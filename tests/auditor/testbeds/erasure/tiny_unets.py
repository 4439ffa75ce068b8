"""A UNet of 65,000 random weights in Stable Diffusion's layout, and prompts of random numbers."""

from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel

from auditor.core.progress import SilentProgress
from auditor.unlearning.erasure import EncodedPrompt

WIDTH = 16
LENGTH = 8


def tiny_unet(seed=0, **changes):
    torch.manual_seed(seed)
    settings = {
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**settings, **changes}).eval()


def random_prompt(seed, subject=range(2, 3), width=WIDTH):
    draws = torch.Generator().manual_seed(seed)
    return EncodedPrompt(torch.randn(LENGTH, width, generator=draws), subject)


def minimise(objective, *starts):
    """Minimise numerically in float64; return where it ends."""
    variables = [start.double().clone().requires_grad_(True) for start in starts]
    search = torch.optim.LBFGS(
        variables,
        max_iter=5000,
        max_eval=10000,
        tolerance_grad=1e-12,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure():
        search.zero_grad()
        value = objective(*variables)
        value.backward()
        return value

    search.step(closure)
    return [variable.detach() for variable in variables]


def relative_error(found, expected):
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm())


class Listening(SilentProgress):
    """Progress that keeps the losses it is told."""

    def __init__(self):
        self.losses = []

    @contextmanager
    def task(self, description, total):
        def advance(n=1, note=""):
            self.losses.append(float(note.removeprefix("loss ")))

        yield advance
