"""Histograms of oriented gradients: the outlines of pictures, whatever their colours."""

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 32
"""Width and height, in pixels, to which a picture is brought."""
CELLS = 8
"""Cells along each side."""
ORIENTATIONS = 9
"""Bins of the half circle; light on dark and dark on light are one orientation."""


def oriented_gradients(images: Tensor) -> Tensor:
    """Describe the outlines in pictures (HOG, Dalal and Triggs, CVPR 2005).

    Each pixel votes with the channel in which it changes most, for its two nearest orientations, in
    overlapping cells; the whole has length 1. Ink, paper and their exchange change nothing, and a
    drawn outline is near the filled shape.

    Args:
        images: [n, 3, height, width] in [0, 1].

    Returns:
        [n, ORIENTATIONS * CELLS * CELLS] float32; zeros where a picture is of one colour.
    """
    small = functional.interpolate(
        images.float(), (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    framed = functional.pad(small, (1, 1, 1, 1), mode="replicate")
    across = framed[:, :, 1:-1, 2:] - framed[:, :, 1:-1, :-2]
    down = framed[:, :, 2:, 1:-1] - framed[:, :, :-2, 1:-1]
    strongest = (across.square() + down.square()).argmax(1, keepdim=True)
    across, down = across.gather(1, strongest), down.gather(1, strongest)
    size = (across.square() + down.square()).sqrt()
    place = (torch.atan2(down, across) % torch.pi) / torch.pi * ORIENTATIONS
    low, share = place.floor().long(), place.frac()
    votes = size.new_zeros(len(images), ORIENTATIONS, SIDE, SIDE)
    votes.scatter_add_(1, low % ORIENTATIONS, size * (1 - share))
    votes.scatter_add_(1, (low + 1) % ORIENTATIONS, size * share)
    width = SIDE // CELLS
    cells = functional.avg_pool2d(votes, 2 * width, width, padding=width // 2)
    return functional.normalize(cells.flatten(1), dim=1)
