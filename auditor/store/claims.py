"""Claims of processes to the jobs that they are at.

A claim is a file that can be made only once, and whose time its holder renews. One that was not
renewed for long, or whose holder is known to be dead, is taken over by making the next of its
name's numbers, which again only one can. A claim spares work and decides nothing: where two
processes do measure one job, the store keeps the evidence of the first.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

_BEAT = 20.0
"""Seconds between two signs of life."""
_STALE = 180.0
"""Seconds without one after which a holder counts as dead. Clients of a network file system may see
times that are up to a minute old."""


class ClaimFiles(Protocol):
    """Files of a store's claims, by name."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a file, unless it is there; say whether it was made."""

    def numbers(self, key: str) -> list[int]:
        """List the numbers of a key's files."""

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            OSError: It is gone.
        """

    def age(self, name: str) -> float:
        """Seconds since a file was renewed, by its own clock.

        Raises:
            OSError: It is gone.
        """

    def renew(self, name: str) -> None:
        """Write down that a file's maker is alive."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


@contextmanager
def claimed(files: ClaimFiles, key: str) -> Iterator[bool]:
    """Hold the claim to a job while the context lasts.

    Yields:
        Whether it is held here; if not, another process is at the job.
    """
    number = _taken(files, key)
    if number is None:
        yield False
        return
    try:
        with beating(lambda: files.renew(_name(key, number))):
            yield True
    finally:
        _release(files, key, number)


@contextmanager
def beating(renew: Callable[[], None]) -> Iterator[None]:
    """Give signs of life while the context lasts."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            with suppress(OSError):  # a file system that is away; the next beat may reach it
                renew()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _taken(files: ClaimFiles, key: str) -> int | None:
    """Return the number of the claim taken, if it is free."""
    ours = json.dumps(_process()).encode()
    if files.create(_name(key, 0), ours):
        return 0
    last = max(files.numbers(key), default=None)
    if last is None or not _is_abandoned(files, _name(key, last)):
        return None
    return last + 1 if files.create(_name(key, last + 1), ours) else None


def _release(files: ClaimFiles, key: str, number: int) -> None:
    """Remove a claim, unless another process has taken it over."""
    with suppress(OSError):
        numbers = files.numbers(key)
        if max(numbers, default=number) > number:
            return
        for other in sorted(numbers, reverse=True):
            files.remove(_name(key, other))


def _is_abandoned(files: ClaimFiles, name: str) -> bool:
    try:
        return _is_dead(files.read(name)) or files.age(name) > _STALE
    except OSError:  # released in between: whoever asks again will get it
        return False


def _is_dead(content: bytes) -> bool:
    """Return whether a claim's holder ran on this machine and is gone."""
    try:
        said = json.loads(content)
    except ValueError:  # its maker is about to write it
        return False
    here = _process()
    if not isinstance(said, dict) or said.get("machine") != here["machine"]:
        return False
    number = said.get("process")
    return isinstance(number, int) and _start_of(number) != said.get("began")


def _process() -> dict[str, Any]:
    number = os.getpid()
    return {"machine": _machine(), "process": number, "began": _start_of(number)}


def _start_of(process: int) -> str | None:
    """Return when a process here began; None if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, began = fields[0], fields[19]
    return None if state in "ZX" else began


@cache
def _machine() -> str:
    """Name of the machine or container that numbers the processes here.

    It is no other machine's name, and where a system does not say enough, no one's at all.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbered = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return f"unknown {os.urandom(8).hex()}"
    return f"{socket.gethostname()} {boot} {numbered}"


def _name(key: str, number: int) -> str:
    return f"{key}.{number}"
