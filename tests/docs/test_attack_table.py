"""The README's table of attacks has those that are registered, and says for which models."""

import re

import pytest
from console_blocks import ROOT

from auditor.attack import ATTACKS

OTHERWISE = {
    "half-types": "bfloat16, float16",
    "gptq": "GPTQ",
    "awq": "AWQ",
    "gguf": "GGUF",
    "rtn": "round to nearest",
}
"""What the table calls attacks whose names say less."""


def table():
    """Family to what stands before the semicolon of its row, and behind it."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    halves = {family: listed.partition(";") for family, listed in rows}
    return {family: (first, second) for family, (first, _, second) in halves.items()}


def stands(name, text):
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def test_the_table_has_the_families():
    assert table().keys() == {name.partition("/")[0] for name in ATTACKS.names()}


@pytest.mark.parametrize("name", ATTACKS.names())
def test_an_attack_stands_behind_the_semicolon_if_it_is_for_pictures_alone(name):
    family, _, own = name.partition("/")
    before, behind = table()[family]
    called = OTHERWISE.get(own, own)
    drawn = {*ATTACKS.get(name).kinds} == {"text-to-image"}
    assert stands(called, behind if drawn else before)


def test_the_table_has_no_attack_that_is_not_there():
    known = {name.partition("/")[2] for name in ATTACKS.names()}
    known |= {part for called in OTHERWISE.values() for part in called.split(", ")}
    for first, second in table().values():
        listed = re.sub(r"\(.*?\)", "", f"{first},{second}").split(",")
        for name in filter(None, map(str.strip, listed)):
            assert re.sub(r" \d$", "", name) in known, name
