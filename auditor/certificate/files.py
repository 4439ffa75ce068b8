"""Certificates as files, and their JSON Schema."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from auditor.certificate import schema_3
from auditor.certificate.schema import MAJOR, SCHEMA_VERSION, Certificate
from auditor.core.arms import Arm
from auditor.core.errors import AlteredError, MalformedError
from auditor.core.files import write_whole
from auditor.core.reading import parse_json, read_regular
from auditor.core.text_safety import quoted
from auditor.core.validation import problems

_OF_SCHEMA_3 = re.compile(rf"{schema_3.MAJOR}\.\d{{1,4}}\.\d{{1,4}}", re.ASCII)
SCHEMA_NAME = f"certificate-{SCHEMA_VERSION}.schema.json"

EVIDENCE = "evidence"
"""Name of the folder in which a certificate's evidence is looked for."""


def evidence_beside(path: str | Path) -> Path | None:
    """Return the folder of a certificate's evidence, if there is one.

    It is looked for beside the certificate, then one folder up, where several audits share it.
    """
    folder = Path(path).absolute().parent
    places = (folder / EVIDENCE, folder.parent / EVIDENCE)
    return next((place for place in places if place.is_dir()), None)


def write_certificate(certificate: Certificate, path: Path) -> None:
    """Write a certificate as indented JSON."""
    text = json.dumps(certificate.document, indent=2, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def read_certificate(path: Path) -> Certificate:
    """Read a certificate and check that its content matches its id.

    Raises:
        MalformedError: the file is missing, is no certificate, or was made by another major
            version.
        AlteredError: it was edited.
    """
    try:
        content = parse_json(read_regular(path))
    except OSError as error:
        raise MalformedError(f"the certificate {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise MalformedError(f"{path} is not valid JSON ({error}).") from error
    return parse_certificate(content, str(path))


def parse_certificate(content: Any, name: str) -> Certificate:
    """A certificate given as plain data, if its content matches its id.

    Args:
        content: what JSON held.
        name: what errors call it.

    Raises:
        MalformedError: it is no certificate, or was made by another major version.
        AlteredError: it was edited.
    """
    made_by = content.get("schema_version") if isinstance(content, dict) else None
    if made_by is None:
        raise MalformedError(f"{name} is not a certificate: it has no schema_version.")
    major = schema_3.MAJOR if _OF_SCHEMA_3.fullmatch(str(made_by)) else MAJOR
    if major == MAJOR and made_by != SCHEMA_VERSION:
        raise MalformedError(
            f"{name} has schema version {quoted(made_by)}; this release reads {SCHEMA_VERSION} and "
            f"{schema_3.MAJOR}.x."
        )
    try:
        if major == schema_3.MAJOR:
            certificate = Certificate.model_validate(_converted(content, name)).as_read(content)
        else:
            certificate = Certificate.model_validate(content)
    except ValidationError as error:
        first = quoted(problems(error)[0], 200)
        raise MalformedError(
            f"{name} does not follow the certificate's schema: {first}."
        ) from error
    try:
        is_unedited = certificate.is_unedited
    except (ValueError, RecursionError) as error:
        # JSON has no infinity, but Python reads 1e999 as one; and half a surrogate pair as text
        raise MalformedError(
            f"{name} holds what has no canonical form: a number that is not finite or no double, "
            "half a character, or lists within lists without end."
        ) from error
    if not is_unedited:
        raise AlteredError(f"{name} was edited: its content does not match its certificate_id.")
    if all(part.arm != Arm.UNLEARNED for part in certificate.identity.arms):
        raise MalformedError(
            f"{name} is no certificate of an audit: it names no model `{Arm.UNLEARNED}`, so "
            "nobody can tell what was audited."
        )
    return certificate


def _converted(content: dict[str, Any], name: str) -> dict[str, Any]:
    """A certificate of schema 3 in today's form."""
    try:
        return schema_3.converted(content)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MalformedError(
            f"{name} does not follow the certificate's schema {schema_3.MAJOR} "
            f"({quoted(repr(error))})."
        ) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of certificates, made from the model."""
    schema = Certificate.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def shipped_schema() -> dict[str, Any]:
    """The JSON Schema as shipped in the package."""
    text = files("auditor.certificate").joinpath(SCHEMA_NAME).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
