"""Differences between what a certificate says and what its evidence says."""

import math
from collections.abc import Iterator
from typing import Any

_TOLERANCE = 1e-6
"""Relative tolerance, because another machine's arithmetic may differ in the last bits."""


def differences(
    stated: Any, again: Any, where: str = "", source: str = "the evidence"
) -> Iterator[str]:
    """Yield the places where plain data differ from their source.

    The id is left out.

    Args:
        stated: what a certificate says.
        again: what follows from its source.
        where: place of both in the certificate.
        source: what it follows from.
    """
    if isinstance(stated, dict) and isinstance(again, dict):
        for name in dict.fromkeys((*stated, *again)):
            if where or name != "certificate_id":
                place = f"{where}.{name}" if where else name
                yield from differences(stated.get(name), again.get(name), place, source)
    elif isinstance(stated, list) and isinstance(again, list) and len(stated) == len(again):
        for index, pair in enumerate(zip(stated, again, strict=True)):
            yield from differences(*pair, f"{where}.{index}", source)
    elif not _equal(stated, again):
        yield f"{where}: it says {_short(stated)}, {source} {_short(again)}"


def _equal(stated: Any, again: Any) -> bool:
    numbers = (int, float)
    if isinstance(stated, int) and isinstance(again, int):
        return stated == again
    if isinstance(stated, numbers) and isinstance(again, numbers):
        return math.isclose(stated, again, rel_tol=_TOLERANCE, abs_tol=1e-9)
    return bool(stated == again)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
