"""What the page of a large certificate costs: 40 variants, 5,000 facts, five models, three seeds.

    PYTHONPATH=tests/reports python -m benchmarks.certificate_scale [--repeats 5]

Prints the size of the page, the seconds to make it, and what a headless Chromium needs: until its
load event, until the first picture is painted, and for the slowest of the frames while the page is
scrolled from top to bottom. The certificate and the driver of the browser are those of the tests.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from chromium import chromium
from large_certificate import large_certificate

from reports.html import render

SCROLL = """new Promise(done => {
    const frames = [];
    let before = performance.now();
    const step = now => {
        frames.push(now - before);
        before = now;
        scrollBy(0, innerHeight);
        const rest = document.documentElement.scrollHeight - innerHeight - scrollY;
        rest > 1 ? requestAnimationFrame(step) : done([frames.length, Math.max(...frames)]);
    };
    requestAnimationFrame(step);
})"""
PAINTED = "performance.getEntriesByName('first-contentful-paint').map(told => told.startTime)[0]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    certificate = large_certificate()
    made = []
    for _ in range(repeats):
        began = time.perf_counter()
        page = render(certificate)
        made.append(time.perf_counter() - began)
    print(f"page: {len(page.encode()) / 1e6:.2f} MB")
    _tell("made in", made)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.html"
        path.write_text(page, encoding="utf-8")
        loaded, painted, slowest = [], [], []
        with chromium(Path(folder) / "profile") as tab:
            tab.view(1280)
            for _ in range(repeats):
                began = time.perf_counter()
                tab.open(path)
                loaded.append(time.perf_counter() - began)
                frames, worst = tab.evaluate(SCROLL)
                slowest.append(worst / 1000)
                painted.append(tab.evaluate(PAINTED) / 1000)
            elements = tab.evaluate("document.querySelectorAll('*').length")
    print(f"elements: {elements:,}; frames from top to bottom: {frames}")
    _tell("loaded after", loaded)
    _tell("first painted after", painted)
    _tell("slowest frame while scrolling", slowest)


def _tell(what: str, seconds: list[float]) -> None:
    print(f"{what}: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
