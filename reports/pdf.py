"""Certificate as PDF: the page, printed by a browser without a window."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.report import REPORTS, Report, Signatures
from reports.html import render as render_page

BROWSERS = (
    *("chromium", "chromium-headless-shell", "chromium-browser"),
    *("google-chrome", "google-chrome-stable", "chrome", "msedge"),
)
"""Commands of browsers that print."""
PATIENCE = 120
"""Seconds that a browser has for one page."""


def render(certificate: Certificate, signatures: Signatures | None = None) -> bytes:
    """Return the printed page.

    Raises:
        AuditorError: There is no browser that prints, or it did not.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise AuditorError(
            "a PDF is printed by Chromium or Chrome, and none is on the PATH. Install one (Debian: "
            "`apt-get install chromium`), or render the page (`--as html`, or `--as summary` for "
            "one sheet) and print that with any browser."
        )
    with tempfile.TemporaryDirectory() as folder:
        page, printed = Path(folder, "certificate.html"), Path(folder, "certificate.pdf")
        page.write_text(render_page(certificate, signatures), encoding="utf-8")
        _print(browser, page, printed, Path(folder, "profile"))
        return printed.read_bytes()


def _print(browser: str, page: Path, printed: Path, profile: Path) -> None:
    """Print a page, which asks for nothing from elsewhere.

    Raises:
        AuditorError: The browser did not print it.
    """
    command = [
        browser,
        *("--headless", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
        "--no-pdf-header-footer",
        f"--user-data-dir={profile}",
        f"--print-to-pdf={printed}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # its sandbox does not start for root
        command.append("--no-sandbox")
    try:
        done = subprocess.run(
            [*command, page.as_uri()], capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AuditorError(f"{browser} did not print the page: {error}") from error
    if not printed.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise AuditorError(
            f"{browser} did not print the page (exit code {done.returncode}): {' '.join(said)}"
        )


REPORTS.register("pdf")(Report(render, ".pdf", "The page as PDF; needs Chromium or Chrome."))
