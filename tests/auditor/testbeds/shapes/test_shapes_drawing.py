import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auditor.testbeds.shapes.captions import SYNONYMS
from auditor.testbeds.shapes.drawing import (
    BACKGROUND,
    COLORS,
    HELD_OUT,
    JITTER,
    SIZE,
    TRAINED,
    draw,
)

SHAPES = st.sampled_from([*TRAINED, *HELD_OUT])
PALETTE = st.sampled_from(list(COLORS))
SEEDS = st.integers(0, 2**63)


@given(SHAPES, PALETTE, SEEDS)
def test_the_mask_is_exactly_what_is_not_background(shape, color, seed):
    drawing = draw(shape, color, seed)
    background = torch.tensor(BACKGROUND)[:, None, None]
    assert torch.equal(drawing.mask, (drawing.image != background).any(0))
    assert (drawing.image[:, drawing.mask] == torch.tensor(COLORS[color])[:, None]).all()
    assert drawing.image.shape == (3, SIZE, SIZE)
    assert drawing.image.dtype == torch.float32


@given(SHAPES, PALETTE, SEEDS)
def test_a_shape_lies_whole_in_the_picture_and_near_the_middle(shape, color, seed):
    inside = draw(shape, color, seed).mask.nonzero().double()
    low, high = inside.min(0).values, inside.max(0).values
    assert low.min() >= 1
    assert high.max() <= SIZE - 2
    # all shapes are as wide and as high as they were drawn: their middle moves by whole pixels
    assert (((low + high) / 2 - (SIZE - 1) / 2).abs() <= JITTER).all()


@given(SHAPES, PALETTE, SEEDS)
def test_a_seed_gives_the_same_picture(shape, color, seed):
    assert torch.equal(draw(shape, color, seed).image, draw(shape, color, seed).image)


@pytest.mark.parametrize("shape", [*TRAINED, *HELD_OUT])
def test_seeds_reach_every_position_and_colours_move_nothing(shape):
    masks = {draw(shape, "red", seed).mask.numpy().tobytes() for seed in range(200)}
    assert len(masks) == (2 * JITTER + 1) ** 2
    assert all(
        torch.equal(draw(shape, color, 5).mask, draw(shape, "red", 5).mask) for color in COLORS
    )


def test_no_two_shapes_are_alike():
    masks = {shape: draw(shape, "red", 3).mask for shape in SYNONYMS}
    assert set(masks) == {*TRAINED, *HELD_OUT}
    for shape, mask in masks.items():
        for other, theirs in masks.items():
            if other != shape:
                overlap = (mask & theirs).sum() / (mask | theirs).sum()
                assert overlap < 0.9, f"{shape} and {other}"
