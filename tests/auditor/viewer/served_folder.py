"""A server over a folder, and requests to it."""

import http.client
from contextlib import contextmanager
from threading import Thread

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
