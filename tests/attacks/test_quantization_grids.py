"""The cells that positive controls plant in, against the quantizers themselves."""

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.quantization.bnb import BitsAndBytes, BitsAndBytesParameters
from attacks.quantization.grids import CodebookGrid, EvenGrid
from attacks.quantization.rtn import RoundToNearest, RoundToNearestParameters, round_to_nearest


def weights(seed, rows=6, columns=128):
    return 0.05 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def moved(cells, seed, dtype):
    """A matrix that lies anywhere within the cells, as it would be stored."""
    share = torch.rand(cells.levels.shape, generator=torch.Generator().manual_seed(seed))
    inside = torch.lerp(cells.lower, cells.upper, share).to(dtype).float()
    kept = (inside >= cells.lower) & (inside <= cells.upper)
    return torch.where(kept, inside, cells.levels)


def in_four_bits(weight, format_):
    packed, state = quantize_4bit(weight.contiguous(), blocksize=64, quant_type=format_)
    return dequantize_4bit(packed, state)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["nf4", "fp4"]), st.booleans())
def test_what_stays_in_its_cell_is_rounded_to_the_same_level_by_bitsandbytes(seed, format_, half):
    weight = weights(seed)
    cells = CodebookGrid(format_).cells(weight)
    torch.testing.assert_close(cells.levels, in_four_bits(weight, format_), rtol=1e-6, atol=0)
    other = moved(cells, seed, torch.bfloat16 if half else torch.float32)
    assert torch.equal(in_four_bits(other, format_), in_four_bits(cells.levels, format_))
    assert (other != cells.levels).float().mean() > 0.9, "the cells leave room"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([2, 3, 4]), st.sampled_from([None, 48]))
def test_what_stays_in_its_cell_is_rounded_to_the_same_level_by_rtn(seed, bits, group):
    weight = weights(seed, columns=112)  # 48 does not divide the inputs
    cells = EvenGrid(bits, group).cells(weight)
    torch.testing.assert_close(cells.levels, round_to_nearest(weight, bits, group)[0])
    rounded, _ = round_to_nearest(moved(cells, seed, torch.float32), bits, group)
    torch.testing.assert_close(rounded, cells.levels)


def test_nf4_cells_by_hand():
    """Scale 2: levels 0.1609 and 0.2461 times 2, their edge halfway, 95 % of the way used."""
    row = torch.zeros(1, 64)
    row[0, 0], row[0, 1] = -2.0, 0.3
    cells = CodebookGrid("nf4").cells(row)
    level, edge = 2 * 0.16093020, 0.16093020 + 0.24611230
    assert cells.levels[0, 1].item() == pytest.approx(level)
    assert cells.upper[0, 1].item() == pytest.approx(level + 0.95 * (edge - level))
    assert cells.lower[0, 0] == cells.levels[0, 0] == cells.upper[0, 0] == -2.0  # sets the scale
    assert cells.lower[0, 2] < cells.levels[0, 2] == 0 < cells.upper[0, 2]


def test_levels_are_their_own_levels():
    for grid in (CodebookGrid("nf4"), CodebookGrid("fp4"), EvenGrid(4), EvenGrid(3, 32)):
        levels = grid.cells(weights(1)).levels
        torch.testing.assert_close(grid.cells(levels).levels, levels)
    assert not any(part.any() for part in CodebookGrid("nf4").cells(torch.zeros(2, 64)))


def test_who_is_held_to_what_is_hidden():
    def held(attack):
        return attack.required_control, attack.grid.name if attack.grid else None

    def bnb(name):
        return held(BitsAndBytes(BitsAndBytesParameters(format=name)))

    assert bnb("nf4") == bnb("nf4-double") == ("obfuscated", "nf4")
    assert bnb("fp4") == ("obfuscated", "fp4")
    assert bnb("int8") == ("visible", None)
    rtn = [
        RoundToNearest(RoundToNearestParameters(bits=b, group_size=g))
        for b, g in ((4, 32), (8, None))
    ]
    assert held(rtn[0]) == ("obfuscated", "4-bit even steps in groups of 32")
    assert held(rtn[1]) == ("visible", None)
