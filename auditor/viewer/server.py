"""Server of the viewer: loopback only, read only, by token.

Other users of a machine reach its loopback, and so do the pages that a browser has open. Against
the first, every address begins with a random token. Against the second, a request must name this
server as its host (a foreign name that resolves to 127.0.0.1 is refused), and no answer may be read
or framed by another origin.
"""

import secrets
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from auditor.core.errors import AuditorError
from auditor.core.reading import read_regular
from auditor.viewer.certificates import read_signed
from auditor.viewer.evidence import EvidenceView
from auditor.viewer.evidence_pages import EvidencePages
from auditor.viewer.folder import Stamp, evidence_folder
from auditor.viewer.overview import Library
from auditor.viewer.pages import PAGES, Beside, EvidenceData

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds within which a client must send its request."""
STILL = "still"
"""Query that stops a page from loading itself again."""
KEPT = 8
"""Most pages of certificates that are cached, because drawing one takes seconds."""

_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_DATA = "connect-src 'self'"
"""What a page of evidence may do besides: ask this server for its data."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Answer(NamedTuple):
    """Answer to a request."""

    status: HTTPStatus
    content: bytes
    kind: str = _HTML
    script_source: str | None = None
    reads: bool = False
    """Whether its script may ask this server for data."""


class Viewer(ThreadingHTTPServer):
    """Serves one folder."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, root: Path, port: int = 0) -> None:
        """Bind to the loopback.

        Args:
            root: the folder.
            port: 0 takes a free one.

        Raises:
            OSError: the port cannot be had.
        """
        self.token = secrets.token_urlsafe(32)
        self.library = Library(root)
        self._pages = PAGES.get("html")
        self._evidence_pages = EvidencePages(self.library.folder)
        self._drawn: dict[Path, tuple[Stamp, bytes]] = {}
        self._drawing = Lock()
        super().__init__((HOST, port), _Request)

    @property
    def address(self) -> str:
        """The address to open, with the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> frozenset[str]:
        """Names by which a request may call this server."""
        named = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        return frozenset(named | ({HOST, "localhost"} if self.server_port == 80 else set()))

    def answer(self, path: str) -> Answer:
        """Return the answer to a request's path.

        The path is compared with ids and never opened as a file.
        """
        address, _, query = path.partition("?")
        token, *rest = address.removeprefix("/").split("/")
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return self.notice(
                HTTPStatus.FORBIDDEN, "Open the address that auditor view printed, token and all."
            )
        match rest:
            case [""]:
                overview = self.library.overview()
                return Answer(HTTPStatus.OK, _encoded(self._pages.overview(overview, "")))
            case ["api", "overview.json"]:
                data = self.library.overview().model_dump_json().encode()
                return Answer(HTTPStatus.OK, data, _JSON)
            case ["certificate", name]:
                found = self._certificate(name)
            case ["audit", store, entry]:
                found = self._audits(store, entry, refreshing=query != STILL)
            case ["certificate", name, "evidence", *file]:
                found = self._evidence(self._of_certificate(name), name, file)
            case ["audit", store, entry, "evidence", *file]:
                found = self._evidence(self._of_audit(store, entry, again=not file), None, file)
            case _:
                found = None
        return found or self.notice(HTTPStatus.NOT_FOUND, "There is no such page, or no longer.")

    def notice(self, status: HTTPStatus, sentence: str) -> Answer:
        """An answer that says why there is no other."""
        return Answer(status, _encoded(self._pages.notice(sentence)))

    def _certificate(self, name: str) -> Answer | None:
        file = self.library.certificate_file(name.removesuffix(".json"))
        stamp = None if file is None else self.library.folder.stamp(file)
        if file is None or stamp is None:
            return None
        if name.endswith(".json"):
            return Answer(HTTPStatus.OK, read_regular(file), _JSON)
        with self._drawing:  # figures are drawn by one thread at a time
            held = self._drawn.pop(file, None)
            if held is None or held[0] != stamp:
                evidence = (
                    f"{name}/evidence" if evidence_folder(self.library.folder, file) else None
                )
                beside = Beside("../", evidence=evidence)
                page = self._pages.certificate(*read_signed(file), beside)
                held = (stamp, _encoded(page))
            self._drawn[file] = held
            while len(self._drawn) > KEPT:
                del self._drawn[next(iter(self._drawn))]
        return Answer(HTTPStatus.OK, held[1], script_source=self._pages.script_source)

    def _of_certificate(self, name: str) -> EvidenceView | str | None:
        """The evidence of a certificate; a sentence where it cannot be shown."""
        file = self.library.certificate_file(name)
        stamp = None if file is None else self.library.folder.stamp(file)
        if file is None or stamp is None:
            return None
        try:
            return self._evidence_pages.of_certificate(file, stamp, lambda: read_signed(file)[0])
        except AuditorError as error:
            return str(error)

    def _of_audit(self, store: str, entry: str, *, again: bool) -> EvidenceView | str | None:
        """The evidence of an audit that a ledger names."""
        root = self.library.store_folder(store)
        if root is None:
            return None
        redacted = self.library.redacted_in(root)
        try:
            return self._evidence_pages.of_audit(store, entry, root, redacted=redacted, again=again)
        except AuditorError as error:
            return str(error)

    def _evidence(
        self, found: EvidenceView | str | None, certificate: str | None, file: Sequence[str]
    ) -> Answer | None:
        """Answer with a page of evidence, or one of its data files."""
        if isinstance(found, str):
            return self.notice(HTTPStatus.NOT_FOUND, found)
        if found is None or len(file) > 1:
            return None
        if not file:
            up = "../../" if certificate is not None else "../../../"
            beside = Beside(up, None if certificate is None else f"../{certificate}")
            page = self._pages.evidence(found.index, beside, EvidenceData("evidence/", False))
            source = self._pages.evidence_source
            return Answer(HTTPStatus.OK, _encoded(page), script_source=source, reads=True)
        content = found.file(file[0].removesuffix(".json")) if file[0].endswith(".json") else None
        return None if content is None else Answer(HTTPStatus.OK, content, _JSON)

    def _audits(self, store: str, entry: str, *, refreshing: bool) -> Answer | None:
        audits = self.library.audits(store, entry)
        if not audits:
            return None
        page = self._pages.audits(audits, datetime.now(UTC), refreshing)
        return Answer(HTTPStatus.OK, _encoded(page))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, unless the browser only went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Request(BaseHTTPRequestHandler):
    """One request."""

    server: Viewer
    timeout = PATIENCE
    server_version = "auditor"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # an answer to HTTP/0.9 would have no headers

    def do_GET(self) -> None:
        self._send(self._answer())

    def do_HEAD(self) -> None:
        self._send(self._answer())

    def _answer(self) -> Answer:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            return self.server.notice(
                HTTPStatus.MISDIRECTED_REQUEST, "This server answers to its own address only."
            )
        try:
            return self.server.answer(self.path)
        except Exception:  # what breaks one page must not look like a page of another kind
            traceback.print_exc()
            return self.server.notice(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "This page could not be made; the terminal of auditor view says why.",
            )

    def _send(self, answer: Answer, **more: str) -> None:
        policy = _POLICY
        if answer.script_source is not None:
            policy += f"; script-src {answer.script_source}"
        if answer.reads:
            policy += f"; {_DATA}"
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.content)),
            "Content-Security-Policy": policy,
        }
        for name, value in (headers | _HEADERS | more).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request, or asks for more than reading."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            answer = self.server.notice(
                HTTPStatus.METHOD_NOT_ALLOWED, "This server is for reading: GET and HEAD only."
            )
            self._send(answer, Allow="GET, HEAD")
        else:
            self._send(self.server.notice(HTTPStatus(code), "This is no request."))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
        """Print nothing: every address holds the token."""


def _encoded(page: str) -> bytes:
    return page.encode("utf-8", "backslashreplace")
