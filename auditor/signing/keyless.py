"""Keyless signing with Sigstore.

The signer is who logs in, and a public log keeps the record.

An optional extra, off by default: it needs the network, a login, and publishes the digest of the
certificate and the signer's identity in a transparency log.
"""

from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError
from auditor.signing.statement import statement


def sign_keyless(certificate: Certificate) -> str:
    """Sign the certificate's statement under the identity of whoever logs in.

    In a pipeline with an ambient identity (GitHub Actions with ``id-token: write``) that identity
    signs; elsewhere a browser asks for a login.

    Returns:
        A Sigstore bundle as JSON; `sigstore verify` checks it.

    Raises:
        AuditorError: the extra is not installed, or the service cannot be reached.
    """
    try:
        from sigstore.dsse import Statement
        from sigstore.errors import Error
        from sigstore.models import ClientTrustConfig
        from sigstore.oidc import IdentityToken, Issuer, IssuerError, detect_credential
        from sigstore.sign import SigningContext
    except ImportError as error:
        raise AuditorError(
            "keyless signing needs an extra: pip install 'unlearning-auditor[sigstore]'. "
            "Signing with a key (--key) needs nothing of it."
        ) from error
    payload = Statement(statement(certificate))
    try:
        trust = ClientTrustConfig.production()
        ambient = detect_credential()
        token = (
            IdentityToken(ambient)
            if ambient
            else Issuer(trust.signing_config.get_oidc_url()).identity_token()
        )
        with SigningContext.from_trust_config(trust).signer(token) as signer:
            bundle: str = signer.sign_dsse(payload).to_json()
    except (Error, IssuerError, OSError) as error:
        raise AuditorError(
            f"keyless signing did not succeed ({type(error).__name__}: {error}). It needs the "
            "network and a login; sign with a key (--key) where there is neither."
        ) from error
    return bundle
