"""A Sigstore of this machine: it logs in, certifies and keeps a log, as the public one does.

Certificates, signed certificate timestamps, inclusion proofs and checkpoints are real; its client
checks all of them. It speaks the interfaces of Fulcio v2 and Rekor v1.
"""

import base64
import datetime
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = "https://login.example"
PIPELINE = "https://ci.example/acme/models/.ci/release.yml@refs/tags/v2"
"""Identity of the pipeline that signs."""
_TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SINCE = "2020-01-01T00:00:00Z"


def _der(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _b64(content):
    return base64.b64encode(content).decode()


def _signed(key, content):
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


class LocalSigstore:
    """Keys of the service, and what it answers."""

    def __init__(self):
        self.root_key, self.transparency_key, self.log_key = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        self.root = self._root()
        self.log: list[bytes] = []
        self.url = ""

    def _root(self):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local sigstore")])
        now = datetime.datetime.now(datetime.UTC)
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment"),
                *("data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.root_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.root_key.public_key()),
                critical=False,
            )
            .sign(self.root_key, hashes.SHA256())
        )

    def token(self):
        """A token of the login, for the pipeline."""
        now = int(time.time())
        claims = {"aud": "sigstore", "iss": ISSUER, "sub": PIPELINE, "iat": now, "exp": now + 300}
        return jwt.encode(claims, "x" * 32, algorithm="HS256")

    def certify(self, request, token):
        """Fulcio: a certificate of ten minutes for who logged in, with its timestamp."""
        claims = jwt.decode(token, options={"verify_signature": False}, audience="sigstore")
        asked = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        assert asked.is_signature_valid
        now = datetime.datetime.now(datetime.UTC)
        usage = dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("encipher_only", "decipher_only", "key_cert_sign", "crl_sign"),
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(minutes=10))
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(claims["sub"])]),
                critical=True,
            )
            .add_extension(
                x509.UnrecognizedExtension(_ISSUER, claims["iss"].encode()), critical=False
            )
        )
        timestamps = self._timestamps(builder.sign(self.root_key, hashes.SHA256()))
        certificate = builder.add_extension(
            x509.UnrecognizedExtension(_TIMESTAMPS, timestamps), critical=False
        ).sign(self.root_key, hashes.SHA256())
        chain = [part.public_bytes(Encoding.PEM).decode() for part in (certificate, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _timestamps(self, precertificate):
        """List of one signed certificate timestamp (RFC 6962), as its extension holds it."""
        moment = int(time.time() * 1000)
        body = precertificate.tbs_certificate_bytes
        entry = hashlib.sha256(_der(self.root_key)).digest() + len(body).to_bytes(3, "big") + body
        said = struct.pack("!BBQH", 0, 0, moment, 1) + entry + struct.pack("!H", 0)
        signature = _signed(self.transparency_key, said)
        log = hashlib.sha256(_der(self.transparency_key)).digest()
        one = b"\0" + log + struct.pack("!QH", moment, 0) + b"\4\3"
        one += struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(one) + 2, len(one)) + one
        length = len(listed)
        assert length < 128, "its length is one byte"
        return b"\x04" + bytes([length]) + listed

    def enter(self, proposed):
        """Rekor: the entry of an envelope, with proof that it is in the log."""
        asked = proposed["spec"]["proposedContent"]
        envelope, verifier = json.loads(asked["envelope"]), asked["verifiers"][0]
        signer = x509.load_pem_x509_certificate(base64.b64decode(verifier))
        assert load_pem_public_key(
            signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

        def digest(content):
            return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}

        body = rfc8785.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": digest(asked["envelope"].encode()),
                    "payloadHash": digest(base64.b64decode(envelope["payload"])),
                    "signatures": [
                        {"signature": one["sig"], "verifier": verifier}
                        for one in envelope["signatures"]
                    ],
                },
            }
        )
        self.log = [body]  # a log of one entry needs no further hashes to prove it
        root = hashlib.sha256(b"\0" + body).digest()
        log = hashlib.sha256(_der(self.log_key)).digest()
        note = f"local.sigstore - 1\n1\n{_b64(root)}\n"
        signature = _b64(log[:4] + _signed(self.log_key, note.encode()))
        entry = {
            "body": _b64(body),
            "integratedTime": int(time.time()),
            "logID": log.hex(),
            "logIndex": 0,
        }
        entry["verification"] = {
            "signedEntryTimestamp": _b64(_signed(self.log_key, rfc8785.dumps(entry))),
            "inclusionProof": {
                "checkpoint": f"{note}\n\u2014 local.sigstore {signature}\n",
                "hashes": [],
                "logIndex": 0,
                "rootHash": root.hex(),
                "treeSize": 1,
            },
        }
        return {"0" * 80: entry}

    def trust_config(self):
        """What a client must know of the service."""

        def instance(key):
            public = {
                "rawBytes": _b64(_der(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": _SINCE},
            }
            log = {"keyId": _b64(hashlib.sha256(_der(key)).digest())}
            return {
                "baseUrl": self.url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": public,
                "logId": log,
            }

        authority = {
            "subject": {"organization": "local", "commonName": "local sigstore"},
            "uri": self.url,
            "certChain": {
                "certificates": [{"rawBytes": _b64(self.root.public_bytes(Encoding.DER))}]
            },
            "validFor": {"start": _SINCE},
        }
        service = {
            "url": self.url,
            "majorApiVersion": 1,
            "validFor": {"start": _SINCE},
            "operator": "local",
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [instance(self.log_key)],
                "certificateAuthorities": [authority],
                "ctlogs": [instance(self.transparency_key)],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [service],
                "oidcUrls": [service],
                "rekorTlogUrls": [service],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": [],
                "tsaConfig": {"selector": "ANY"},
            },
        }

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Yields the address at which it answers."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer({"value": service.token()})

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("signingCert"):
                    token = self.headers["Authorization"].removeprefix("Bearer ")
                    self._answer(service.certify(asked, token))
                else:
                    self._answer(service.enter(asked))

            def _answer(self, content):
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def write_trust(service: LocalSigstore, file: Path) -> Path:
    """Write what a client must know of a service; the file."""
    file.write_text(json.dumps(service.trust_config()), encoding="utf-8")
    return file
