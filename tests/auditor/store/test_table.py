"""The flat table: means over seeds, and nothing filled in."""

import numpy as np
import pyarrow as pa
import pytest

from auditor.core.attack_id import AttackId
from auditor.core.records import Row
from auditor.store.columns import DECIDING, tabulate
from auditor.store.table import Evidence, EvidenceTable

P = "answer-probability"
NF4 = AttackId("quantization/bnb", "nf4")


def entry(
    arm, values, seed=0, variant="nf4", set_name="forget", metric=P, answer=None, picture=None
):
    rows = tabulate(
        Row(set_name, f, f"s-{f}", metric, k, answer, picture) for f, k in values.items()
    )
    return Evidence(AttackId("quantization/bnb", variant), arm, seed, rows)


def matrix(table, arms=("unlearned", "original"), facts=("a", "b"), **changes):
    where = {"attack": NF4, "set_name": "forget", "metric": P} | changes
    return table.matrix(where["attack"], arms, where["set_name"], where["metric"], facts)


def test_the_question_is_that_of_the_answer_that_is_shown():
    rows = [
        Row("forget", "a", "s", P, 0.9, None, prompt="scored so"),
        Row("forget", "a", "s", "rouge", 0.5, "said", prompt="asked so"),
        Row("forget", "b", "s", P, 0.9, None, prompt="scored so"),
        Row("forget", "b", "s", "rouge", 0.5, "said"),
        Row("forget", "c", "s", P, 0.9, None, prompt="scored so"),
        Row("retain", "d", "s", P, 0.9, None, prompt="scored so"),
    ]
    table = EvidenceTable([Evidence(NF4, "unlearned", 0, tabulate(rows))])
    assert table.prompts(NF4, "unlearned", "forget") == {"a": "asked so", "c": "scored so"}
    without = tabulate(rows).drop_columns(["prompt"])
    assert (
        EvidenceTable([Evidence(NF4, "unlearned", 0, without)]).prompts(NF4, "unlearned", "forget")
        == {}
    ), "earlier releases kept none"


def test_knowledge_is_the_mean_over_seeds():
    table = EvidenceTable(
        [
            entry("unlearned", {"a": 0.25, "b": 1.0}, seed=0),
            entry("unlearned", {"a": 0.75, "b": 0.0}, seed=1),
            entry("original", {"b": 0.5, "a": 1.0}),
        ]
    )
    np.testing.assert_array_equal(matrix(table), [[0.5, 0.5], [1.0, 0.5]])
    np.testing.assert_array_equal(matrix(table, facts=("b",)), [[0.5], [0.5]])
    np.testing.assert_array_equal(matrix(table, arms=("original",)), [[1.0, 0.5]])


def test_a_missing_fact_is_never_filled_in():
    table = EvidenceTable([entry("unlearned", {"a": 0.5, "b": 0.5}), entry("original", {"a": 1.0})])
    assert matrix(table) is None
    assert matrix(table, facts=("a",)) is not None
    assert matrix(table, arms=("unlearned", "retrained-0")) is None
    fp4 = AttackId("quantization/bnb", "fp4")
    for other in ({"attack": fp4}, {"set_name": "retain"}, {"metric": "x"}):
        assert matrix(table, arms=("unlearned",), **other) is None


@pytest.mark.parametrize("other", [{"metric": "truth-ratio"}, {"set_name": "retain"}])
def test_metrics_and_sets_do_not_mix(other):
    mixed = [entry("unlearned", {"a": 0.25}).rows, entry("unlearned", {"a": 0.75}, **other).rows]
    rows = pa.concat_tables(mixed)
    table = EvidenceTable([Evidence(NF4, "unlearned", 0, rows)])
    np.testing.assert_array_equal(matrix(table, arms=("unlearned",), facts=("a",)), [[0.25]])


def test_answers_are_those_of_the_first_seed():
    table = EvidenceTable(
        [
            entry("unlearned", {"a": 1.0}, seed=0, answer="first"),
            entry("unlearned", {"a": 1.0}, seed=1, answer="second"),
            entry("unlearned", {"b": 1.0}, seed=0),
        ]
    )
    assert table.answers(NF4, "unlearned", "forget") == {"a": "first"}
    assert table.answers(NF4, "unlearned", "retain") == {}


def test_a_fact_that_one_seed_lacks_is_absent():
    table = EvidenceTable(
        [entry("unlearned", {"a": 0.2, "b": 0.4}), entry("unlearned", {"a": 0.6}, seed=1)]
    )
    np.testing.assert_allclose(matrix(table, arms=("unlearned",), facts=("a",)), [[0.4]])
    assert matrix(table, arms=("unlearned",), facts=("a", "b")) is None
    table = EvidenceTable([entry("unlearned", {"a": 0.2}), entry("unlearned", {}, seed=1)])
    assert matrix(table, arms=("unlearned",), facts=("a",)) is None


def test_pictures_are_those_of_the_first_seed():
    drawn, other = b"\x89PNG\x00first", b"\x89PNG\xffsecond"
    table = EvidenceTable(
        [
            entry("unlearned", {"a": 1.0}, seed=0, picture=drawn),
            entry("unlearned", {"a": 1.0}, seed=1, picture=other),
            entry("unlearned", {"b": 1.0}, seed=0),
        ]
    )
    assert table.pictures(NF4, "unlearned", "forget") == {"a": drawn}
    assert table.pictures(NF4, "unlearned", "retain") == {}
    assert table.pictures(NF4, "original", "forget") == {}


@pytest.mark.parametrize("columns", [DECIDING, (*DECIDING, "entity", "answer")])
def test_evidence_without_the_column_of_pictures_is_read(columns):
    whole = entry("unlearned", {"a": 0.5}, picture=b"\x89PNG")
    rows = whole.rows.select(list(columns))
    table = EvidenceTable([Evidence(NF4, "unlearned", 0, rows)])
    np.testing.assert_array_equal(matrix(table, arms=("unlearned",), facts=("a",)), [[0.5]])
    assert table.pictures(NF4, "unlearned", "forget") == {}


def test_a_verdict_reads_no_pictures():
    assert "picture" not in DECIDING
