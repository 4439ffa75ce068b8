"""Keyless signing, with a Sigstore of this machine, and without the extra."""

import base64
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from auditor.certificate.files import write_certificate
from auditor.cli.main import run
from auditor.core.errors import AlteredError, MalformedError, ReplayedError, UntrustedError
from auditor.signing.reading import read

SAMPLE = Path(__file__).parents[3] / "docs" / "gallery" / "fail"

pytestmark = pytest.mark.usefixtures("no_login")


@pytest.fixture
def no_login(monkeypatch):
    """No pipeline's identity is about, but for one that a test brings."""
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A running service, into which a pipeline is logged in, and the file that names it."""
    pytest.importorskip("sigstore", reason="the extra sigstore is not installed")
    from local_sigstore import LocalSigstore, write_trust

    made = LocalSigstore()
    with made.serving() as url:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}/token")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
        yield write_trust(made, tmp_path / "trust.json")


@pytest.fixture
def bundle(service, small, tmp_path):
    file = tmp_path / "certificate.json"
    write_certificate(small("FAIL"), file)
    assert run(["sign", str(file), "--sigstore", "--trust-config", str(service)]) == 0
    return tmp_path / "certificate.sigstore.json"


def trusted(service, **changed):
    from local_sigstore import ISSUER, PIPELINE

    from auditor.signing.keyless import Identity

    return Identity(**{"name": PIPELINE, "issuer": ISSUER, "trust": service} | changed)


def checked(bundle, identity):
    from auditor.signing.keyless import open_bundle

    return open_bundle(bundle.read_bytes(), identity)


def test_what_a_pipeline_signed_is_opened_under_its_identity(service, bundle, small):
    identity = trusted(service)
    opened = checked(bundle, identity)
    assert opened.certificate == small("FAIL")
    assert opened.keys == (f"{identity.name} (by {identity.issuer})",)
    assert read(bundle) == (small("FAIL"), (identity.name,))


def test_commands_verify_gate_and_render_a_bundle(service, tmp_path, capsys):
    """Of a real audit, with its evidence beside it."""
    shutil.copytree(SAMPLE / "evidence", tmp_path / "evidence")
    file, signed = tmp_path / "certificate.json", str(tmp_path / "certificate.sigstore.json")
    write_certificate(read(SAMPLE / "certificate.dsse.json")[0], file)
    assert run(["sign", str(file), "--sigstore", "--trust-config", str(service)]) == 0
    identity = trusted(service)
    named = ["--identity", identity.name, "--issuer", identity.issuer]
    named += ["--trust-config", str(service)]
    assert run(["verify", signed, *named]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"holds, by {identity.name}" in said
    assert "follows from the evidence" in said
    assert run(["gate", signed, *named, "--policy", "research"]) == 1
    assert run(["gate", signed, "--identity", "m", *named[2:], "--policy", "research"]) == 12
    page = tmp_path / "page.html"
    assert run(["render", signed, *named, "--out", str(page)]) == 0
    assert "checked against what the maker" in " ".join(page.read_text().split())


def test_another_identity_or_issuer_is_not_trusted(service, bundle):
    for changed in ({"name": "mallory@example.com"}, {"issuer": "https://other.example"}):
        with pytest.raises(UntrustedError, match=r"signed by https://ci\.example"):
            checked(bundle, trusted(service, **changed))


def test_another_service_is_not_trusted(service, bundle, tmp_path):
    from local_sigstore import LocalSigstore, write_trust

    stranger = LocalSigstore()
    stranger.url = "http://127.0.0.1:9"
    other = write_trust(stranger, tmp_path / "other.json")
    with pytest.raises(UntrustedError, match="nobody that this Sigstore knows"):
        checked(bundle, trusted(other))


def test_the_same_name_certified_by_a_stranger_is_not_trusted(service, small, tmp_path):
    """A service of one's own says any name; its root is not the trusted one."""
    from local_sigstore import LocalSigstore, write_trust

    own = LocalSigstore()
    with own.serving():
        trust = write_trust(own, tmp_path / "own.json")
        file = tmp_path / "forged.json"
        write_certificate(small("PASS"), file)
        assert run(["sign", str(file), "--sigstore", "--trust-config", str(trust)]) == 0
    forged = tmp_path / "forged.sigstore.json"
    assert checked(forged, trusted(trust)).certificate.verdict.verdict == "PASS"
    with pytest.raises(UntrustedError):
        checked(forged, trusted(service))


def changed(bundle, change):
    """Change a bundle's JSON in place."""
    data = json.loads(bundle.read_text())
    change(data)
    bundle.write_text(json.dumps(data))
    return bundle


def test_a_certificate_that_was_edited_is_altered(service, bundle):
    def edit(data):
        payload = base64.b64decode(data["dsseEnvelope"]["payload"])
        edited = payload.replace(b'"FAIL"', b'"PASS"')
        assert edited != payload
        data["dsseEnvelope"]["payload"] = base64.b64encode(edited).decode()

    with pytest.raises(AlteredError):
        checked(changed(bundle, edit), trusted(service))


def test_a_signature_of_another_certificate_is_replayed(service, bundle, small):
    from auditor.signing.statement import statement

    def edit(data):
        data["dsseEnvelope"]["payload"] = base64.b64encode(statement(small("PASS"))).decode()

    with pytest.raises(ReplayedError):
        checked(changed(bundle, edit), trusted(service))


@pytest.mark.parametrize("field", ["canonicalizedBody", "inclusionProof", "inclusionPromise"])
def test_an_entry_of_the_log_that_was_edited_is_refused(service, bundle, field):
    def edit(data):
        entry = data["verificationMaterial"]["tlogEntries"][0]
        if field == "canonicalizedBody":
            body = base64.b64decode(entry[field]).replace(b"dsse", b"DSSE")
            entry[field] = base64.b64encode(body).decode()
        elif field == "inclusionProof":
            entry[field]["rootHash"] = base64.b64encode(bytes(32)).decode()
        else:
            entry[field]["signedEntryTimestamp"] = base64.b64encode(bytes(70)).decode()

    with pytest.raises((ReplayedError, MalformedError)):
        checked(changed(bundle, edit), trusted(service))


def test_keys_and_identities_are_not_mistaken_for_one_another(service, bundle, tmp_path, capsys):
    key = tmp_path / "key"
    assert run(["keygen", str(key)]) == 0
    assert run(["verify", str(bundle), "--key", f"{key}.pub.pem"]) == 10
    assert "--identity, --issuer" in capsys.readouterr().err
    certificate = bundle.with_name("certificate.json")
    assert run(["sign", str(certificate), "--key", f"{key}.pem"]) == 0
    named = ["--identity", "a", "--issuer", "b", "--trust-config", str(service)]
    assert run(["verify", str(certificate.with_name("certificate.dsse.json")), *named]) == 10
    assert run(["verify", str(bundle), "--identity", "a"]) == 2
    assert run(["verify", str(bundle), *named, "--key", f"{key}.pub.pem"]) == 2


@pytest.mark.skipif(
    importlib.util.find_spec("sigstore") is not None, reason="the extra sigstore is installed"
)
def test_without_the_extra(small, tmp_path, capsys):
    file = tmp_path / "certificate.json"
    write_certificate(small(), file)
    assert run(["sign", str(file), "--sigstore"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "pip install 'unlearning-auditor[sigstore]'" in said
    assert "Signing with a key (--key) needs nothing of it" in said
    assert list(tmp_path.iterdir()) == [file]


def test_a_bundle_is_not_written_over(small, tmp_path, capsys):
    file, written = tmp_path / "certificate.json", tmp_path / "certificate.sigstore.json"
    write_certificate(small(), file)
    written.write_text("{}", encoding="utf-8")
    assert run(["sign", str(file), "--sigstore"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert written.read_text(encoding="utf-8") == "{}"


def test_a_trust_configuration_that_is_none_is_refused(small, tmp_path, capsys):
    pytest.importorskip("sigstore", reason="the extra sigstore is not installed")
    file, trust = tmp_path / "certificate.json", tmp_path / "trust.json"
    write_certificate(small(), file)
    trust.write_text("{}", encoding="utf-8")
    assert run(["sign", str(file), "--sigstore", "--trust-config", str(trust)]) == 2
    assert "no trust configuration" in capsys.readouterr().err
