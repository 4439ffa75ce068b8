"""A headless Chromium, driven through its DevTools protocol.

The page's own policy forbids every script but the page's; the protocol evaluates beside it.
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

EXECUTABLE = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 60.0
"""Seconds that the browser has for one answer."""

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",
)


class Tab:
    """One page of the browser, with everything that it did since it was opened."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Debugger", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result; what happens meanwhile is kept as events."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while (answer := self._receive()).get("id") != self._calls:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def open(self, page: Path, *, scripts: bool = True, policy: bool = True) -> None:
        """Opens a file; without its scripts, or without its Content-Security-Policy, if asked."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.setBypassCSP", enabled=not policy)
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not self.happened("Page.loadEventFired"):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression, awaited if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def view(
        self, width: int, height: int = 900, *, scheme: str = "light", media: str = ""
    ) -> None:
        """Sets the size of the window, the colour scheme and the medium."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def type(self, text: str) -> None:
        """Types into what has the focus, as from a keyboard."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses and releases a key."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, height: int | None = None) -> bytes:
        """Returns the page as PNG, from its top; the whole of it if no height is given."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
        taken = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip=clip | {"scale": 1}
        )
        return base64.b64decode(taken["data"])

    def pdf(self) -> bytes:
        """Prints the page as its own style sheet asks."""
        printed = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(printed["data"])

    def happened(self, method: str) -> list[dict[str, Any]]:
        """Returns what every event of this name told, in order."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def requests(self) -> list[str]:
        """Returns the address of everything that the page asked for."""
        return [told["request"]["url"] for told in self.happened("Network.requestWillBeSent")]

    def scripts(self) -> list[str]:
        """Returns the text of every script of the page that was compiled."""
        found = [told for told in self.happened("Debugger.scriptParsed") if told["url"]]
        return [
            self.call("Debugger.getScriptSource", scriptId=told["scriptId"])["scriptSource"]
            for told in found
        ]

    def _receive(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._connection.recv(timeout=PATIENCE))
        if answer.get("method") == "Page.javascriptDialogOpening":  # it would stop everything
            self._calls += 1
            closing = {"id": self._calls, "method": "Page.handleJavaScriptDialog"}
            self._connection.send(json.dumps(closing | {"params": {"accept": False}}))
        return answer


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Starts a browser with a profile of its own and yields its page; ends it afterwards."""
    if EXECUTABLE is None:
        raise FileNotFoundError("no Chromium on this machine")
    with subprocess.Popen(
        [EXECUTABLE, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            port = _port(profile, process)
            with urlopen(Request(f"http://127.0.0.1:{port}/json/new", method="PUT")) as answer:
                address = json.load(answer)["webSocketDebuggerUrl"]
            with connect(address, max_size=None, proxy=None) as connection:
                yield Tab(connection)
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def _port(profile: Path, process: subprocess.Popen[bytes]) -> int:
    written = profile / "DevToolsActivePort"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the browser ended with {process.returncode}")
        lines = written.read_text().splitlines() if written.exists() else []
        if len(lines) == 2:
            return int(lines[0])
        time.sleep(0.05)
    raise TimeoutError(f"the browser did not open its port within {PATIENCE:.0f} s")
