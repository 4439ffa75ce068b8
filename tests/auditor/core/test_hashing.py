"""Canonical JSON against the values that RFC 8785 publishes, and against its former form."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.errors import AuditorError, UnrepresentableError
from auditor.core.hashing import (
    canonical_json,
    digest,
    former_canonical_json,
    former_digest,
    has_digest,
)

APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B.items())
def test_numbers_are_written_as_the_standard_says(bits, text):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()


def test_keys_stand_in_the_standards_order():
    """Section 3.2.3: by UTF-16 code units, so the emoji stands before the Hebrew letter."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    written = canonical_json(dict.fromkeys(names, 0))
    order = ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(written)) == order


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**53 + 1, -(2**60), {1: "a"}, {"a": {None: 1}}, "\ud800", {1, 2}],
)
def test_what_the_scheme_cannot_say_is_refused(value):
    with pytest.raises(UnrepresentableError) as raised:
        digest({"in": [value]})
    assert isinstance(raised.value, AuditorError)


def test_a_number_that_is_too_large_is_named():
    with pytest.raises(UnrepresentableError, match=str(2**60)):
        canonical_json({"seed": 2**60})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
)


@given(JSON)
def test_canonical_json_is_the_same_value(value):
    assert json.loads(canonical_json(value), parse_int=float) == value
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@pytest.mark.parametrize("number", [2.0**53, -1e16, 1e20, 1.5e300])
def test_a_large_double_is_the_same_after_it_was_read(number):
    written = canonical_json({"limit": [number]})
    assert canonical_json(json.loads(written)) == written


@given(JSON)
def test_a_digest_is_known_in_either_form(value):
    assert has_digest(value, digest(value))
    assert has_digest(value, former_digest(value))
    assert not has_digest([value], digest(value))


def test_the_former_form_is_what_3_x_files_were_named_by():
    assert former_canonical_json({"b": 5.0, "a": 5e-5}) == b'{"a":5e-05,"b":5.0}'
    assert canonical_json({"b": 5.0, "a": 5e-5}) == b'{"a":0.00005,"b":5}'
    assert has_digest({"seed": 2**60}, former_digest({"seed": 2**60}))
