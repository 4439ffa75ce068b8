"""A folder with certificates and an audit of which half is done, and a server over it."""

import http.client
from contextlib import contextmanager
from threading import Thread

import pytest
from hand_made_certificates import honest_certificate
from running_audit import RunningAudit

import reports.html
import reports.overview  # noqa: F401 - registers its pages
from auditor.certificate.files import write_certificate
from auditor.viewer.server import Viewer


class Served:
    """Requests to a server."""

    def __init__(self, viewer):
        self.viewer = viewer

    def ask(self, path, method="GET", host=None):
        """Status, headers and content of the answer to a path as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.viewer.server_port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name in (f"127.0.0.1:{self.viewer.server_port}",) if host is None else host:
            connection.putheader("Host", name)
        connection.endheaders()
        answer = connection.getresponse()
        result = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return result

    def get(self, path=""):
        """The text of a page below the token."""
        status, _, content = self.ask(f"/{self.viewer.token}/{path}")
        assert status == 200, content
        return content.decode()


@contextmanager
def serving(root):
    """Run a server until the block ends."""
    with Viewer(root) as viewer:
        thread = Thread(target=viewer.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Served(viewer)
        finally:
            viewer.shutdown()
            thread.join()


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
