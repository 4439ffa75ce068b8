"""What passes as a picture, and what redaction leaves of it."""

import io

import numpy as np
import pytest
from hand_made_pictures import chunk, drawn, noise, not_pictures, png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from auditor.core.picture import BYTES, CELLS, SIDE, fault, pixelated

NO_PICTURES = not_pictures()


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("optimize", [False, True])
def test_small_pngs_pass(mode, optimize):
    assert fault(png(Image.new(mode, (SIDE, 1)), optimize=optimize)) is None


def test_the_largest_that_fits_passes():
    assert BYTES > len(noise(SIDE)) > 3 * SIDE * SIDE
    assert fault(noise(SIDE)) is None
    assert "65 by 65 pixels" in fault(noise(SIDE + 1))


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_is_told(content):
    assert fault(content)


def test_the_reason_says_what_is_wrong():
    assert "something stands behind its end" in fault(NO_PICTURES["HTML behind a PNG"])
    assert "tEXt" in fault(NO_PICTURES["text in a PNG"])
    assert "acTL" in fault(NO_PICTURES["two frames"])
    assert "20,133 bytes" in fault(NO_PICTURES["too many bytes"])


HEADER = st.tuples(st.integers(0, 70), st.integers(0, 70), *[st.integers(0, 255)] * 5).map(
    lambda h: h[0].to_bytes(4) + h[1].to_bytes(4) + bytes(h[2:])
)
PARTS = st.lists(
    st.tuples(st.sampled_from([b"IHDR", b"PLTE", b"tRNS", b"IDAT"]), st.binary(max_size=60)),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(header=HEADER, parts=PARTS, tail=st.binary(max_size=4))
def test_whatever_is_written_into_a_png_is_judged(header, parts, tail):
    made = [chunk(b"IHDR", header), *(chunk(*part) for part in parts), chunk(b"IEND", b""), tail]
    content = drawn("circle")[:8] + b"".join(made)
    if fault(content) is None:
        assert fault(pixelated(content)) is None


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 112), value=st.integers(1, 255))
def test_any_changed_byte_is_found(place, value):
    content = bytearray(drawn("circle"))
    content[place % len(content)] ^= value
    assert fault(bytes(content))


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (64, 8), (5, 64), (1, 64)])
def test_four_by_four_cells_of_mean_colours_are_left(size):
    image = Image.frombytes("RGB", size, np.random.default_rng(0).bytes(3 * size[0] * size[1]))
    before, after = png(image), pixelated(png(image))
    height, width, _ = pixels(after).shape
    assert max(width, height) == CELLS
    assert fault(after) is None
    assert len(after) < 150, "no room for anything else"
    assert pixelated(after) == after
    np.testing.assert_allclose(
        pixels(after).mean(axis=(0, 1)), pixels(before).mean(axis=(0, 1)), atol=20
    )


def test_a_cell_is_the_mean_of_its_pixels():
    halves = np.zeros((16, 16, 3), np.uint8)
    halves[:, ::2] = 200
    assert np.unique(pixels(pixelated(png(Image.fromarray(halves))))).tolist() == [100]
