"""In-toto Statement of a certificate, as it is signed.

The models are its subjects and the certificate is its predicate.
"""

from typing import Any

from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

from auditor.certificate import schema_3
from auditor.certificate.files import parse_certificate
from auditor.certificate.schema import MAJOR, Certificate
from auditor.core.errors import MalformedError
from auditor.core.hashing import canonical_json, former_canonical_json
from auditor.core.reading import parse_json
from auditor.core.text_safety import quoted

PREDICATE_TYPES = {
    major: f"https://unlearning-auditor.invalid/certificate/v{major}"
    for major in (schema_3.MAJOR, MAJOR)
}
"""Predicate type by major version of the certificate's schema. It is no address: nobody can own a
domain that ends in ``.invalid`` (RFC 2606)."""
PREDICATE_TYPE = PREDICATE_TYPES[MAJOR]


def statement(certificate: Certificate) -> bytes:
    """The Statement v1 of a certificate, as the bytes that are signed."""
    content = _content(certificate)
    Statement(
        [ResourceDescriptor(s["name"], digest=s["digest"]).pb for s in content["subject"]],
        content["predicateType"],
        content["predicate"],
    ).validate()
    if content["predicateType"] != PREDICATE_TYPE:  # its id is of the canonical form of then
        return former_canonical_json(content)
    return canonical_json(content)


def certificate_of(payload: bytes, name: str) -> Certificate:
    """The certificate of a statement.

    Args:
        payload: the statement.
        name: what errors call it.

    Raises:
        MalformedError: it is no statement of a certificate, its subjects are not the models that
            the certificate names, or it says more than that, or says it in other bytes.
        AlteredError: the certificate's content does not have the id that it names.
    """
    try:
        content = parse_json(payload)
    except ValueError as error:
        raise MalformedError(f"what {name} signs is not valid JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("_type") != STATEMENT_TYPE_URI:
        raise MalformedError(f"what {name} signs is not an in-toto Statement v1.")
    if content.get("predicateType") not in PREDICATE_TYPES.values():
        raise MalformedError(
            f"{name} signs a statement of another type ({quoted(content.get('predicateType'))}); "
            f"this release reads {' and '.join(PREDICATE_TYPES.values())}."
        )
    certificate = parse_certificate(content.get("predicate"), name)
    if content.get("subject") != _subjects(certificate):
        raise MalformedError(
            f"{name} signs a certificate for other models than the certificate names."
        )
    content = _content(certificate)
    if payload != former_canonical_json(content) and payload != canonical_json(content):
        raise MalformedError(
            f"what {name} signs is not the canonical statement of its certificate: a field is "
            "repeated or unknown, or it was formatted anew."
        )
    return certificate


def _content(certificate: Certificate) -> dict[str, Any]:
    document = certificate.document
    return {
        "_type": STATEMENT_TYPE_URI,
        "subject": _subjects(certificate),
        "predicateType": PREDICATE_TYPES[str(document["schema_version"]).partition(".")[0]],
        "predicate": document,
    }


def _subjects(certificate: Certificate) -> list[dict[str, Any]]:
    return [
        {"name": part.arm, "digest": {"sha256": part.digest}} for part in certificate.identity.arms
    ]
