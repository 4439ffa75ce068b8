"""Ids of files that were written apart."""

from auditor.core.facts import Fact, FactSets
from auditor.core.messages import message
from auditor.data.checks import check_contradictions
from auditor.data.ids import named_apart


def facts(prompt, *ids, entity=None):
    return tuple(
        Fact(id=i, entity=entity or i, prompt=f"{prompt} {place}", answer="a")
        for place, i in enumerate(ids)
    )


def test_files_that_count_from_0_are_named_apart():
    sets = {
        "forget": facts("f", "0", "1"),
        "retain": facts("r", "1", "2", entity="Ada"),
        "holdout": facts("h", "0", "7"),
    }
    found, notes = named_apart(sets)
    assert [fact.id for fact in found["forget"]] == ["0", "1"]
    assert [(fact.id, fact.entity) for fact in found["retain"]] == [
        ("retain-1", "Ada"),
        ("retain-2", "Ada"),
    ]
    assert [fact.entity for fact in found["holdout"]] == ["holdout-0", "holdout-7"]
    assert notes == [message("ids_named_apart", of=name, ids=1) for name in ("retain", "holdout")]
    check_contradictions(FactSets(**found))


def test_sets_with_ids_of_their_own_keep_them():
    sets = {"forget": facts("f", "0"), "retain": facts("r", "1")}
    assert named_apart(sets) == (sets, [])
