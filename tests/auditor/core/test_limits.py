"""Work without end, stopped in a child; work that ends, let through."""

import time

import pytest

from auditor.core.limits import exceeded


def test_what_ends_is_let_through():
    assert exceeded(lambda: sum(range(1000))) is None
    assert exceeded(lambda: [0] * 10**6) is None


def test_what_fails_is_left_to_whoever_does_it():
    for fault in (ZeroDivisionError, KeyboardInterrupt, SystemExit):
        assert exceeded(lambda fault=fault: _raised(fault)) is None


def _raised(fault):
    raise fault


def test_what_takes_memory_without_end_is_stopped():
    assert exceeded(lambda: [0] * 10**10) == "memory"


def test_what_takes_time_without_end_is_stopped():
    assert exceeded(_endless, seconds=1) == "time"


def _endless():
    while True:
        pass


@pytest.mark.parametrize("times", [20])
def test_a_child_is_cheap(times):
    began = time.process_time()
    for _ in range(times):
        exceeded(lambda: None)
    assert (time.process_time() - began) / times < 0.5
