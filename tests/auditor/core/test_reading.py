"""The rule by which what others wrote is read."""

import math
import os

import pytest

from auditor.core.errors import AuditorError
from auditor.core.reading import (
    NESTING,
    UnfitFileError,
    open_regular,
    parse_json,
    read_regular,
)
from auditor.core.reading_yaml import parse_yaml
from auditor.models.checkpoint_files import read_json


def test_a_file_is_read_through_links_and_bounded(tmp_path):
    path, link = tmp_path / "f", tmp_path / "link"
    path.write_bytes(b"12345")
    link.symlink_to(path)
    assert read_regular(link) == read_regular(path, 5) == b"12345"
    with pytest.raises(UnfitFileError, match="5 bytes, and no more than 4"):
        read_regular(path, 4)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_never_opened(make, tmp_path):
    make(tmp_path / "x")
    with pytest.raises(UnfitFileError) as caught:
        open_regular(tmp_path / "x")
    assert caught.value.strerror == "it is no regular file"
    assert caught.value.filename == str(tmp_path / "x")


def test_levels_are_counted():
    assert parse_json("[" * NESTING + "]" * NESTING)
    assert parse_yaml("[" * (NESTING - 1) + "x" + "]" * (NESTING - 1))
    for parse in (parse_json, parse_yaml):
        with pytest.raises(ValueError, match="nests"):
            parse("[" * (NESTING + 1) + "]" * (NESTING + 1))


def test_a_byte_order_mark_says_nothing():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_aliases_and_merges_that_end_are_read():
    text = "base: &b {dtype: float32, seed: 1}\nmodels:\n  - <<: *b\n    seed: 2\n  - *b\n"
    read = parse_yaml(text)
    assert read["models"] == [{"dtype": "float32", "seed": 2}, {"dtype": "float32", "seed": 1}]


def test_large_numbers_that_are_doubles_are_read():
    assert parse_json("[9007199254740993, 1e308, -0.0]") == [9007199254740993, 1e308, -0.0]


def test_configurations_of_published_models_hold_what_is_no_json(tmp_path):
    text = '{"time_step_limit": [0.0, Infinity], "eps": NaN}'
    with pytest.raises(ValueError, match="Infinity"):
        parse_json(text)
    file = tmp_path / "config.json"
    file.write_text(text)
    assert read_json(file)["time_step_limit"] == [0.0, math.inf]
    file.write_text('{"a": 1e999}')
    with pytest.raises(AuditorError, match="too large"):
        read_json(file)
