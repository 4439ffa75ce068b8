"""`auditor keygen` and `auditor sign`: what they write, and what they never write over."""

import json
import stat

import pytest
from hand_made_certificates import honest_certificate

from auditor.certificate.files import write_certificate
from auditor.cli.main import OK, USAGE, run
from auditor.signing.envelope import open_envelope
from auditor.signing.keys import load_public_key
from auditor.signing.reading import read


@pytest.fixture
def file(tmp_path):
    """A certificate on disk."""
    write_certificate(honest_certificate("FAIL").named(), tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


@pytest.fixture
def keys(tmp_path):
    """Two key pairs, one of each kind: name to the public file."""
    for name, kind in (("auditor", "ed25519"), ("owner", "ecdsa-p256")):
        assert run(["keygen", str(tmp_path / name), "--type", kind]) == OK
    return {name: tmp_path / f"{name}.pub.pem" for name in ("auditor", "owner")}


@pytest.fixture
def sign(tmp_path, capsys):
    """Run `auditor sign`: exit code and what it said."""

    def call(path, *more, key="auditor"):
        capsys.readouterr()
        code = run(["sign", str(path), "--key", str(tmp_path / f"{key}.pem"), *map(str, more)])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.out + shown.err

    return call


def test_keygen_says_what_it_made(tmp_path, capsys):
    assert run(["keygen", str(tmp_path / "new" / "k"), "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    private, public = tmp_path / "new" / "k.pem", tmp_path / "new" / "k.pub.pem"
    assert said == {
        "keyid": load_public_key(public).keyid,
        "private": str(private),
        "public": str(public),
    }
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    assert run(["keygen", str(tmp_path / "new" / "k")]) == USAGE
    assert "never written over" in capsys.readouterr().err
    assert private.read_bytes() == before


def test_two_sign_from_the_command_line(file, keys, sign):
    code, said = sign(file, "--json")
    assert code == OK
    envelope = file.with_name("certificate.dsse.json")
    auditor, owner = (load_public_key(key) for key in keys.values())
    assert json.loads(said) == {
        "file": str(envelope),
        "keyid": auditor.keyid,
        "certificate": read(file)[0].certificate_id,
        "verdict": "FAIL",
    }
    assert sign(envelope, key="owner")[0] == OK
    opened = open_envelope(envelope.read_bytes(), [auditor, owner], threshold=2)
    assert opened.certificate == read(file)[0]
    assert read(envelope) == (opened.certificate, (auditor.keyid, owner.keyid))
    assert not list(file.parent.glob(".*")), "no half-written file is left"


def test_a_key_signs_once(file, keys, sign):
    sign(file)
    envelope = file.with_name("certificate.dsse.json")
    before = envelope.read_bytes()
    code, said = sign(envelope)
    assert code == USAGE
    assert "has signed" in said
    assert envelope.read_bytes() == before


def test_signatures_are_not_lost(file, keys, sign):
    """Signing the plain file again would put the owner's signature in the auditor's place."""
    sign(file)
    envelope = file.with_name("certificate.dsse.json")
    before = envelope.read_bytes()
    code, said = sign(file, key="owner")
    assert code == USAGE
    assert "sign that file to add a signature" in " ".join(said.split())
    assert envelope.read_bytes() == before
    other = file.with_name("other.dsse.json")
    assert sign(file, "--out", other, key="owner")[0] == OK
    assert sign(other, "--out", envelope)[0] == USAGE
    assert envelope.read_bytes() == before


def test_an_envelope_of_an_earlier_audit_gives_way(file, keys, sign):
    sign(file)
    write_certificate(honest_certificate("PASS").named(), file)
    assert sign(file)[0] == OK
    assert read(file.with_name("certificate.dsse.json"))[0] == read(file)[0]


def test_nothing_else_is_written_over(file, keys, sign, tmp_path):
    targets = [file, tmp_path / "auditor.pem", keys["owner"]]
    before = [target.read_bytes() for target in targets]
    for target in targets:
        code, said = sign(file, "--out", target)
        assert code == USAGE
        assert "not written over" in " ".join(said.split())
    assert [target.read_bytes() for target in targets] == before


def test_what_is_not_signed(file, keys, sign, tmp_path):
    content = json.loads(file.read_text(encoding="utf-8"))
    content["verdict"].update(verdict="PASS", exit_code=0)
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(content), encoding="utf-8")
    assert sign(edited)[0] == 11
    assert not edited.with_name("edited.dsse.json").exists()
    edited.write_text("[]", encoding="utf-8")
    assert sign(edited)[0] == 10
    code, said = sign(tmp_path / "nonesuch.json")
    assert code == 10
    assert "cannot be read" in said


def test_keys_that_do_not_fit(file, keys, sign, capsys):
    assert run(["sign", str(file), "--key", str(keys["auditor"])]) == USAGE
    assert "needs the private one" in " ".join(capsys.readouterr().err.split())
    assert sign(file, key="nonesuch")[0] == USAGE
    assert run(["sign", str(file)]) == USAGE
    assert run(["sign", str(file), "--key", "k", "--sigstore"]) == USAGE
    assert not file.with_name("certificate.dsse.json").exists()


def test_a_passphrase_from_a_file(file, sign, tmp_path):
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n", encoding="utf-8")
    assert run(["keygen", str(tmp_path / "guarded"), "--passphrase-file", str(secret)]) == OK
    code, said = sign(file, key="guarded")
    assert code == USAGE
    assert "--passphrase-file" in said
    secret_of_another = tmp_path / "other"
    secret_of_another.write_text("close sesame", encoding="utf-8")
    assert sign(file, "--passphrase-file", secret_of_another, key="guarded")[0] == USAGE
    assert not file.with_name("certificate.dsse.json").exists()
    assert sign(file, "--passphrase-file", secret, key="guarded")[0] == OK
    public = load_public_key(tmp_path / "guarded.pub.pem")
    assert open_envelope(file.with_name("certificate.dsse.json").read_bytes(), [public])
    (tmp_path / "empty").write_bytes(b"\n")
    assert run(["keygen", str(tmp_path / "x"), "--passphrase-file", str(tmp_path / "empty")]) == 2
    assert not (tmp_path / "x.pem").exists()
