"""Keyless signing with Sigstore, and opening of its bundles.

The signer is who logs in, and a public log keeps the record.

An optional extra, off by default: it needs the network, a login, and publishes the digest of the
certificate and the signer's identity in a transparency log. A bundle is opened with the root of
trust of Sigstore's public service, or of another one that is named.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509

from auditor.certificate.schema import Certificate
from auditor.core.errors import (
    AuditorError,
    MalformedError,
    ReplayedError,
    UntrustedError,
)
from auditor.core.reading import parse_json, read_regular
from auditor.core.text_safety import quoted
from auditor.signing.envelope import PAYLOAD_TYPE, Opened, Unchecked
from auditor.signing.statement import certificate_of, statement

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle"
"""Beginning of the media type of every version of a bundle."""


class Identity(NamedTuple):
    """Whose keyless signature counts."""

    name: str
    """E-mail address, or URI of a pipeline, that logged in."""
    issuer: str
    """URL of the service that logged it in."""
    trust: Path | None = None
    """File of a Sigstore client's trust configuration; None for the public service."""

    @property
    def words(self) -> str:
        """Return the name and who vouches for it."""
        return f"{self.name} (by {self.issuer})"


def sign_keyless(certificate: Certificate, trust: Path | None = None) -> str:
    """Sign the certificate's statement under the identity of whoever logs in.

    In a pipeline with an ambient identity (GitHub Actions with ``id-token: write``) that identity
    signs; elsewhere a browser asks for a login.

    Args:
        certificate: what is signed.
        trust: file of a client's trust configuration; None for the public service.

    Returns:
        A Sigstore bundle as JSON.

    Raises:
        AuditorError: the extra is not installed, or the service cannot be reached.
    """
    try:
        from sigstore.dsse import Statement
        from sigstore.errors import Error
        from sigstore.oidc import (
            ExpiredIdentity,
            IdentityToken,
            Issuer,
            IssuerError,
            detect_credential,
        )
        from sigstore.sign import SigningContext
    except ImportError as error:
        raise _lacking() from error
    payload = Statement(statement(certificate))
    try:
        service = _service(trust)
        ambient = detect_credential()
        token = (
            IdentityToken(ambient)
            if ambient
            else Issuer(service.signing_config.get_oidc_url()).identity_token()
        )
        with SigningContext.from_trust_config(service).signer(token) as signer:
            bundle: str = signer.sign_dsse(payload).to_json()
    except (Error, ExpiredIdentity, IssuerError, OSError, *_client_errors()) as error:
        raise AuditorError(
            f"keyless signing did not succeed ({type(error).__name__}: {error}). It needs the "
            "network and a login; sign with a key (--key) where there is neither."
        ) from error
    return bundle


def is_bundle(data: object) -> bool:
    """Return whether parsed JSON is a Sigstore bundle, of whatever version."""
    return isinstance(data, Mapping) and str(data.get("mediaType", "")).startswith(_MEDIA_TYPE)


def open_bundle(content: bytes, identity: Identity, name: str = "the bundle") -> Opened:
    """Check the signature of a bundle, then take out the certificate.

    Checked are the signer's certificate and its entries in both logs, the time of signing, who
    signed, and the signature over the statement.

    Args:
        content: the bundle's bytes.
        identity: whose signature counts.
        name: what errors call the bundle.

    Raises:
        MalformedError: it is no bundle of a certificate.
        AlteredError: the certificate in it was edited.
        ReplayedError: the signature was made for something else, or the log has another entry.
        UntrustedError: somebody else signed, or nobody that this service knows.
        AuditorError: the extra is not installed, or the root of trust cannot be had.
    """
    try:
        from sigstore.errors import CertValidationError, Error, VerificationError
        from sigstore.models import Bundle
        from sigstore.verify import Verifier, policy
    except ImportError as error:
        raise _lacking() from error
    claimed = unchecked_bundle(parse_json(content), name)
    try:
        verifier = Verifier(trusted_root=_service(identity.trust).trusted_root)
    except (Error, OSError) as error:
        raise AuditorError(
            f"the root of trust cannot be had ({type(error).__name__}: {error}); bring it with "
            "--trust-config where there is no network."
        ) from error
    who = policy.Identity(identity=identity.name, issuer=identity.issuer)
    try:
        bundle = Bundle.from_json(content)
        who.verify(bundle.signing_certificate)
    except VerificationError as error:
        raise UntrustedError(
            f"{name} is signed by {', '.join(claimed.claimed)}, not by {identity.words}: {error}"
        ) from error
    except Error as error:
        raise MalformedError(f"{name} is no Sigstore bundle: {error}") from error
    try:
        kind, payload = verifier.verify_dsse(bundle, who)
    except CertValidationError as error:
        raise UntrustedError(f"nobody that this Sigstore knows signed {name}: {error}") from error
    except (Error, ValueError) as error:
        raise ReplayedError(f"the signature of {name} does not hold: {error}") from error
    if kind != PAYLOAD_TYPE:
        raise MalformedError(f"{name} signs {quoted(kind)}, not {PAYLOAD_TYPE}.")
    return Opened(certificate_of(payload, name), (identity.words,))


def unchecked_bundle(data: Any, name: str = "the bundle") -> Unchecked:
    """The certificate of a bundle, without a look at its signature.

    Args:
        data: the bundle as parsed JSON.
        name: what errors call it.

    Raises:
        MalformedError: it is no bundle of a certificate.
        AlteredError: the certificate in it was edited.
    """
    try:
        payload = base64.b64decode(data["dsseEnvelope"]["payload"], validate=True)
        signer = data["verificationMaterial"]["certificate"]["rawBytes"]
        certificate = x509.load_der_x509_certificate(base64.b64decode(signer, validate=True))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (binascii.Error, KeyError, TypeError, ValueError, x509.ExtensionNotFound) as error:
        raise MalformedError(f"{name} is no Sigstore bundle of a certificate: {error!r}") from error
    said = [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
    ]
    return Unchecked(certificate_of(payload, name), tuple(said or ["somebody without a name"]))


def _service(trust: Path | None) -> "ClientTrustConfig":
    """Return the root of trust and the addresses of a Sigstore service.

    Raises:
        AuditorError: the file is none.
    """
    from sigstore.models import ClientTrustConfig

    if trust is None:
        return ClientTrustConfig.production()
    try:
        return ClientTrustConfig.from_json(read_regular(trust).decode())
    except (OSError, ValueError) as error:
        raise AuditorError(
            f"{trust} is no trust configuration of a Sigstore client: {error}"
        ) from error


def _client_errors() -> tuple[type[Exception], ...]:
    """Return what sigstore's clients raise beside its own errors."""
    from sigstore._internal.fulcio.client import FulcioClientError
    from sigstore._internal.rekor import RekorClientError

    return FulcioClientError, RekorClientError


def _lacking() -> AuditorError:
    return AuditorError(
        "keyless signing needs an extra: pip install 'unlearning-auditor[sigstore]'. "
        "Signing with a key (--key) needs nothing of it."
    )
