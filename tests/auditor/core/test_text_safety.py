"""What others wrote does nothing to a terminal, a page or an encoder."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError, field_validator

from auditor.core.text_safety import (
    block,
    cut_note,
    encodable,
    escape_unprintable,
    excerpt,
    inline,
    path_text,
    quoted,
)
from auditor.core.time import utc_text
from auditor.core.validation import problems


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_unprintable_is_left(text):
    assert escape_unprintable(text).isprintable()
    assert quoted(text).isprintable()
    encodable(text).encode()


def test_what_is_cut_says_so():
    assert cut_note("abc", 3) == ""
    assert inline("a" * 1500, 10) == "a" * 10 + "… [cut: 10 of 1,500 characters]"
    assert quoted("a" * 100, 5) == "aaaaa… (cut)"
    assert excerpt("<b>", 2).text == "&lt;b"
    assert block("<a>\n\x1b", 10).text == "&lt;a&gt;\n␛"


def test_a_value_is_quoted_without_its_own_quotation_marks():
    assert quoted("\x1b[31m") == "\\x1b[31m"
    assert quoted(["é"]) == "['\\xe9']"


def test_a_path_may_hold_bytes_that_are_no_text():
    assert path_text(Path(os.fsdecode(b"a/\xff.json"))) == "a/\\xff.json"
    assert encodable(os.fsdecode(b"\xff")) == "\\udcff"


def test_moments_are_written_in_utc_to_the_second():
    moment = datetime(2025, 1, 31, 23, 59, 59, 999, UTC)
    assert utc_text(moment) == "2025-01-31T23:59:59Z"
    assert utc_text(moment.astimezone(timezone(timedelta(hours=5)))) == utc_text(moment)
    assert datetime.fromisoformat(utc_text()) <= datetime.now(UTC)


class _Model(BaseModel):
    inner: dict[str, int]

    @field_validator("inner")
    @classmethod
    def _filled(cls, value: dict[str, int]) -> dict[str, int]:
        if not value:
            raise ValueError("is empty")
        return value


def test_each_problem_of_data_has_its_place():
    with pytest.raises(ValidationError) as raised:
        _Model.model_validate({"inner": {"a": "x", "b": "y"}})
    places = [line.partition(":")[0] for line in problems(raised.value)]
    assert places == ["inner.a", "inner.b"]
    with pytest.raises(ValidationError) as raised:
        _Model.model_validate({"inner": {}})
    assert problems(raised.value) == ["inner: is empty"]
    with pytest.raises(ValidationError) as raised:
        _Model.model_validate([])
    assert problems(raised.value, "plan")[0].startswith("plan: ")
