"""Reach of the Hugging Face hub, tried before libraries try."""

import importlib
import os
import socket
import sys
import threading
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

HUB = "https://huggingface.co"
SECONDS = 4.0
"""Seconds after which the hub counts as out of reach."""
_OFFLINE = {"huggingface_hub.constants": "HF_HUB_OFFLINE", "datasets.config": "HF_HUB_OFFLINE"}
"""Settings of the libraries that are read when these are imported."""


def hub_in_reach() -> bool:
    """Return whether the hub can be reached.

    Else the libraries look into their caches alone: what was downloaded before is still found
    then, and what was not fails at once.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    if _answers(*_door()):
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name, setting in _OFFLINE.items():
        if name in sys.modules:
            setattr(importlib.import_module(name), setting, True)
    return False


def no_network() -> str:
    """Say that there is no network, and what to do without."""
    host, _ = _door()
    return (
        f"there is no network ({host} does not answer, or HF_HUB_OFFLINE "
        "is set), and this machine has no copy of it. Download it where there is one, and give its "
        "files."
    )


def _door() -> tuple[str, int]:
    """Host and port that lead to the hub, or to a proxy."""
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or HUB)
    host, scheme = hub.hostname or "", hub.scheme or "https"
    proxy = None if proxy_bypass(host) else getproxies().get(scheme)
    if proxy:
        hub = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, scheme = hub.hostname or host, hub.scheme
    return host, hub.port or (80 if scheme == "http" else 443)


@cache
def _answers(host: str, port: int) -> bool:
    reached = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection((host, port), SECONDS):
                reached.set()
        except OSError:
            return

    # a name that is looked up has no time limit of its own
    seeker = threading.Thread(target=connect, daemon=True)
    seeker.start()
    seeker.join(SECONDS)
    return reached.is_set()
