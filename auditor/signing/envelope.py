"""DSSE envelopes: signing a certificate, and opening what was signed.

Only keys that the caller brings are trusted; a key or an id inside of the file proves nothing. An
envelope has one form in bytes (canonical JSON, canonical base64), and any other is refused: what
was signed cannot be changed, nor said in another way, without being noticed. What a signature does
not cover is other signatures: those of keys that nobody brought are not looked at.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature, Signer

from auditor.certificate.schema import Certificate
from auditor.core.errors import (
    AlteredError,
    AuditorError,
    MalformedError,
    ReplayedError,
    UntrustedError,
)
from auditor.core.hashing import canonical_json
from auditor.core.reading import parse_json
from auditor.core.text_safety import quoted
from auditor.signing.statement import certificate_of, statement

PAYLOAD_TYPE = "application/vnd.in-toto+json"

_KEY_ID = re.compile(r"[0-9a-f]{64}")


class Opened(NamedTuple):
    """A signed certificate."""

    certificate: Certificate
    keys: tuple[str, ...]
    """Ids of the trusted keys whose signatures hold."""


class Unchecked(NamedTuple):
    """The certificate of an envelope that nobody has checked."""

    certificate: Certificate
    claimed: tuple[str, ...]
    """Ids of the keys that are said to have signed."""


def sign(certificate: Certificate, signers: Sequence[Signer]) -> bytes:
    """Sign a certificate.

    Returns:
        The envelope as it is written to a file.

    Raises:
        AuditorError: a signature does not fit its signer's public key.
    """
    envelope = Envelope(statement(certificate), PAYLOAD_TYPE, {})
    for signer in signers:
        _add(envelope, signer)
    return canonical_json(envelope.to_dict())


def add_signature(content: bytes, signer: Signer, name: str = "the envelope") -> bytes:
    """Sign what others have signed already.

    Args:
        content: an envelope.
        signer: signs it, too.
        name: what errors call the envelope.

    Raises:
        MalformedError: it is no envelope of a certificate.
        AlteredError: the certificate in it was edited.
        AuditorError: the key has signed already, or its public part is another one.
    """
    envelope = _parsed(content, name)
    certificate_of(envelope.payload, name)
    if signer.public_key.keyid in envelope.signatures:
        raise AuditorError(f"the key {signer.public_key.keyid} has signed {name} already.")
    _add(envelope, signer)
    return canonical_json(envelope.to_dict())


def open_envelope(
    content: bytes, trusted: Sequence[Key], threshold: int = 1, name: str = "the envelope"
) -> Opened:
    """Check the signatures of an envelope, then take out the certificate.

    Args:
        content: the envelope's bytes.
        trusted: keys whose signatures count; a key given twice counts once.
        threshold: how many of them must have signed.
        name: what errors call the envelope.

    Raises:
        MalformedError: it is no envelope of a certificate, or not in its canonical form.
        AlteredError: it was changed after it was signed.
        ReplayedError: the signature of a trusted key was made for something else, and stands
            beside a certificate that is whole in itself.
        UntrustedError: fewer than ``threshold`` trusted keys signed. Signatures of other keys
            are not looked at; one of a trusted key that does not fit is refused, however many
            others do.
        AuditorError: the threshold cannot be reached with so few keys.
    """
    keys = {key.keyid: key for key in trusted}
    if not 1 <= threshold <= len(keys):
        raise AuditorError(
            f"{threshold} signature(s) are asked for, but {len(keys)} different key(s) were given; "
            "the same key counts once."
        )
    envelope = _parsed(content, name)
    held = []
    for keyid, signature in envelope.signatures.items():
        if keyid not in keys:
            continue
        if not _fits(keys[keyid], signature, envelope):
            raise _diagnosed(envelope, keyid, name)
        held.append(keyid)
    if len(held) < threshold:
        signed = ", ".join(envelope.signatures) or "nobody"
        raise UntrustedError(
            f"{len(held)} of the trusted keys ({', '.join(keys)}) signed {name}, {threshold} must. "
            f"It names the signature(s) of {signed}."
        )
    return Opened(certificate_of(envelope.payload, name), tuple(held))


def unchecked(content: bytes, name: str = "the envelope") -> Unchecked:
    """The certificate of an envelope, without a look at its signatures.

    Raises:
        MalformedError: it is no envelope of a certificate.
        AlteredError: the certificate in it was edited.
    """
    envelope = _parsed(content, name)
    return Unchecked(certificate_of(envelope.payload, name), tuple(envelope.signatures))


def _add(envelope: Envelope, signer: Signer) -> None:
    """Sign an envelope.

    Raises:
        AuditorError: the signature does not fit the signer's public key.
    """
    signature = envelope.sign(signer)
    if not _fits(signer.public_key, signature, envelope):
        raise AuditorError(
            f"the public key {signer.public_key.keyid} is not that of the secret key which signed; "
            "nobody could check such a signature."
        )


def _fits(key: Key, signature: Signature, envelope: Envelope) -> bool:
    try:
        key.verify_signature(signature, envelope.pae())
    except UnverifiedSignatureError:
        return False
    return True


def _diagnosed(envelope: Envelope, keyid: str, name: str) -> AuditorError:
    """Why a trusted key's signature does not fit."""
    try:
        certificate_of(envelope.payload, name)
    except (AlteredError, MalformedError) as error:
        return AlteredError(f"{name} was changed after {keyid} signed it: {error}")
    return ReplayedError(
        f"the signature of {keyid} in {name} was made for something else: the certificate is whole "
        "in itself, but it is not what this key signed."
    )


def _parsed(content: bytes, name: str) -> Envelope:
    """The envelope, if it is in its canonical form."""
    try:
        data = parse_json(content)
    except ValueError as error:
        raise MalformedError(f"{name} is not a signed certificate: {error}.") from error
    if isinstance(data, dict) and "schema_version" in data:
        raise MalformedError(
            f"{name} is not signed: it is a certificate as `auditor sign` takes it."
        )
    if isinstance(data, dict) and "mediaType" in data:
        raise MalformedError(
            f"{name} is no envelope but a Sigstore bundle: name who must have signed it "
            "(--identity, --issuer)."
        )
    _check_fields(data, {"payload", "payloadType", "signatures"}, name)
    if data["payloadType"] != PAYLOAD_TYPE:
        raise MalformedError(f"{name} signs {quoted(data['payloadType'])}, not {PAYLOAD_TYPE}.")
    if not isinstance(data["signatures"], list):
        raise MalformedError(f"{name} is not an envelope: its signatures are no list.")
    signatures: dict[str, Signature] = {}
    for entry in data["signatures"]:
        _check_fields(entry, {"keyid", "sig"}, name)
        keyid = entry["keyid"]
        if not isinstance(keyid, str) or not _KEY_ID.fullmatch(keyid):
            raise MalformedError(
                f'{name} names a key "{quoted(keyid)}", which is no sha256 in hex.'
            )
        if keyid in signatures:
            raise MalformedError(f"{name} names one key twice: {keyid}.")
        signatures[keyid] = Signature(keyid, _decoded(entry["sig"], name).hex())
    envelope = Envelope(_decoded(data["payload"], name), PAYLOAD_TYPE, signatures)
    if canonical_json(envelope.to_dict()) != content:
        raise MalformedError(
            f"{name} is not in its canonical form: it was formatted anew, or a line end was put "
            "behind it, or its base64 has unused bits. Take the file as `auditor sign` wrote it."
        )
    return envelope


def _check_fields(value: Any, fields: set[str], name: str) -> None:
    if not isinstance(value, dict) or value.keys() != fields:
        raise MalformedError(
            f"{name} is not an envelope: {', '.join(sorted(fields))} are "
            "expected, and nothing else."
        )


def _decoded(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise MalformedError(f"{name} holds what is not base64 ({error}).") from error
