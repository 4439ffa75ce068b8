"""Fixtures of the reports: certificates made by hand, and a browser."""

import pytest
from hand_made_certificates import honest_certificate
from hostile_texts import hostile_certificate


@pytest.fixture
def certificate():
    """Makes an honest certificate with a verdict."""
    return honest_certificate


@pytest.fixture
def hostile():
    """A certificate in which every text that someone else writes is an attack."""
    return hostile_certificate()
