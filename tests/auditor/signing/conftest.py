"""Keys of both kinds, and small certificates to sign."""

import pytest
from hand_made_certificates import honest_certificate

from auditor.signing.keys import KINDS, generate, load_public_key, load_signer


@pytest.fixture(scope="session")
def small():
    """A certificate with little in it: every byte of its envelope is changed in a test."""

    def make(verdict="PASS"):
        whole = honest_certificate(verdict)
        return whole.model_copy(
            update={
                "matrix": (),
                "self_checks": (),
                "limitations": (),
                "worst_facts": (),
                "worst_entities": (),
            }
        ).named()

    return make


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Name of a signer to its secret and public key; one of each kind, and a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name, kind in (("auditor", "ed25519"), ("owner", "ecdsa-p256"), ("stranger", "ed25519")):
        private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        generate(private, public, KINDS[kind])
        made[name] = (load_signer(private), load_public_key(public))
    return made
