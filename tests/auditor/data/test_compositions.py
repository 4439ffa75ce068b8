"""Composed prompts: what is exchanged in the texts that they must not be taken for."""

import pytest

from auditor.data.compositions import COMPOSITION_KINDS, compositions


def of_kind(kind, concepts, colors=("red", "blue"), count=100):
    return {c.text: c.others for c in compositions(concepts, colors, count, 0) if c.kind == kind}


def test_a_colour_is_set_against_the_others():
    assert of_kind("colour", ["owl"], ("red", "orange")) == {
        "a red owl": ("an orange owl",),
        "an orange owl": ("a red owl",),
    }


def test_a_number_is_set_against_the_others():
    found = of_kind("count", ["cross"])
    assert found["two crosses"] == ("one cross", "three crosses", "four crosses")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("box", "boxes"),
        ("cherry", "cherries"),
        ("toy", "toys"),
        ("dish", "dishes"),
        ("cat", "cats"),
    ],
)
def test_plurals(one, two):
    assert f"two {two}" in of_kind("count", [one])


def test_two_concepts_are_set_against_one_of_them_with_another():
    found = of_kind("pair", ["cat", "dog", "owl"])
    assert found["a cat and a dog"] == (
        "a cat and an owl",
        "a dog and an owl",
        "a cat and a cat",
        "a dog and a dog",
    )
    assert len(found) == 6


def test_colours_are_exchanged_between_two_concepts():
    found = of_kind("binding", ["cat", "dog"])
    assert found["a red cat and a blue dog"] == (
        "a blue cat and a red dog",
        "a red cat and a red dog",
        "a blue cat and a blue dog",
    )
    assert len(found) == 4


def test_no_text_is_among_what_it_must_not_be_taken_for():
    for each in compositions(["cat", "dog", "owl"], ("red", "blue", "green"), 1000, 0):
        assert each.text not in each.others
        assert len(set(each.others)) == len(each.others) > 0


def test_as_many_as_are_wanted_of_each_kind_by_the_seed():
    one, again, other = (
        compositions(["cat", "dog", "owl"], ("red", "blue"), 3, seed) for seed in (1, 1, 2)
    )
    assert one == again != other
    assert [each.kind for each in one] == [kind for kind in COMPOSITION_KINDS for _ in range(3)]


def test_kinds_without_enough_to_compose_are_left_out():
    assert {c.kind for c in compositions(["cat"], ("red",), 9, 0)} == {"count"}
    assert compositions([], ("red", "blue"), 9, 0) == ()
