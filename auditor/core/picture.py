"""Checks and redaction of pictures in evidence and certificates.

A picture travels from a model, or from somebody else's certificate, into a reader's browser. So it
is a plain PNG of bounded size with nothing in it but pixels: no text, no second frame, nothing
behind its end.
"""

import io
import struct
import zlib
from collections.abc import Iterator

SIDE = 64
"""Most pixels of a picture's longer side."""
BYTES = 16 * 1024
"""Most bytes of a picture; noise of 64 by 64 pixels in three colours takes 12,300."""
CELLS = 4
"""Cells along the longer side of a redacted picture."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Chunks of a PNG (RFC 2083) that are pixels, or say how they are stored."""
_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def fault(content: bytes) -> str | None:
    """Return why bytes are no valid picture, or None.

    The reason is the end of a sentence.
    """
    if len(content) > BYTES:
        return f"has {len(content):,} bytes, and no more than {BYTES:,} are shown"
    try:
        names = list(_chunks(content))
    except ValueError as error:
        return f"is no PNG: {error}"
    except struct.error:
        return "is no PNG: it is cut"
    if names[0] != b"IHDR" or names.count(b"IHDR") > 1:
        return "is no PNG: it has no one header"
    if foreign := [name for name in names if name not in _CHUNKS]:
        return f"holds more than pixels: a part named {foreign[0]!r}"
    width, height = struct.unpack_from(">II", content, len(_SIGNATURE) + 8)
    if not (0 < width <= SIDE and 0 < height <= SIDE):
        return f"is {width} by {height} pixels, and 1 to {SIDE} either way fit"
    return _undecodable(content)


def pixelated(content: bytes) -> bytes:
    """Return a picture in at most `CELLS` by `CELLS` cells.

    Each cell has one colour, and is one pixel of the PNG.

    A picture that is no larger keeps its pixels: what was redacted before comes back as it is.

    Args:
        content: a picture without `fault`.
    """
    from PIL import Image  # takes longer than all else that reading a certificate of texts does

    with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
        image = opened.convert("RGB")
    longer = max(image.size)
    if longer > CELLS:
        width, height = (max(1, round(CELLS * side / longer)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    stream = io.BytesIO()
    # uncompressed: another machine's zlib would pack the same pixels into other bytes
    image.save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def _chunks(content: bytes) -> Iterator[bytes]:
    """Yield the names of a PNG's chunks up to its end.

    Each chunk is checked against its checksum.
    """
    if not content.startswith(_SIGNATURE):
        raise ValueError("it does not begin like one")
    place, name = len(_SIGNATURE), b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        (stated,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(content[place + 4 : end]) != stated:
            raise ValueError("it is damaged")
        yield name
        place = end + 4
    if place != len(content):
        raise ValueError("something stands behind its end")


def _undecodable(content: bytes) -> str | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.mode not in _MODES:
                return f"has pixels of the form {image.mode}, and no more than 8 bits a colour fit"
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        return f"is no PNG that can be decoded: {error}"
    return None
