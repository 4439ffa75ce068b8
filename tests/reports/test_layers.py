"""Code-flip share by layer: strips against numbers."""

import pytest
from drawn_figure import NEAR, Figure
from hand_made_rows import row

from reports.matrix import attack_views
from reports.plots.layers import explained, largest_flip, layer_strips


@pytest.fixture
def views(certificate):
    """Makes the rows of the page from one row of the matrix."""
    return lambda told: attack_views(certificate("FAIL", matrix=[told]))


def test_layers_lie_in_their_order_and_the_largest_is_strongest(views):
    told = row("quantization/bnb", "nf4", (0.8, 0.2, 0.9), flips=0.1)
    told["explanation"]["layers"] = {f"layers.{n}": n / 100 for n in (10, 2, 0, 1)}
    rows = explained(views(told))
    figure = Figure(layer_strips(rows, largest_flip(rows), 1))
    cells = sorted(figure.filled("heat"), key=lambda path: path.box[0])
    shades = [cell.opacity for cell in cells]
    assert len(shades) == 3, "no ink for a layer without changes"
    assert shades == sorted(shades)
    assert shades[-1] == 1.0
    left, right, *_ = cells[-1].box
    assert right - left == pytest.approx((264 - 24) / 4, abs=NEAR)


def test_a_thousand_layers_are_few_elements(views):
    told = row("quantization/bnb", "nf4", (0.8, 0.2, 0.9), flips=0.1)
    told["explanation"]["layers"] = {f"layers.{n}": (n * 37 % 1000) / 1000 for n in range(1000)}
    rows = explained(views(told))
    assert len(Figure(layer_strips(rows, largest_flip(rows), 1)).paths) <= 25
