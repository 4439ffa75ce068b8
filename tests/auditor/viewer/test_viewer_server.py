"""What the server answers, and to whom."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html import unescape
from importlib.resources import files
from types import SimpleNamespace

import pytest
from chromium import EXECUTABLE, chromium
from hand_made_certificates import honest_certificate
from hostile_texts import HOSTILE, LONG, MARKER, hostile_certificate
from running_audit import RunningAudit

from auditor.certificate.files import read_certificate, write_certificate
from auditor.signing.envelope import sign
from auditor.signing.keys import generate, load_signer
from auditor.viewer.folder import ID_DIGITS
from reports.html import render

BAD = f"{HOSTILE} {LONG}"
AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN_AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found))"
PLAIN_EDGES = """document.head.append(Object.assign(document.createElement('style'),
    {textContent: '.scroller { background: none !important }'}))"""
"""The shade at the edge of a wide table keeps axe from judging any contrast inside."""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def tree(root):
    """Everything about a folder that a reader could change, but for the times of reading."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


def overview(served):
    return json.loads(served.get("api/overview.json"))


def pages(served):
    """Addresses of everything that the first page leads to."""
    return re.findall(r'href="([^"]+)"', served.get())


def test_it_is_bound_to_the_loopback_alone(served):
    assert served.viewer.socket.getsockname()[0] == "127.0.0.1"
    address = f"http://127.0.0.1:{served.viewer.server_port}/{served.viewer.token}/"
    assert served.viewer.address == address
    assert len(served.viewer.token) >= 40


def test_every_page_that_is_linked_is_there_and_nothing_is_written(root, served, certified, half):
    certified("PASS")
    certified("NOT AUDITABLE")
    (root / "certificate.json").write_text('{"schema_version": "3.0.0", "verd')
    before = tree(root)
    linked = pages(served)
    assert len(linked) == 1 + 2 * 2
    for address in linked:
        assert served.get(address)
        served.ask(f"/{served.viewer.token}/{address}", "HEAD")
    served.get("api/overview.json")
    served.ask(f"/{served.viewer.token}/nonesuch")
    served.ask(f"/{served.viewer.token}/", "PUT")
    assert tree(root) == before


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "X"])
def test_other_methods_are_refused(served, method):
    status, headers, _ = served.ask(f"/{served.viewer.token}/", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"
    assert headers.items() >= EVERYWHERE.items()


def test_head_is_get_without_content(served, certified):
    certified("PASS")
    for address in ("", *pages(served)):
        path = f"/{served.viewer.token}/{address}"
        got, head = served.ask(path), served.ask(path, "HEAD")
        assert (head[0], head[2]) == (200, b"")
        different = {"Date"}
        assert {k: v for k, v in head[1].items() if k not in different} == {
            k: v for k, v in got[1].items() if k not in different
        }
        assert int(head[1]["Content-Length"]) == len(got[2])


@pytest.mark.parametrize(
    "host",
    [
        ["evil.example"],
        ["evil.example:PORT"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["127.0.0.1:PORT.evil.example"],
        ["[::1]:PORT"],
        ["0.0.0.0:PORT"],
        [],
        ["127.0.0.1:PORT", "evil.example"],
        [""],
    ],
    ids=str,
)
def test_another_host_is_refused(served, certified, host):
    certified("PASS")
    port = str(served.viewer.server_port)
    named = [name.replace("PORT", port) for name in host]
    status, headers, content = served.ask(f"/{served.viewer.token}/", host=named)
    assert status == 421
    assert headers.items() >= EVERYWHERE.items()
    assert b"PASS" not in content


def test_localhost_is_this_host(served):
    host = [f"localhost:{served.viewer.server_port}"]
    assert served.ask(f"/{served.viewer.token}/", host=host)[0] == 200


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/{less}/",
        "/{token}x/",
        "/{upper}/",
        "/api/overview.json",
        "/x/api/overview.json",
        "/?token={token}",
        "/nonesuch/{token}/",
        "/\u00ff/",
        "http://127.0.0.1/",
        "*",
    ],
)
def test_without_the_token_nothing_is_told(served, certified, target):
    certified("PASS")
    token = served.viewer.token
    asked = target.format(token=token, less=token[:-1], upper=token.swapcase())
    status, content = _raw(served, f"GET {asked} HTTP/1.1".encode("latin-1"))
    assert status == 403
    assert b"PASS" not in content
    assert token.encode() not in content


def _raw(served, line):
    """Status and content of the answer to a request line that no library would send."""
    port = served.viewer.server_port
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(line + f"\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split()[1]), answer


@pytest.mark.parametrize(
    "path",
    [
        "certificate/../../etc/passwd",
        "certificate/../../../../../../etc/passwd",
        "certificate/..%2f..%2f..%2fetc%2fpasswd",
        "certificate/%2e%2e/%2e%2e/etc/passwd",
        "certificate//etc/passwd",
        "certificate/secret.json",
        "certificate/fail%2fcertificate.json",
        "certificate/fail/certificate.json",
        "certificate/",
        "certificate/.json",
        "certificate/%00",
        "certificate/" + "0" * ID_DIGITS,
        "audit/../..",
        "audit/x",
        "audit/x/y",
        "audit/x/y/z",
        "fail/certificate.json",
        "../",
        "..",
        "api/",
    ],
)
def test_no_path_leads_to_a_file(root, served, certified, half, path):
    certified("FAIL")
    (root / "secret.json").write_text('{"name": "Ada"}')
    (root.parent / "secret.json").write_text('{"name": "Ada"}')
    status, _, content = served.ask(f"/{served.viewer.token}/{path}")
    assert status == 404
    assert b"Ada" not in content
    assert b"root:" not in content


@pytest.mark.parametrize("line", [b"GET", b"\x00\xff", b"GET / HTTP/9.9", b"GET " + b"/" * 70_000])
def test_what_is_no_request_is_answered_as_such(served, line):
    status, content = _raw(served, line)
    assert status in (400, 414, 505)
    assert b"X-Frame-Options: DENY" in content
    assert b"frame-ancestors 'none'" in content
    assert served.get()


def test_clients_that_never_finish_keep_nobody_waiting(served, certified):
    certified("PASS")
    host = ("127.0.0.1", served.viewer.server_port)
    with ExitStack() as stack:
        for _ in range(80):
            slow = stack.enter_context(socket.create_connection(host, timeout=60))
            slow.sendall(b"GET /")
        pool = stack.enter_context(ThreadPoolExecutor(50))
        answers = list(pool.map(lambda _: served.get(), range(50)))
    assert len(answers) == 50
    assert all("PASS" in answer for answer in answers)


def test_pages_of_certificates_are_those_of_the_report(served, certified):
    file = certified("FAIL")
    page, raw = (address for address in pages(served) if address.startswith("certificate/"))
    beside = re.compile('<nav class="beside-page".*?</nav>\n', re.DOTALL)
    shown = served.get(page)
    assert len(beside.findall(shown)) == 1, "links to what lies beside it"
    assert beside.sub("", shown) == render(read_certificate(file), None)
    status, headers, content = served.ask(f"/{served.viewer.token}/{raw}")
    assert (status, content) == (200, file.read_bytes())
    assert headers["Content-Type"] == "application/json"
    own = re.search(r"script-src ('sha256-[^']+')", unescape(served.get(page))).group(1)
    policies = {
        address: served.ask(f"/{served.viewer.token}/{address}")[1]["Content-Security-Policy"]
        for address in ("", page)
    }
    assert f"script-src {own}" in policies[page], "the page's own script may run"
    assert "script-src" not in policies[""]
    for policy in policies.values():
        assert policy.startswith("default-src 'none'")


def test_a_changed_certificate_is_read_again(served, certified):
    certified("FAIL", "certificate.json")
    page = next(address for address in pages(served) if address.startswith("certificate/"))
    assert overview(served)["certificates"][0]["verdict"] == "FAIL"
    assert "FAIL: unlearning certificate" in served.get(page)
    certified("PASS", "certificate.json")
    assert overview(served)["certificates"][0]["verdict"] == "PASS"
    assert "PASS: unlearning certificate" in served.get(page)


def test_what_is_gone_is_not_there_any_longer(root, served, certified, half):
    file = certified("FAIL")
    linked = pages(served)
    file.unlink()
    shutil.rmtree(root / "running" / "evidence" / "audits")
    for address in linked:
        assert served.ask(f"/{served.viewer.token}/{address}")[0] == 404
    assert pages(served) == []


@pytest.mark.parametrize("signatures", [1, 2])
def test_a_signed_certificate_is_shown_as_signed_and_not_checked(
    root, served, tmp_path, signatures
):
    keys = []
    for number in range(signatures):
        private = tmp_path / f"{number}.pem"
        keys.append(generate(private, private.with_suffix(".pub"), "ed25519"))
    signers = [load_signer(tmp_path / f"{number}.pem") for number in range(signatures)]
    envelope = root / "certificate.dsse.json"
    envelope.write_bytes(sign(honest_certificate("PASS").named(), signers))
    assert overview(served)["certificates"][0]["keys"] == keys
    assert "not checked" in served.get()
    page, raw = pages(served)
    assert "NOT checked" in served.get(page)
    assert served.get(raw).encode() == envelope.read_bytes()
    content = json.loads(envelope.read_bytes())
    content["payload"] = content["payload"][:-8]
    envelope.write_text(json.dumps(content))
    assert [part["file"] for part in overview(served)["unreadable"]] == ["certificate.dsse.json"]


def test_reading_needs_no_model_library():
    code = (
        "import sys, auditor.viewer.server, auditor.cli.view, reports.overview, reports.html\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@pytest.fixture
def hostile_folder(root):
    """Everything in it that others name or write is an attack."""
    write_certificate(hostile_certificate().named(), root / "certificate.json")
    honest = honest_certificate("FAIL")
    dated = hostile_certificate().model_copy(
        update={"timing": honest.timing, "policy": honest.policy.model_copy(update={"name": BAD})}
    )
    name = HOSTILE.replace("/", "").replace("\0", "")[:200]
    write_certificate(dated.named(), root / f"{name}.json")
    write_certificate(honest.named(), root / os.fsdecode(b"\xff\xfe.json"))
    audit = RunningAudit(root / name, [HOSTILE, BAD], model=BAD, policy=HOSTILE)
    audit.finish(3)
    failed = next(key for key in audit.identities if not audit.store.has(key))
    audit.store.log_failure(failed, f"{HOSTILE}\n{BAD}")
    (audit.store.root / "audits" / f"{name}.json").write_text(f'{{"unlearned": "{MARKER}"')
    return root


def test_names_that_are_no_text_are_served(hostile_folder, served):
    found = overview(served)
    assert len(found["certificates"]) == 2
    assert "\\xff\\xfe.json" in {part["file"] for part in found["certificates"]}
    assert len(found["unreadable"]) == 2
    drawn = pages(served)
    assert len(drawn) == 1 + 2 * 2
    for address in ("", *drawn):
        assert served.get(address)


@pytest.mark.slow
@pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine")
def test_hostile_names_are_inert_in_a_browser(hostile_folder, served, tmp_path):
    linked = [address for address in ("", *pages(served)) if ".json" not in address]
    assert len(linked) == 4
    assert all(served.get(address) for address in linked)
    drawn = [served.viewer.address + address for address in linked]
    with chromium(tmp_path / "profile") as tab:
        for address in drawn:
            for width, scheme in ((360, "light"), (1280, "dark")):
                tab.view(width, scheme=scheme)
                tab.open(SimpleNamespace(as_uri=lambda address=address: address))
                seen = tab.evaluate("document.title + document.body.textContent.length")
                assert MARKER not in seen
                assert tab.happened("Page.javascriptDialogOpening") == []
                ours = f"http://127.0.0.1:{served.viewer.server_port}/"
                assert all(request.startswith(ours) for request in tab.requests())
                assert tab.evaluate("document.querySelectorAll('img, iframe').length") == 0
                assert tab.evaluate(OVERFLOW) == 0
                if "/certificate/" not in address:
                    assert tab.scripts() == []
                    assert MARKER in tab.evaluate("document.body.textContent"), "it is shown"


@pytest.mark.slow
@pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine")
def test_axe_finds_nothing_serious(served, certified, half, tmp_path):
    certified("FAIL")
    certified("NOT AUDITABLE")
    key = next(key for key in half.identities if not half.store.has(key))
    half.store.log_failure(key, "MeasurementError: NaN logits")
    audit = next(address for address in pages(served) if address.startswith("audit/"))
    with chromium(tmp_path / "profile") as tab:
        for address in ("", f"{audit}?still"):
            for width, scheme in ((360, "light"), (1280, "light"), (1280, "dark")):
                tab.view(width, scheme=scheme)
                tab.open(SimpleNamespace(as_uri=lambda a=address: served.viewer.address + a))
                tab.evaluate(PLAIN_EDGES)
                tab.evaluate(AXE)
                found = json.loads(tab.evaluate(RUN_AXE))
                assert len(found["passes"]) > 15, "axe ran its rules"
                assert [
                    (rule["id"], rule["nodes"][0]["target"])
                    for rule in found["violations"]
                    if rule["impact"] in ("serious", "critical")
                ] == []
