"""The code-flip share, worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.quantization.code_flips import code_flip_share, sampled_codes
from attacks.quantization.rtn import round_to_nearest
from auditor.core.errors import MeasurementError


def codes(**layers):
    return sampled_codes([(n, torch.tensor(c, dtype=torch.int8)) for n, c in layers.items()], 100)


def test_flips_are_counted_per_layer_and_weighted_by_size():
    """One of four flips in a, two of two in b: (1 + 2) / 6 over all."""
    found = code_flip_share(
        codes(a=[[1, 2], [3, -4]], b=[-1, 0]), codes(a=[[1, 2], [3, 4]], b=[0, -1])
    )
    assert found.layers == {"a": 0.25, "b": 1.0}
    assert found.overall == pytest.approx(0.5)
    assert found.measure == "code_flip_share"


def test_a_sampled_layer_counts_with_its_whole_size():
    big, small = np.zeros(1000, dtype=np.int8), np.zeros(10, dtype=np.int8)
    layers = [("big", torch.from_numpy(big)), ("small", torch.from_numpy(small))]
    other = [("big", torch.from_numpy(big + 1)), ("small", torch.from_numpy(small))]
    one, two = sampled_codes(layers, 10), sampled_codes(other, 10)
    assert one["codes/big"].shape == one["codes/small"].shape == (10,)
    assert code_flip_share(one, two).overall == pytest.approx(1000 / 1010)


def test_the_same_positions_are_read_on_every_arm():
    place = torch.arange(10_000, dtype=torch.int32) % 251
    one, two = (sampled_codes([("layer", place.to(torch.uint8))], 500) for _ in range(2))
    np.testing.assert_array_equal(one["codes/layer"], two["codes/layer"])
    # two arms that differ in all positions but some: the sampled share is the share of positions
    changed = place.clone()
    changed[::4] += 1
    share = code_flip_share(one, sampled_codes([("layer", changed.to(torch.uint8))], 500))
    assert share.overall == pytest.approx(0.25, abs=0.06)
    other = sampled_codes([("another", place.to(torch.uint8))], 500)
    assert (other["codes/another"] != one["codes/layer"]).any()  # layers do not share theirs


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_all_256_codes_are_told_apart(dtype):
    low = -128 if dtype == torch.int8 else 0
    every = torch.arange(low, low + 256).to(dtype)
    kept = sampled_codes([("a", every)], 1000)["codes/a"]
    assert kept.dtype == np.uint8
    assert len(set(kept.tolist())) == 256


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ({"a": [1]}, {"b": [1]}, "quantized layers .* differ"),
        ({"a": [1]}, {"a": [1], "b": [1]}, "quantized layers .* differ"),
        ({"a": [1]}, {"a": [1, 2]}, "layer a has another size"),
    ],
)
def test_models_that_do_not_match_are_not_compared(one, two, said):
    with pytest.raises(MeasurementError, match=said):
        code_flip_share(codes(**one), codes(**two))


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 6), st.floats(0.01, 1.5), st.integers(0, 1000))
def test_small_updates_flip_as_many_codes_as_the_theory_says(bits, ratio, seed):
    """Weights uniform within their bins flip with probability min(1, |d| / step)."""
    torch.manual_seed(seed)
    weight = torch.rand(1, 20_000) * 2 - 1
    weight[0, 0] = 1.0  # fixes the step width
    step = 1 / (2 ** (bits - 1) - 1)
    moved = (weight + ratio * step * torch.randn(1, 20_000).sign()).clamp(-1, 1)
    moved[0, 0] = 1.0
    whole_bins = 2 ** (bits - 1) - 2 - math.ceil(ratio)  # away from the ends, where codes clip
    inside = ((weight / step).round().abs() <= whole_bins).squeeze(0)
    if inside.sum() < 2000:
        return
    one = round_to_nearest(weight, bits, None)[1][:, inside]
    two = round_to_nearest(moved, bits, None)[1][:, inside]
    share = code_flip_share(
        sampled_codes([("a", one)], 1 << 18), sampled_codes([("a", two)], 1 << 18)
    )
    n = int(inside.sum())
    assert share.overall == pytest.approx(min(1, ratio), abs=5 * (0.25 / n) ** 0.5)
