"""Signing keys as PEM files.

They are Ed25519 or ECDSA P-256 keys, made here or by openssl.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from auditor.core.errors import AuditorError

KeyKind = Literal["ed25519", "ecdsa-p256"]

_Private = Ed25519PrivateKey | EllipticCurvePrivateKey
_Public = Ed25519PublicKey | EllipticCurvePublicKey

_GENERATE: dict[KeyKind, Callable[[], _Private]] = {
    "ed25519": Ed25519PrivateKey.generate,
    "ecdsa-p256": lambda: generate_private_key(SECP256R1()),
}
KINDS: dict[str, KeyKind] = {kind: kind for kind in _GENERATE}
"""Algorithms of keys by their name on the command line."""

_SUPPORTED = "Ed25519 and ECDSA on the curve P-256 are supported; `auditor keygen` makes either."


def generate(private: Path, public: Path, kind: KeyKind, passphrase: bytes | None = None) -> str:
    """Make a key pair and write it as PEM files (PKCS#8, SubjectPublicKeyInfo).

    Args:
        private: file of the secret key, readable by its owner alone.
        public: file of the public key.
        kind: the algorithm.
        passphrase: encrypts the secret key.

    Returns:
        The id of the key.

    Raises:
        AuditorError: a file exists already; keys are never written over.
    """
    key = _GENERATE[kind]()
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    # the public file first: if the secret one cannot be made, no secret is left lying about
    _write_new(public, _written(key.public_key(), Encoding.PEM), 0o644)
    try:
        _write_new(private, secret, 0o600)
    except (AuditorError, OSError):
        public.unlink()
        raise
    return key_id(key.public_key())


def key_id(key: _Public) -> str:
    """Return the sha256 (hex) of a public key's DER form.

    It is never taken from a file.
    """
    return hashlib.sha256(_written(key, Encoding.DER)).hexdigest()


def load_signer(file: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """A signer with the secret key of a PEM file.

    Raises:
        AuditorError: it is no secret key, of another algorithm, or the passphrase is wrong.
    """
    content = _content(file)
    if b"PUBLIC KEY" in content and b"PRIVATE KEY" not in content:
        raise AuditorError(f"{file} holds a public key; signing needs the private one.")
    try:
        key = load_pem_private_key(content, passphrase)
    except TypeError as error:  # a passphrase too many, or one too few
        raise AuditorError(
            f"{file}: the key is {'not ' if passphrase else ''}protected by a passphrase; give it "
            f"{'without' if passphrase else 'with'} --passphrase-file."
        ) from error
    except ValueError as error:
        hint = " Is the passphrase right?" if passphrase else ""
        raise AuditorError(f"{file} holds no private key in PEM form.{hint}") from error
    except UnsupportedAlgorithm as error:
        raise AuditorError(f"{file} holds a key of another kind. {_SUPPORTED}") from error
    if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise AuditorError(f"{file} holds a key of another kind. {_SUPPORTED}")
    return CryptoSigner(key, _trusted(file, key.public_key()))


def load_public_key(file: Path) -> SSlibKey:
    """The public key of a PEM file.

    Raises:
        AuditorError: it is no public key, or of another algorithm.
    """
    content = _content(file)
    if b"PRIVATE KEY" in content:
        raise AuditorError(
            f"{file} holds a private key; give the public one, and keep this one to yourself."
        )
    try:
        key = load_pem_public_key(content)
    except ValueError as error:
        raise AuditorError(f"{file} holds no public key in PEM form.") from error
    except UnsupportedAlgorithm as error:
        raise AuditorError(f"{file} holds a key of another kind. {_SUPPORTED}") from error
    return _trusted(file, key)


def _trusted(file: Path, key: object) -> SSlibKey:
    if not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey):
        raise AuditorError(f"{file} holds a key of another kind. {_SUPPORTED}")
    if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
        raise AuditorError(f"{file} holds a key on the curve {key.curve.name}. {_SUPPORTED}")
    return SSlibKey.from_crypto(key, key_id(key))


def _written(key: _Public, encoding: Encoding) -> bytes:
    return key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def _write_new(file: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet.

    A link in its place is an error, too, and is not followed.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise AuditorError(
            f"{error.filename} exists already, and a key is never written over; choose another "
            "name."
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(content)
    except OSError as error:  # half a key is none
        file.unlink()
        raise OSError(error.errno, error.strerror, str(file)) from error


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AuditorError(f"the key {file} cannot be read: {error.strerror}.") from error
