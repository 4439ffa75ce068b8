"""The mapping page names fields that exist, and claims nothing."""

import re
from pathlib import Path

import pytest

from auditor.certificate.files import json_schema
from auditor.certificate.schema import Certificate

PAGE = (Path(__file__).parents[2] / "docs" / "compliance.md").read_text(encoding="utf-8")
TOP = set(Certificate.model_fields)


def cells():
    """The second column of every table: where the certificate has evidence."""
    for line in PAGE.splitlines():
        columns = line.split(" | ")
        if line.startswith("| ") and len(columns) == 3 and not columns[0].startswith("| ---"):
            yield columns[1]


def paths():
    named = set(re.findall(r"`([^`]+)`", " ".join(cells())))
    beside = {
        p for p in re.findall(r"`([a-z_.\[\]]+)`", PAGE) if p.split(".")[0].strip("[]") in TOP
    }
    return sorted((named | beside) - {"auditor compare"})


def resolves(path):
    schema = json_schema()

    def forms(node):
        """A node of the schema, and each of its alternatives, without references."""
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        yield node
        for alternative in node.get("anyOf", ()):
            yield from forms(alternative)

    nodes = [schema]
    for part in path.split("."):
        name, each = part.removesuffix("[]"), part.endswith("[]")
        nodes = [form for node in nodes for form in forms(node)]
        nodes = [node["properties"][name] for node in nodes if name in node.get("properties", {})]
        if each:
            nodes = [form for node in nodes for form in forms(node)]
            items = [node["items"] for node in nodes if isinstance(node.get("items"), dict)]
            values = [node.get("additionalProperties") for node in nodes]
            nodes = items + [value for value in values if isinstance(value, dict)]
    return bool(nodes)


@pytest.mark.parametrize("path", paths())
def test_every_field_that_is_named_exists(path):
    assert resolves(path), f"docs/compliance.md names {path}, which no certificate has"


def test_a_field_that_does_not_exist_is_noticed():
    assert not resolves("verdict.compliant")
    assert not resolves("matrix.readings")
    assert not resolves("scope.sets[].names")


def test_every_row_names_a_field():
    rows = [cell for cell in cells() if not cell.startswith("Where")]
    assert len(rows) > 20
    for cell in rows:
        assert set(re.findall(r"`([^`]+)`", cell)) & set(paths()), cell


def test_the_page_claims_nothing():
    assert "no legal\nadvice" in PAGE
    for sentence in re.split(r"(?<=[.:|])\s", PAGE):
        if re.search(r"\bcompl(iant|ies)\b", sentence, re.IGNORECASE):
            assert re.search(r"\b(not|no)\b", sentence, re.IGNORECASE), sentence
