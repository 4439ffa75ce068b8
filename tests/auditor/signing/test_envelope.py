"""What was signed, and nothing else, opens."""

import base64
import json

import in_toto_attestation.v1.statement_pb2 as pb
import pytest
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope

from auditor.core.errors import (
    AlteredError,
    AuditorError,
    MalformedError,
    ReplayedError,
    UntrustedError,
)
from auditor.core.hashing import canonical_json
from auditor.signing.envelope import add_signature, open_envelope, sign, unchecked
from auditor.signing.statement import PREDICATE_TYPE


def edited(content, change):
    """The envelope with another certificate in it, and the signatures as they are."""
    data = json.loads(content)
    payload = json.loads(base64.b64decode(data["payload"]))
    change(payload)
    data["payload"] = base64.b64encode(canonical_json(payload)).decode()
    return canonical_json(data)


@pytest.mark.parametrize("name", ["auditor", "owner"])
def test_a_signed_certificate_opens_with_its_key(small, keys, name):
    signer, public = keys[name]
    opened = open_envelope(sign(small(), [signer]), [public])
    assert opened.certificate == small()
    assert opened.keys == (public.keyid,)


@pytest.mark.parametrize("name", ["auditor", pytest.param("owner", marks=pytest.mark.nightly)])
def test_no_byte_can_be_changed(small, keys, name):
    signer, public = keys[name]
    content = sign(small(), [signer])
    for mask in (0x01, 0x20, 0x80):
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= mask
            with pytest.raises((MalformedError, AlteredError, UntrustedError, ReplayedError)):
                open_envelope(bytes(changed), [public])


def test_no_byte_can_be_changed_where_two_must_sign(small, keys):
    (auditor, first), (owner, second) = keys["auditor"], keys["owner"]
    content = sign(small(), [auditor, owner])
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x01
        with pytest.raises((MalformedError, AlteredError, UntrustedError, ReplayedError)):
            open_envelope(bytes(changed), [first, second], threshold=2)


def test_nothing_can_be_added_or_taken_away(small, keys):
    signer, public = keys["auditor"]
    content = sign(small(), [signer])
    for changed in (content[:-1], content[1:], b"", content + b"x", content + b"\n"):
        with pytest.raises(MalformedError):
            open_envelope(changed, [public])
    for position in range(0, len(content), 7):
        for added in (b" ", b"\n", b"A", b"=", b"\x00"):
            with pytest.raises((MalformedError, AlteredError, ReplayedError, UntrustedError)):
                open_envelope(content[:position] + added + content[position:], [public])
    data = json.loads(content)
    for extra in ({"publicKey": "x"}, {"payload_": data["payload"]}):
        with pytest.raises(MalformedError, match="nothing else"):
            open_envelope(canonical_json(data | extra), [public])
    doubled = content.replace(b'{"payload"', b'{"payload":"e30=","payload"', 1)
    with pytest.raises(MalformedError, match="twice"):
        open_envelope(doubled, [public])


@pytest.mark.parametrize(
    "say",
    [
        lambda data: json.dumps(data, indent=2).encode(),
        lambda data: json.dumps(data).encode(),
        lambda data: canonical_json(data).replace(b'"payload"', b'"\\u0070ayload"'),
        lambda data: canonical_json(data).replace(b"+json", b"\\u002bjson"),
        lambda data: (
            b'{"signatures":%b,"payloadType":"%b","payload":"%b"}'
            % (
                canonical_json(data["signatures"]),
                data["payloadType"].encode(),
                data["payload"].encode(),
            )
        ),
    ],
    ids=["indented", "spaces", "escaped name", "escaped value", "other order"],
)
def test_the_same_said_in_other_bytes_is_refused(small, keys, say):
    signer, public = keys["auditor"]
    content = sign(small(), [signer])
    said = say(json.loads(content))
    assert json.loads(said) == json.loads(content)
    with pytest.raises(MalformedError, match="canonical form"):
        open_envelope(said, [public])


@pytest.mark.parametrize("keyid", ["\x1b[2J", "\ud800", "A" * 64, "a" * 65, "", 7, None])
def test_ids_of_keys_are_digests(small, keys, keyid):
    """An error or a page may show them: none may order a terminal about."""
    data = json.loads(sign(small(), [keys["auditor"][0]]))
    data["signatures"][0]["keyid"] = keyid
    said = json.dumps(data, separators=(",", ":")).encode()
    for look in (unchecked, lambda content: open_envelope(content, [keys["auditor"][1]])):
        with pytest.raises(MalformedError, match="no sha256 in hex") as refused:
            look(said)
        assert str(refused.value).isprintable()


def test_a_key_inside_of_the_file_proves_nothing(small, keys):
    """The forger signs with a key of their own and says whose it is, every way there is."""
    stranger, _ = keys["stranger"]
    trusted = keys["auditor"][1]
    data = json.loads(sign(small(), [stranger]))
    public = stranger.public_key.to_dict()
    for forged in (
        data | {"publicKey": public},
        data | {"signatures": [data["signatures"][0] | {"publicKey": public}]},
        data | {"signatures": [data["signatures"][0] | {"cert": "x"}]},
    ):
        with pytest.raises(MalformedError, match="nothing else"):
            open_envelope(canonical_json(forged), [trusted])


def test_a_certificate_that_nobody_signed(small, keys):
    plain = canonical_json(small().model_dump(mode="json"))
    with pytest.raises(MalformedError, match="is not signed"):
        open_envelope(plain, [keys["auditor"][1]])


def test_a_bad_signature_of_a_trusted_key_is_not_outvoted(small, keys):
    (auditor, first), (owner, second) = keys["auditor"], keys["owner"]
    data = json.loads(sign(small(), [auditor, owner]))
    other = json.loads(sign(small("FAIL"), [owner]))
    data["signatures"][1] = other["signatures"][0]
    with pytest.raises(ReplayedError, match=second.keyid):
        open_envelope(canonical_json(data), [first, second])
    assert open_envelope(canonical_json(data), [first]).keys == (first.keyid,)


def test_an_expiry_put_off_is_refused(small, keys):
    """The id does not cover the timing; the signature does."""
    signer, public = keys["auditor"]

    def put_off(payload):
        payload["predicate"]["timing"]["expires"] = "2099-01-01T00:00:00Z"

    changed = edited(sign(small(), [signer]), put_off)
    assert unchecked(changed).certificate.timing.expires.startswith("2099")
    with pytest.raises(ReplayedError):
        open_envelope(changed, [public])


def test_base64_with_other_unused_bits_is_refused(small, keys):
    """`YQ==` and `YR==` decode to the same byte; only the first is canonical."""
    signer, public = keys["auditor"]
    data = json.loads(sign(small(), [signer]))
    signature = data["signatures"][0]["sig"]
    assert signature.endswith("=="), "64 bytes leave unused bits"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(signature[-3]) | 1]
    data["signatures"][0]["sig"] = f"{signature[:-3]}{last}=="
    assert base64.b64decode(data["signatures"][0]["sig"]) == base64.b64decode(signature)
    with pytest.raises(MalformedError, match="canonical"):
        open_envelope(canonical_json(data), [public])


def test_a_key_nobody_trusts_proves_nothing(small, keys):
    content = sign(small(), [keys["stranger"][0]])
    with pytest.raises(UntrustedError, match="0 of the trusted keys"):
        open_envelope(content, [keys["auditor"][1]])


def test_a_stranger_cannot_borrow_a_trusted_name(small, keys):
    data = json.loads(sign(small(), [keys["stranger"][0]]))
    data["signatures"][0]["keyid"] = keys["auditor"][1].keyid
    with pytest.raises(ReplayedError):
        open_envelope(canonical_json(data), [keys["auditor"][1]])


def test_an_edited_verdict_is_altered(small, keys):
    signer, public = keys["auditor"]

    def pass_it(payload):
        payload["predicate"]["verdict"].update(verdict="PASS", exit_code=0)

    with pytest.raises(AlteredError, match="changed after"):
        open_envelope(edited(sign(small("FAIL"), [signer]), pass_it), [public])


def test_a_signature_of_another_certificate_is_replayed(small, keys):
    signer, public = keys["auditor"]
    passed, failed = json.loads(sign(small("PASS"), [signer])), sign(small("FAIL"), [signer])
    replayed = json.loads(failed) | {"signatures": passed["signatures"]}
    with pytest.raises(ReplayedError, match="made for something else"):
        open_envelope(canonical_json(replayed), [public])


def test_a_forgery_with_an_id_of_its_own_is_replayed(small, keys):
    """The certificate was replaced by a whole one that this key never signed."""
    signer, public = keys["auditor"]
    data = json.loads(sign(small("FAIL"), [signer]))
    data["payload"] = json.loads(sign(small("PASS"), [keys["stranger"][0]]))["payload"]
    with pytest.raises(ReplayedError):
        open_envelope(canonical_json(data), [public])


def test_other_models_than_the_certificate_names(small, keys):
    signer, _ = keys["auditor"]

    def swap(payload):
        payload["subject"][0]["digest"]["sha256"] = "0" * 64

    with pytest.raises(MalformedError, match="other models"):
        unchecked(edited(sign(small(), [signer]), swap))


def test_another_type_of_payload_is_refused(small, keys):
    signer, public = keys["auditor"]
    data = json.loads(sign(small(), [signer])) | {"payloadType": "text/plain"}
    with pytest.raises(MalformedError, match="text/plain"):
        open_envelope(canonical_json(data), [public])


def test_two_must_sign(small, keys):
    (auditor, first), (owner, second) = keys["auditor"], keys["owner"]
    alone = sign(small(), [auditor])
    with pytest.raises(UntrustedError, match="1 of the trusted keys"):
        open_envelope(alone, [first, second], threshold=2)
    both = add_signature(alone, owner)
    assert set(open_envelope(both, [second, first], threshold=2).keys) == {
        first.keyid,
        second.keyid,
    }
    with pytest.raises(AuditorError, match="has signed"):
        add_signature(both, owner)


def test_one_key_never_counts_twice(small, keys):
    signer, public = keys["auditor"]
    content = sign(small(), [signer])
    with pytest.raises(AuditorError, match="the same key counts once"):
        open_envelope(content, [public, public], threshold=2)
    data = json.loads(content)
    data["signatures"] *= 2
    with pytest.raises(MalformedError, match="one key twice"):
        open_envelope(canonical_json(data), [public, keys["owner"][1]], threshold=2)
    with pytest.raises(AuditorError):
        open_envelope(content, [public], threshold=0)
    with pytest.raises(AuditorError):
        open_envelope(content, [], threshold=1)


def test_other_libraries_read_it(small, keys):
    signer, public = keys["owner"]
    data = json.loads(sign(small(), [signer]))
    envelope = Envelope.from_dict(data)
    assert envelope.verify([public], 1).keys() == {public.keyid}
    parsed = json_format.Parse(envelope.payload, pb.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert parsed.predicate_type == PREDICATE_TYPE
    assert {s.name for s in parsed.subject} >= {"unlearned", "original", "retrained-0"}
