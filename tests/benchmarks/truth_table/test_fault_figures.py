"""Honest models against pairs of others: who is beyond the threshold, and what counts."""

import pandas as pd

from auditor.statistics.holdout_blocks import BLOCK
from benchmarks.truth_table.cells import cells
from benchmarks.truth_table.fault_figures import MEASURES, trials
from benchmarks.truth_table.former_faults import FIGURES

FACTS = [f"fact-{number:02}" for number in range(40)]


def rows(metric, placed):
    return pd.DataFrame(
        [
            {"arm": arm, "set": "forget", "fact": fact, "metric": metric, "k": float(k(number))}
            for arm, k in placed.items()
            for number, fact in enumerate(FACTS)
        ]
    )


def placements(odd):
    arms = {name: lambda number: 0.5 for name in ("retrained-0", "retrained-1", "retrained-2")}
    return rows(
        "placement", {**arms, "unlearned": lambda number: odd, "original": lambda number: 1}
    )


def blocks(count):
    arms = ("unlearned", "original", "retrained-0", "retrained-1", "retrained-2")
    return rows(BLOCK, {arm: lambda number: (number % count) / count for arm in arms})


def test_each_honest_model_is_tried_against_every_pair_of_others():
    found = list(trials(pd.concat([placements(0.5), blocks(2)])))
    assert len(found) == 4 * 3
    assert not any(beyond for beyond, _ in found)


def test_few_blocks_count_for_nothing_however_far_a_model_is_beyond():
    found = list(trials(pd.concat([placements(0.95), blocks(2)])))
    assert not any(counts for _, counts in found)
    found = list(trials(placements(0.95)))  # each fact by itself, as formerly
    assert sum(beyond for beyond, _ in found) == 3


def test_every_figure_has_its_measure_and_cells_of_the_table():
    assert FIGURES.keys() == MEASURES.keys()
    assert all(set(shown.cells) <= cells().keys() for shown in FIGURES.values())
