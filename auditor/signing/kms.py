"""Signing with keys of management services and hardware tokens.

The signers are securesystemslib's own, with credentials from where each service's client looks for
them. The secret key never leaves the service; its public part is a PEM file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import Signer

from auditor.core.errors import AuditorError
from auditor.signing.keys import load_public_key

SERVICES = {
    "awskms": "awskms",
    "azurekms": "azurekms",
    "gcpkms": "gcpkms",
    "hsm": "hsm",
    "hv": "vault",
}
"""Extra of securesystemslib that a signer needs, by the scheme of its keys' URIs."""


@contextmanager
def signing_with(uri: str, public: Path, secret: bytes | None = None) -> Iterator[Signer]:
    """Yield a signer with a key of a service.

    Args:
        uri: the key as securesystemslib names it, for example ``awskms:alias/auditor``.
        public: PEM file of its public part.
        secret: PIN of a hardware token.

    Raises:
        AuditorError: there is no such service, its client is not installed, or the service
            refused, now or while it signs.
    """
    scheme = uri.partition(":")[0]
    if scheme not in SERVICES:
        known = ", ".join(f"{name}:KEY" for name in SERVICES)
        raise AuditorError(f"{uri} names no key of a service; the forms are {known}.")
    key = load_public_key(public)

    def told(name: str) -> str:
        if secret is None:
            raise AuditorError(f"{uri} asks for its {name}; give it with --passphrase-file.")
        return secret.decode()

    try:
        yield Signer.from_priv_key_uri(uri, key, told)
    except UnsupportedLibraryError as error:
        raise AuditorError(
            f"{error} (pip install 'securesystemslib[{SERVICES[scheme]}]')"
        ) from error
    except (AuditorError, OSError):
        raise
    except Exception as error:  # each service's client has errors of its own
        raise AuditorError(
            f"{uri} did not sign ({type(error).__name__}: {error}). Are the credentials of its "
            "client set, and may they sign with this key?"
        ) from error
