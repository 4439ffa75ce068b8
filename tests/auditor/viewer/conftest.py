"""A folder with certificates and an audit of which half is done, and a server over it."""

import pytest
from hand_made_certificates import honest_certificate
from running_audit import RunningAudit
from served_folder import serving

import reports.html
import reports.overview  # noqa: F401 - registers its pages
from auditor.certificate.files import write_certificate


@pytest.fixture
def root(tmp_path):
    """The folder."""
    (tmp_path / "viewed").mkdir()
    return tmp_path / "viewed"


@pytest.fixture
def half(root):
    """An audit of which half is done."""
    audit = RunningAudit(root / "running" / "evidence")
    audit.finish(len(audit.identities) // 2)
    return audit


@pytest.fixture
def certified(root):
    """Writes a certificate with its id into the folder."""

    def write(verdict="FAIL", name=None, **changes):
        file = root / (name or f"{verdict.lower().replace(' ', '-')}/certificate.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_certificate(honest_certificate(verdict, **changes).named(), file)
        return file

    return write


@pytest.fixture
def served(root):
    """A server over the folder."""
    with serving(root) as running:
        yield running
