"""Certificates of schema 3 are read in today's form, and keep the content that they had."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from golden import FIRST, unpack

from auditor.certificate import files
from auditor.certificate.files import parse_certificate, read_certificate, write_certificate
from auditor.certificate.redaction import redact
from auditor.certificate.schema import SCHEMA_VERSION, Certificate
from auditor.core.errors import AlteredError, MalformedError
from auditor.core.hashing import former_digest
from auditor.core.messages import TEXT, written
from auditor.core.roles import Role

AUDITS = {
    "small-people": ("certificate", "redacted"),
    "small-shapes": ("certificate",),
    "demo-people": ("unlearned", "retrained"),
    "demo-shapes": ("unlearned", "retrained"),
}


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """Name of a golden certificate to its file."""
    root = tmp_path_factory.mktemp("golden")
    found = {"first": FIRST}
    for name, certificates in AUDITS.items():
        folder = unpack(name, root / name)
        found |= {f"{name} {each}": folder / f"{each}.json" for each in certificates}
    return found


NAMES = ["first", *(f"{name} {each}" for name, several in AUDITS.items() for each in several)]


def raw(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_document_stays_as_it_was_written(name, golden, tmp_path):
    content, certificate = raw(golden[name]), read_certificate(golden[name])
    assert certificate.document == content
    assert certificate.certificate_id == content["certificate_id"]
    assert certificate.schema_version == SCHEMA_VERSION
    assert certificate.written_version == certificate.converted_from == content["schema_version"]
    write_certificate(certificate, tmp_path / "again.json")
    assert raw(tmp_path / "again.json") == content
    shipped = Path(files.__file__).with_name(f"certificate-{content['schema_version']}.schema.json")
    jsonschema.Draft202012Validator(raw(shipped)).validate(content)
    shown = certificate.model_dump(mode="json")
    jsonschema.Draft202012Validator(files.shipped_schema()).validate(shown)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_taken_over_and_sentences_are_texts(name, golden):
    content, certificate = raw(golden[name]), read_certificate(golden[name])
    assert certificate.verdict.verdict == content["verdict"]["verdict"]
    assert list(certificate.verdict.flags) == content["verdict"]["flags"]
    assert certificate.verdict.claim == written(content["verdict"]["claim"])
    assert list(certificate.verdict.reasons) == list(map(written, content["verdict"]["reasons"]))
    assert list(certificate.warnings) == list(map(written, content["warnings"]))
    for row, was in zip(certificate.matrix, content["matrix"], strict=True):
        assert (row.role is Role.MANDATORY) == was["mandatory"]
        assert (row.role is Role.WAIVED) == was["waived"]
        assert (row.role is Role.REPORTED) == was["reported"]
        assert [gate.met for gate in row.gates] == [gate["met"] for gate in was["gates"]]
        assert (row.figures is None) == (was["figures"] is None)
        if row.figures:
            assert row.figures.rho_upper == was["figures"]["rho_upper"]
            assert row.figures.leak.upper == was["figures"]["leak_upper"]
    assert [fact.entity for fact in certificate.worst_facts] == [
        fact["subject"] for fact in content["worst_facts"]
    ]


def test_names_that_changed_are_todays(golden):
    people = read_certificate(golden["small-people certificate"])
    labels = [row.label for row in people.matrix]
    assert "relearning/held-out-facts by entity" in labels
    assert "steering/refusal-direction depth 0.5" in labels
    assert "probing/linear-probe depth 0.5" in labels
    assert people.policy.mandatory[2] == "relearning/held-out-facts by entity"
    assert [part.required for part in people.positive_controls] == [
        "visible",
        "visible",
        "obfuscated",
    ]
    assert [part.found for part in people.positive_controls] == [True, True, False]
    codes = {check.code for check in people.self_checks}
    assert codes == {TEXT}
    assert len(people.self_checks) == 2
    shapes = read_certificate(golden["small-shapes certificate"])
    assert shapes.identity.kind == "text-to-image"
    assert shapes.identity.arms[0].options["sampling"]["steps"] == 10
    assert set(shapes.identity.auxiliary_inputs) == {"classifier", "pictures"}
    assert shapes.matrix[1].label == "quantization/unet nf4"
    assert shapes.matrix[1].explanation.measure == "code_flip_share"
    assert shapes.image_examples.facts[0].views[0].pictures


def identified(content):
    """The content with the id that it would have had."""
    content = copy.deepcopy(content)
    kept = {n: v for n, v in content.items() if n not in ("certificate_id", "timing")}
    content["certificate_id"] = former_digest(kept)
    return content


def test_an_edited_one_is_refused(golden):
    content = raw(golden["demo-people unlearned"])
    assert parse_certificate(identified(content), "it").document == content
    content["matrix"][1]["figures"]["rho"] = 0.0
    with pytest.raises(AlteredError, match="was edited"):
        parse_certificate(content, "it")
    assert parse_certificate(identified(content), "it").matrix[1].figures.rho == 0.0


def places(value, at=()):
    """Places of all tables and lists in plain data."""
    if isinstance(value, dict):
        yield at
        for name, item in value.items():
            yield from places(item, (*at, name))
    elif isinstance(value, list):
        for index, item in enumerate(value[:2]):
            yield from places(item, (*at, index))


FREE = ("parameters", "notes", "plan", "files", "forget", "retain", "holdout", "k", "said", "jobs")
"""Tables whose entries have names of their own."""
ALSO_FREE = ("layers", "budgets", "versions", "hardware", "attack_seconds", "instruments", "sets")


def test_an_unknown_entry_is_refused_wherever_it_is(golden):
    """Nothing that is signed or named by an id is passed over."""
    content = raw(golden["small-people certificate"])
    for place in places(content):
        names = [part for part in place if isinstance(part, str)]
        if any(name in (*FREE, *ALSO_FREE, "as_is", "pictures", "threats") for name in names):
            continue
        edited = copy.deepcopy(content)
        inner = edited
        for part in place:
            inner = inner[part]
        inner["unknown"] = "x"
        with pytest.raises(MalformedError):
            parse_certificate(identified(edited), "it")


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.pop("matrix"),
        lambda c: c.update(matrix=None),
        lambda c: c.update(verdict=[]),
        lambda c: c["verdict"].update(claim=3),
        lambda c: c["verdict"].update(reasons=[None]),
        lambda c: c["matrix"][0].update(mandatory=True, waived=True),
        lambda c: c["matrix"][0]["gates"][0].update(name="other"),
        lambda c: c["positive_controls"][0].update(must_find="other"),
        lambda c: c["controls"].clear(),
        lambda c: c["matrix"][0].update(attack=["x"]),
        lambda c: c["reproduction"].update(plan=[]),
        lambda c: c.update(timing=None),
    ],
)
def test_what_is_no_certificate_of_schema_3_is_refused(golden, edit):
    content = raw(golden["small-people certificate"])
    edit(content)
    with pytest.raises(MalformedError):
        parse_certificate(identified(content), "it")


def test_a_redacted_one_is_of_todays_schema(golden):
    """Its sentences keep no text of a fact, and say that they were converted."""
    before = read_certificate(golden["small-people certificate"])
    after = redact(before, bytes(range(32)))
    assert after.document["schema_version"] == SCHEMA_VERSION
    assert after.converted_from == "3.1.0"
    assert after.certificate_id == after.content_digest
    shown = after.model_dump_json()
    for fact in before.worst_facts:
        assert fact.prompt not in shown
    assert parse_certificate(json.loads(shown), "it") == after
    assert isinstance(after, Certificate)
