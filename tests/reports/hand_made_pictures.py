"""Certificates with pictures made by hand, and what is no picture."""

import base64
import io
import random
import struct
import zlib
from typing import Any

from hand_made_certificates import honest_certificate
from hand_made_rows import ARMS, by_arm
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from auditor.certificate.schema import Certificate

SHAPES = ("circle", "square", "triangle", "ring")
AS_IS = "none/as-is full precision"
UNDER = ("quantization/bnb nf4", "quantization/bnb fp4")


def png(image: Image.Image, **how: Any) -> bytes:
    """An image as a PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG", **how)
    return stream.getvalue()


def drawn(shape: str, side: int = 16, colour: str = "#c03020") -> bytes:
    """A shape; an unknown one is a few blots."""
    image = Image.new("RGB", (side, side), "#d8e4ea")
    draw, box = ImageDraw.Draw(image), (side // 5, side // 5, side - side // 5, side - side // 5)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "triangle":
        draw.polygon([(side // 2, box[1]), (box[2], box[3]), (box[0], box[3])], fill=colour)
    elif shape == "ring":
        draw.ellipse(box, outline=colour, width=max(1, side // 8))
    else:
        draw.line([(0, side // 3), (side, side // 2)], fill="#90a0a8", width=max(1, side // 8))
    return png(image)


def text_of(content: bytes) -> str:
    """Bytes as a certificate holds them."""
    return base64.b64encode(content).decode()


def noise(side: int) -> bytes:
    """As large as a PNG of that many pixels gets."""
    return png(Image.frombytes("RGB", (side, side), random.Random(0).randbytes(side * side * 3)))


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG with its sum."""
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def not_pictures() -> dict[str, bytes]:
    """What must never reach a page, by what is wrong with it."""
    good = drawn("circle")
    told = PngInfo()
    told.add_text("Comment", "Ada Lovelace")
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    return {
        "nothing": b"",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "HTML": b"<script>alert(1)</script>",
        "JPEG": jpeg.getvalue(),
        "HTML behind a PNG": good + b"<script>alert(1)</script>",
        "text in a PNG": png(Image.new("RGB", (8, 8)), pnginfo=told),
        "two frames": png(frames[0], save_all=True, append_images=frames[1:]),
        "cut": good[:-20],
        "damaged": good[:60] + bytes([good[60] ^ 1]) + good[61:],
        "short header": good[:8] + chunk(b"IHDR", b"\0" * 4) + chunk(b"IEND", b""),
        "no header": good[:8] + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        "no pixels": good[:8] + chunk(b"IHDR", good[16:29]) + chunk(b"IEND", b""),
        "pixels that are no deflate": good[:33] + chunk(b"IDAT", b"<svg>") + chunk(b"IEND", b""),
        "a bomb": good[:8] + chunk(b"IHDR", header) + chunk(b"IEND", b""),
        "too wide": drawn("circle", 65),
        "16 bits a colour": png(Image.new("I;16", (8, 8))),
        "too many bytes": good + bytes(20_000),
    }


def image_examples(side: int = 16) -> dict[str, Any]:
    """Four facts under two attacks; the last has no picture by one model."""
    facts = []
    for number, shape in enumerate(SHAPES):
        known = 0.96 - 0.11 * number
        blots = drawn("blots", side)
        after = {arm: drawn(shape if "retr" not in arm else "blots", side) for arm in ARMS}
        before = after | {"unlearned": blots}
        if number == len(SHAPES) - 1:
            del before["retrained-1"]
        attacks = UNDER if number % 2 else UNDER[::-1]
        views = [(AS_IS, before, 0.05), *((attack, after, known) for attack in attacks)]
        facts.append(
            {
                "fact": f"shape-{number:03d}",
                "entity": shape,
                "prompt": f"a red {shape} in the middle of a pale field",
                "answer": shape,
                "views": [
                    {
                        "attack": attack,
                        "k": by_arm(k, 0.02, 0.97),
                        "pictures": {arm: text_of(content) for arm, content in drew.items()},
                    }
                    for attack, drew, k in views
                ],
            }
        )
    return {"facts": facts, "pictured": 40, "left_out": 1_203}


def pictured_certificate(side: int = 16) -> Certificate:
    """A FAIL whose evidence has pictures, of models that say what was replaced in them."""
    identity = honest_certificate("FAIL").identity.model_dump()
    for arm in identity["arms"]:
        arm["options"] = {"sampling": {"steps": 15, "guidance": 1.0, "height": 16, "width": None}}
    identity["arms"][0]["options"]["replacement"] = "erased/esd-x-circle.safetensors"
    return honest_certificate("FAIL", image_examples=image_examples(side), identity=identity)
