"""The comparison with peers: what its command line asks for, and how ratios are judged."""

import sys

import pytest

from benchmarks.peers.__main__ import Compared, parser
from benchmarks.peers.turns import Side, SideError, median, run, total

FAST, SLOW = {"wall": 2.0, "processor": 1.0}, {"wall": 3.0, "processor": 4.0}


def test_the_peers_are_asked_for():
    with pytest.raises(SystemExit):
        parser().parse_args([])
    paths = ["--peers-python", "python", "--mimir", "m", "--open-unlearning", "o"]
    assert parser().parse_args([*paths, "--part", "gcg"]).part == ["gcg"]


def test_a_goal_is_judged_by_processor_time():
    assert Compared("x", FAST, SLOW, 4).line().endswith("| 4.00 | 1.50 | ≥ 4 | yes |")
    assert Compared("x", FAST, SLOW, 4.1).line().endswith("| **no** |")
    assert Compared("x", SLOW, FAST).line().endswith("| 0.25 | 0.67 |  |  |")


def test_what_was_done_in_the_time_counts():
    assert Compared("x", FAST, SLOW, units=(1.0, 2.0)).ratio("processor") == 2.0


def test_times_of_several_runs():
    assert median([FAST, SLOW, SLOW]) == SLOW
    assert total([FAST, SLOW]) == {"wall": 5.0, "processor": 5.0}


def test_a_side_that_cannot_be_asked_is_told(tmp_path):
    with pytest.raises(SideError, match="no_such_side"):
        run(Side("no_such_side", sys.executable), {}, tmp_path)
