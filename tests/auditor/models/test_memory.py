"""Batches that do not fit: real allocations that really fail."""

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scoring import assert_same
from tiny_models import PAIRS, PROMPTS, open_directory

from auditor.core.errors import MeasurementError
from auditor.models.batching import by_length, run_batched


@contextlib.contextmanager
def crowded(model, fits):
    """Have the model ask for four petabytes where ``fits(rows, call)`` is false."""
    seen = []

    def allocate(module, args, kwargs):
        seen.append(len(kwargs["input_ids"]))
        if not fits(seen[-1], len(seen)):
            torch.empty(1 << 50)

    handle = model.register_forward_pre_hook(allocate, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_scores_are_the_same_when_batches_have_to_be_halved(rows, directories, subjects):
    subject = open_directory(directories["gpt2"])
    with crowded(subject.network, lambda n, call: n <= rows) as seen:
        scores = subject.score(PAIRS)
    assert max(seen) == len(PAIRS)
    assert_same(scores, subjects["gpt2"].score(PAIRS), 1e-4)


def test_generated_answers_are_the_same_when_batches_have_to_be_halved(directories, subjects):
    subject = open_directory(directories["gpt2"])
    with crowded(subject.network, lambda n, call: n <= 2) as seen:
        said = subject.generate(PROMPTS, 5)
    assert max(seen) == len(PROMPTS)
    assert said == subjects["gpt2"].generate(PROMPTS, 5)


def test_a_single_item_that_does_not_fit_is_not_measured(directories):
    subject = open_directory(directories["llama"])
    with (
        crowded(subject.network, lambda n, call: False),
        pytest.raises(MeasurementError, match="out of memory with a single item of"),
    ):
        subject.score(PAIRS)
    assert len(subject.score(PAIRS)) == len(PAIRS)  # and it can be used again


def test_the_budget_grows_back_when_memory_returns(directories):
    pairs = [("Person 3", "x y z")] * 160
    subject = open_directory(directories["llama"])
    width = len(subject.tokenizer("Person 3 x y z")["input_ids"])
    subject.token_budget = 16 * width
    with crowded(subject.network, lambda n, call: call > 2) as seen:
        subject.score(pairs)
    assert seen[:3] == [16, 8, 4]  # two failures halve it twice
    assert seen[2:10] == [4] * 8
    assert seen[10:18] == [8] * 8
    assert seen[18] == 16
    assert sum(seen[2:]) == len(pairs)


def test_other_errors_are_not_taken_for_lack_of_memory():
    def broken(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_batched([3, 3], 100, broken)


def test_pythons_own_memory_error_halves_too():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise MemoryError
        return batch

    assert run_batched([1, 2, 3, 4], 100, run) == [0, 1, 2, 3]
    assert sizes[0] == 4


lengths_and_budget = st.tuples(
    st.lists(st.integers(0, 40), max_size=40), st.integers(1, 120), st.integers(1, 12)
)


@settings(max_examples=25, deadline=None)  # every failure collects garbage
@given(lengths_and_budget)
def test_every_item_is_answered_once_and_in_order(case):
    lengths, budget, fits = case
    done, ran = [], []

    def run(batch):
        if len(batch) > fits:
            raise MemoryError
        ran.extend(batch)
        return [f"answer {i}" for i in batch]

    assert run_batched(lengths, budget, run, done.append) == [
        f"answer {i}" for i in range(len(lengths))
    ]
    assert sorted(ran) == list(range(len(lengths)))
    assert sum(done) == len(lengths)


@given(lengths_and_budget)
def test_a_batch_keeps_to_its_budget_or_holds_one_item(case):
    lengths, budget, _ = case
    batches = list(by_length(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
