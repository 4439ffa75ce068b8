"""Interruption by the user, which nothing in between may swallow.

Python raises `KeyboardInterrupt` wherever it happens to be, also where it can only be printed and
forgotten: while memory is collected, in a callback, in a library that catches everything.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Remember an interruption, which may be swallowed.

    Work can end at its next step then (`check_interrupted`). Where somebody else handles
    interruptions, or they are ignored, that stays.
    """
    _seen.clear()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check_interrupted() -> None:
    """End work that was interrupted.

    Raises:
        KeyboardInterrupt: it was.
    """
    if _seen.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _seen.set()
    signal.default_int_handler(number, frame)
