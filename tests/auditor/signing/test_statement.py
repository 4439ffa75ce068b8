"""A statement says one thing in one way; whatever else was signed is refused without a crash."""

import json

import pytest
from securesystemslib.dsse import Envelope

from auditor.core.errors import AuditorError, MalformedError
from auditor.core.hashing import canonical_json
from auditor.signing.envelope import PAYLOAD_TYPE, open_envelope
from auditor.signing.reading import read
from auditor.signing.statement import certificate_of, statement


@pytest.fixture
def opened(keys):
    """Opens a payload that the trusted key has signed."""
    signer, public = keys["auditor"]

    def look(payload):
        envelope = Envelope(payload, PAYLOAD_TYPE, {})
        envelope.sign(signer)
        return open_envelope(canonical_json(envelope.to_dict()), [public])

    return look


def test_a_statement_gives_its_certificate_back(small):
    assert certificate_of(statement(small("FAIL")), "x") == small("FAIL")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "canonical statement"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "not an in-toto Statement v1"),
        ({"predicateType": "https://in-toto.io/attestation/link/v0.3"}, "another type"),
        ({"predicateType": "\x1b[2J" + "x" * 10_000}, "another type"),
        ({"predicate": None}, "not a certificate"),
        ({"subject": []}, "other models"),
        ({"subject": None}, "other models"),
    ],
)
def test_another_statement_of_the_same_signer(small, opened, change, said):
    content = json.loads(statement(small()))
    with pytest.raises(MalformedError, match=said) as refused:
        opened(canonical_json(content | change))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_a_model_more_or_less(small, opened):
    content = json.loads(statement(small()))
    for subjects in (content["subject"][:-1], content["subject"] * 2, content["subject"][::-1]):
        with pytest.raises(MalformedError, match="other models"):
            opened(canonical_json(content | {"subject": subjects}))


def test_no_field_is_said_twice_or_formatted_anew(small, opened):
    payload = statement(small())
    twice = payload.replace(b"{", b'{"predicateType":"x",', 1)
    assert json.loads(twice) == json.loads(payload), "the last one counts in Python"
    for changed in (twice, payload + b" ", json.dumps(json.loads(payload), indent=1).encode()):
        with pytest.raises(MalformedError, match=r"canonical statement|twice"):
            opened(changed)


@pytest.mark.parametrize(
    "value",
    ["NaN", "1e999", '"\\ud800"', "[" * 900 + "]" * 900, "[" * 9000 + "]" * 9000, "9" * 5000],
    ids=["nan", "infinity", "half a character", "deep", "deeper", "long number"],
)
def test_what_json_should_not_say(small, opened, tmp_path, value):
    """None of it crashes, signed or not."""
    content = small().model_dump(mode="json")
    content["reproduction"]["plan"]["x"] = "@"
    plain = json.dumps(content).replace('"@"', value)
    path = tmp_path / "certificate.json"
    path.write_text(plain, encoding="utf-8")
    with pytest.raises(AuditorError) as refused:
        read(path)
    assert refused.value.exit_code in (10, 11)
    head = json.dumps(json.loads(statement(small())) | {"predicate": "@"})
    with pytest.raises(AuditorError) as refused:
        opened(head.replace('"@"', plain).encode())
    assert refused.value.exit_code in (10, 11)


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xfe{", b"[", b"[" * 100_000, b"7", b"null", b'{"_type":[]}']
)
def test_what_is_no_statement(opened, payload):
    with pytest.raises(MalformedError):
        opened(payload)


def test_errors_quote_no_orders_to_a_terminal(small, tmp_path):
    content = small().model_dump(mode="json")
    path = tmp_path / "certificate.json"
    for change in ({"schema_version": "\x1b[2J"}, {"\x1b]0;owned\x07\u202e": 1}):
        path.write_text(json.dumps(content | change), encoding="utf-8")
        with pytest.raises(MalformedError) as refused:
            read(path)
        assert str(refused.value).isprintable()
