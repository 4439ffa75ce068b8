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
    with tempfile.TemporaryDirectory() as folder:
        page, printed = Path(folder, "certificate.html"), Path(folder, "certificate.pdf")
        options = ("--no-pdf-header-footer", f"--print-to-pdf={printed}")
        command = headless(Path(folder, "profile"), *options)
        page.write_text(render_page(certificate, signatures), encoding="utf-8")
        _print(command, page, printed)
        return printed.read_bytes()


def headless(profile: Path, *options: str) -> list[str]:
    """Return the command of a browser without a window.

    It asks for nothing from elsewhere.

    Args:
        profile: Folder of the browser's own files.
        options: What it is to do with the page that follows the command.

    Raises:
        AuditorError: There is no such browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise AuditorError(
            "a PDF is printed by Chromium or Chrome, and none is on the PATH. Install one (Debian: "
            "`apt-get install chromium`), or render the page (`--as html`, or `--as summary` for "
            "one sheet) and print that with any browser."
        )
    command = [
        browser,
        *("--headless", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
        f"--user-data-dir={profile}",
        *options,
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # its sandbox does not start for root
        command.append("--no-sandbox")
    return command


def _print(command: list[str], page: Path, printed: Path) -> None:
    """Print a page.

    Raises:
        AuditorError: The browser did not print it.
    """
    try:
        done = subprocess.run(
            [*command, page.as_uri()], capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AuditorError(f"{command[0]} did not print the page: {error}") from error
    if not printed.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise AuditorError(
            f"{command[0]} did not print the page (exit code {done.returncode}): {' '.join(said)}"
        )


REPORTS.register("pdf")(Report(render, ".pdf", "The page as PDF; needs Chromium or Chrome."))
