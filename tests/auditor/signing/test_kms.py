"""Keys that a service keeps: AWS KMS as moto plays it, and what goes wrong.

There is no local fake of the other services (Google, Azure, Vault, hardware tokens): of them only
the errors are tested.
"""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from auditor.certificate.files import write_certificate
from auditor.cli.main import run
from auditor.core.errors import AuditorError, UntrustedError
from auditor.signing.envelope import open_envelope
from auditor.signing.keys import generate, load_public_key
from auditor.signing.kms import SERVICES, signing_with
from auditor.signing.reading import read


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """A client of a service that plays AWS KMS, and the key that it made: its id and PEM file."""
    moto = pytest.importorskip("moto", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    from moto.kms.utils import ECDSAPrivateKey

    def signed_as_it_is(self, message, signing_algorithm):
        """AWS signs a digest (`MessageType=DIGEST`) as it is; moto would hash it once more."""
        assert signing_algorithm == "ECDSA_SHA_256"
        return self.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))

    monkeypatch.setattr(ECDSAPrivateKey, "sign", signed_as_it_is)
    with moto.mock_aws():
        client = boto3.client("kms")

        def make(name):
            made = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
            key = made["KeyMetadata"]["KeyId"]
            public = load_der_public_key(client.get_public_key(KeyId=key)["PublicKey"])
            file = tmp_path / f"{name}.pub.pem"
            file.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
            return key, file

        yield make


@pytest.fixture
def file(small, tmp_path):
    written = tmp_path / "certificate.json"
    write_certificate(small("FAIL"), written)
    return written


def test_a_key_of_aws_signs_and_its_public_part_verifies(aws, file):
    key, public = aws("kms")
    signed = file.with_name("certificate.dsse.json")
    assert run(["sign", str(file), "--kms", f"awskms:{key}", "--public-key", str(public)]) == 0
    opened = open_envelope(signed.read_bytes(), [load_public_key(public)])
    assert opened.certificate == read(file)[0]
    with pytest.raises(UntrustedError):
        open_envelope(signed.read_bytes(), [load_public_key(aws("other")[1])])


def test_it_adds_its_signature_to_one_by_a_file(aws, file, tmp_path):
    key, public = aws("kms")
    own = tmp_path / "own"
    assert run(["keygen", str(own)]) == 0
    assert run(["sign", str(file), "--key", f"{own}.pem"]) == 0
    signed = str(file.with_name("certificate.dsse.json"))
    assert run(["sign", signed, "--kms", f"awskms:{key}", "--public-key", str(public)]) == 0
    both = [load_public_key(public), load_public_key(own.with_name("own.pub.pem"))]
    assert len(open_envelope(Path(signed).read_bytes(), both, threshold=2).keys) == 2


def test_a_public_key_of_another_key_is_refused_before_anything_is_written(aws, file, capsys):
    key, _ = aws("kms")
    other = aws("other")[1]
    assert run(["sign", str(file), "--kms", f"awskms:{key}", "--public-key", str(other)]) == 2
    assert "nobody could check such a signature" in " ".join(capsys.readouterr().err.split())
    assert not file.with_name("certificate.dsse.json").exists()


def test_a_key_that_is_not_there_is_named(aws, file, capsys):
    _, public = aws("kms")
    asked = ["sign", str(file), "--kms", "awskms:alias/none", "--public-key", str(public)]
    assert run(asked) == 2
    assert "awskms:alias/none did not sign" in " ".join(capsys.readouterr().err.split())


def test_options_that_belong_together(file, capsys):
    assert run(["sign", str(file), "--kms", "awskms:x"]) == 2
    assert "--kms and --public-key belong together" in capsys.readouterr().err
    assert run(["sign", str(file), "--kms", "awskms:x", "--sigstore"]) == 2


def test_a_form_that_names_no_service_is_refused(tmp_path):
    public = tmp_path / "k.pub.pem"
    generate(tmp_path / "k.pem", public, "ecdsa-p256")
    for uri in ("file2:k.pem", "kms", "gnupg:"):
        with (
            pytest.raises(AuditorError, match="names no key of a service"),
            signing_with(uri, public),
        ):
            pass


@pytest.mark.parametrize("scheme", sorted(set(SERVICES) - {"awskms"}))
def test_a_service_without_its_client_or_credentials_says_so(scheme, tmp_path, monkeypatch):
    for name in ("PYKCS11LIB", "VAULT_ADDR", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    public = tmp_path / "k.pub.pem"
    generate(tmp_path / "k.pem", public, "ecdsa-p256")
    said = r"pip install 'securesystemslib\[|did not sign"
    with pytest.raises(AuditorError, match=said), signing_with(f"{scheme}:a/1", public) as signer:
        signer.sign(b"x")
