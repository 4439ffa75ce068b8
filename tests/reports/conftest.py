"""Fixtures of the reports: certificates made by hand, and a browser."""

import pytest
from chromium import EXECUTABLE, chromium
from hand_made_certificates import honest_certificate
from hostile_texts import hostile_certificate

from reports.html import render


@pytest.fixture
def certificate():
    """Makes an honest certificate with a verdict."""
    return honest_certificate


@pytest.fixture
def hostile():
    """A certificate in which every text that someone else writes is an attack."""
    return hostile_certificate()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """A page of a headless Chromium, driven through its DevTools protocol."""
    if EXECUTABLE is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def saved(tmp_path):
    """Writes a certificate's page to a file."""

    def save(certificate, signatures=None):
        path = tmp_path / "certificate.html"
        path.write_text(render(certificate, signatures), encoding="utf-8")
        return path

    return save
