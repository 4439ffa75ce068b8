"""Pictures of facts: which are found, how they are read, and what hostile ones cannot do."""

import io
import struct
import zlib

import pytest
import torch
from PIL import Image

from auditor.core.errors import AuditorError, MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.data.pictures import ENDINGS, find_pictures

COLOURS = ((255, 0, 0), (0, 128, 255))


def fact(name):
    return Fact(id=name, entity="orb", prompt="an orb", answer="orb")


def sets(*names):
    return FactSets(forget=tuple(fact(name) for name in names), retain=(fact("kept"),))


def encoded(image, form="PNG", **more):
    stream = io.BytesIO()
    image.save(stream, form, **more)
    return stream.getvalue()


def plain(colour=COLOURS[0], size=(4, 4)):
    return Image.new("RGB", size, colour)


def reading(folder, content, ending=".png", size=(4, 4)):
    """What is read of one file of these bytes."""
    (folder / f"a{ending}").write_bytes(content)
    return find_pictures(folder, sets("a")).read([fact("a")], *size)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


def test_pictures_are_read_in_the_order_of_the_facts(folder):
    for name, colour in zip("ab", COLOURS, strict=True):
        plain(colour).save(folder / f"{name}.png")
    found = find_pictures(folder, sets("a", "b"))
    read = found.read([fact("b"), fact("a")], 4, 4)
    assert read.shape == (2, 3, 4, 4)
    assert read.dtype == torch.float32
    for image, colour in zip(read, reversed(COLOURS), strict=True):
        assert torch.equal(image, (torch.tensor(colour) / 255)[:, None, None].expand(3, 4, 4))
    assert found.read([], 4, 6).shape == (0, 3, 4, 6)


@pytest.mark.parametrize(
    ("ending", "form"), zip(ENDINGS, ("PNG", "JPEG", "JPEG", "WEBP"), strict=True)
)
def test_every_ending_is_found_and_resized(folder, ending, form):
    read = reading(folder, encoded(plain(size=(9, 5)), form), ending, size=(6, 8))
    assert read.shape == (1, 3, 6, 8)
    torch.testing.assert_close(
        read.mean(dim=(2, 3)), torch.tensor([[1.0, 0.0, 0.0]]), atol=0.02, rtol=0
    )


def test_the_digest_is_of_the_pictures(folder):
    plain().save(folder / "a.png")
    before = find_pictures(folder, sets("a")).digest
    assert find_pictures(folder, sets("a")).digest == before
    plain(COLOURS[1]).save(folder / "a.png")
    assert find_pictures(folder, sets("a")).digest != before


def test_a_missing_picture_is_unavailable_and_names_the_fact(folder):
    plain().save(folder / "a.png")
    found = find_pictures(folder, sets("a", "b"))
    with pytest.raises(UnavailableError, match=r"1 of 2 facts have no picture in .* \(b\)"):
        found.read([fact("a"), fact("b")], 4, 4)


def test_a_folder_without_pictures_is_refused(folder):
    with pytest.raises(AuditorError, match=r"no picture of any fact; expected files such as a\."):
        find_pictures(folder, sets("a"))
    with pytest.raises(AuditorError, match="is no folder"):
        find_pictures(folder / "other", sets("a"))


def test_an_id_leads_to_no_file_outside_the_folder(folder):
    outside = folder.parent / "outside.png"
    plain().save(outside)
    plain().save(folder / "a.png")
    absolute = str(outside.with_suffix(""))
    found = find_pictures(folder, sets("a", "../outside", "b/../../outside", absolute))
    assert found.names == {"a": "a.png"}


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 4000 + "a", "a\0b"], ids=str.__len__)
def test_an_id_that_can_be_no_name_has_no_picture(folder, name):
    plain().save(folder / "a.png")
    assert find_pictures(folder, sets("a", name)).names == {"a": "a.png"}


@pytest.mark.parametrize("form", ["BMP", "GIF", "TIFF", "PPM", "EPS"])
def test_other_formats_are_not_opened_under_a_pictures_name(folder, form):
    """EPS among them, for which a program that runs PostScript would be started."""
    with pytest.raises(MeasurementError, match=r"a\.png cannot be read as a picture"):
        reading(folder, encoded(plain(), form))


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def broken():
    """Files that begin like a PNG, and the errors of PIL that they lead to."""
    good = encoded(plain())
    start, header = good[:8], good[8:33]
    return {
        "cut": good[:40],
        "no-pixels": good[:33],
        "cut-header": start + chunk(b"IHDR", b"\0\0"),
        "damaged-sum": good[:-20] + b"\0" * 20,
        "damaged-header": start + header[:-1] + b"?" + good[33:],
        "text-bomb": start
        + header
        + chunk(b"zTXt", b"t\0\0" + zlib.compress(b" " * (1 << 24)))
        + good[33:],
        "short-resolution": start + header + chunk(b"pHYs", b"\0") + good[33:],
        "short-gamma": start + header + chunk(b"gAMA", b"\0") + good[33:],
    }


@pytest.mark.parametrize("name", broken())
def test_a_damaged_file_is_no_measurement(folder, name):
    with pytest.raises(MeasurementError, match=r"a\.png cannot be read as a picture"):
        reading(folder, broken()[name])


def test_too_many_pixels_are_refused(folder):
    side = 20_000  # squared more than PIL opens; the file itself has a hundred bytes
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    bomb = encoded(plain())[:8] + header + pixels + chunk(b"IEND", b"")
    with pytest.raises(MeasurementError, match="decompression bomb"):
        reading(folder, bomb)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_white_shows_through_and_hidden_colours_do_not(folder, form):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    more = {"lossless": True, "exact": True} if form == "WEBP" else {}
    read = reading(folder, encoded(image, form, **more), size=(1, 2))
    assert read[0, :, 0].tolist() == [[1.0, 0.0]] * 3


def test_a_colour_that_stands_for_transparent_is_white(folder):
    read = reading(folder, encoded(plain((9, 9, 9)), transparency=(9, 9, 9)))
    assert (read == 1).all()
    grey = Image.new("P", (4, 4), 1)
    grey.putpalette([0, 0, 0, 51, 51, 51])
    assert (reading(folder, encoded(grey, transparency=1)) == 1).all()
    torch.testing.assert_close(
        reading(folder, encoded(grey, transparency=0)), torch.full((1, 3, 4, 4), 0.2)
    )


def test_a_picture_that_was_changed_or_taken_away_is_not_read(folder):
    plain().save(folder / "a.png")
    found = find_pictures(folder, sets("a"))
    plain(COLOURS[1]).save(folder / "a.png")
    with pytest.raises(MeasurementError, match=r"a\.png was changed since it was hashed"):
        found.read([fact("a")], 4, 4)
    (folder / "a.png").unlink()
    with pytest.raises(MeasurementError, match=r"a\.png cannot be read"):
        found.read([fact("a")], 4, 4)
