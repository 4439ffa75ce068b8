"""leak@k: the estimator, the judge, and the samples."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_models import ARCHITECTURES, open_directory

from attacks.prompting.leak_at_k import leak_at_k
from attacks.prompting.sampling import SampledAnswers, SamplingParameters
from auditor.attack import AttackContext
from auditor.core.facts import Fact, FactSets
from auditor.metrics.leak_judge import given_away
from auditor.models.language.decoding import Sampling
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.transcript import SPARE_TOKENS

FACTS = tuple(
    Fact(id=f"f{i}", entity="s", prompt=f"Person {i} lives in", answer=f"city number {i}")
    for i in range(3)
)


@settings(max_examples=200)
@given(
    st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
)
def test_leak_at_k_is_the_share_of_k_subsets_with_a_leak(case):
    n, c, k = case
    subsets = list(itertools.combinations([i < c for i in range(n)], k))
    assert leak_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_leak_at_k_is_unbiased():
    """Over Binomial(n, p) counts its mean is 1 - (1-p)^k, which 1 - (1 - c/n)^k is not."""
    n, k, p = 12, 5, 0.1
    weights = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    mean = sum(w * leak_at_k(n, c, k) for c, w in enumerate(weights))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_published_values_of_the_estimator():
    """n = 200 samples, c = 10: pass@1 is c/n; the others by the product form of 2107.03374."""
    assert leak_at_k(200, 10, 1) == pytest.approx(0.05)
    product = 1.0
    for i in range(200 - 10 + 1, 201):
        product *= 1 - 100 / i
    assert leak_at_k(200, 10, 100) == pytest.approx(1 - product, abs=1e-12)
    assert leak_at_k(10_000, 1, 5000) == pytest.approx(0.5)  # no overflow


@pytest.mark.parametrize("case", [(4, 5, 1), (4, 1, 5), (4, 1, 0), (4, -1, 1)])
def test_impossible_counts_are_refused(case):
    with pytest.raises(ValueError, match="no leak@"):
        leak_at_k(*case)


def measure(subject, tmp_path, seed=0, facts=FACTS, **parameters):
    attack = SampledAnswers(SamplingParameters(**{"samples": 6, "k": 3} | parameters))
    evaluator = TextEvaluator(FactSets(forget=facts), ["answer-probability"])
    return attack.measure(subject, AttackContext(evaluator, seed, tmp_path))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_runs_on_every_architecture(architecture, subjects, tmp_path):
    record = measure(subjects[architecture], tmp_path)
    assert [row.fact for row in record.rows] == ["f0", "f1", "f2"]
    assert {row.metric for row in record.rows} == {"leak-at-k"}
    assert set(record.notes["leak_at"]) == {"1", "3"}


def test_k_counts_the_samples_that_leak(subjects, tmp_path):
    """One-letter answers of a random model come up in some samples and not in others."""
    subject = subjects["llama"]
    facts = [
        Fact(id=c, entity="s", prompt=f"Person {i} lives in", answer=c)
        for i, c in enumerate("abcdefgh")
    ]
    record = measure(subject, tmp_path, 3, facts, samples=20, k=4, temperature=1.5, top_p=0.95)
    longest = max(subject.answer_length(f.prompt, f.answer) for f in facts)
    drawn = Sampling(temperature=1.5, top_p=0.95, seed=3)
    prompts = [f.prompt for f in facts for _ in range(20)]
    said = subject.generate(prompts, longest + SPARE_TOKENS, drawn)
    counts = []
    for i, fact in enumerate(facts):
        mine = said[20 * i : 20 * (i + 1)]
        counts.append(sum(given_away(fact.prompt, [fact.answer], t) >= 0.8 for t in mine))
        assert counts[-1] >= sum(fact.answer in text.lower().split() for text in mine)
    assert 0 < sum(counts) < 20 * len(facts)
    assert record.arrays["leaks"].tolist() == counts
    by_hand = [leak_at_k(20, c, 4) for c in counts]
    assert [row.k for row in record.rows] == pytest.approx(by_hand)
    assert record.notes["leak_at"]["1"] == pytest.approx(sum(counts) / 20 / len(facts))
    assert record.notes["leak_at"]["4"] == pytest.approx(sum(by_hand) / len(facts))


def test_samples_follow_the_seed_and_leave_the_stream_of_others_alone(subjects, tmp_path):
    subject = subjects["llama"]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = measure(subject, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = measure(subject, tmp_path)
    assert again.rows == first.rows
    assert measure(subject, tmp_path, seed=1).rows != first.rows


@pytest.mark.nightly
def test_another_token_budget_draws_from_the_same_distribution(directories, tmp_path):
    """Not the same samples (the stream is cut otherwise), but the same chances."""
    facts = [Fact(id="a", entity="s", prompt="Person 1 lives in", answer="a")]
    shares = []
    for budget in (8192, 200):
        subject = open_directory(directories["llama"], token_budget=budget)
        record = measure(subject, tmp_path, facts=facts, samples=600, k=1)
        shares.append(record.rows[0].k)
        assert measure(subject, tmp_path, facts=facts, samples=600, k=1).rows == record.rows
    p = sum(shares) / 2
    assert 0.01 < p < 0.99  # else this test has no teeth
    assert abs(shares[0] - shares[1]) < 4 * (2 * p * (1 - p) / 600) ** 0.5


def test_k_above_the_samples_is_refused():
    with pytest.raises(ValidationError, match="more than the 8 samples"):
        SamplingParameters(samples=8, k=9)


def test_variants_have_names_of_their_own():
    variants = [
        SampledAnswers(SamplingParameters(**p)).variant
        for p in ({}, {"samples": 128, "k": 64}, {"top_p": 0.9}, {"threshold": 1.0}, {"k": 1})
    ]
    assert len(set(variants)) == len(variants)
    assert variants[0] == "leak@16 of 32 T=1"


def test_side_figures_are_by_arm_in_the_order_of_k():
    notes = {"unlearned": {"leak_at": {"1": 0.1, "16": 0.5, "4": 0.3}}, "comparison": {}}
    figures = SampledAnswers(SamplingParameters()).side_figures(notes)
    assert [(f.name, f.params["k"], f.of, f.value) for f in figures] == [
        ("leak_at_k", 1, "unlearned", 0.1),
        ("leak_at_k", 4, "unlearned", 0.3),
        ("leak_at_k", 16, "unlearned", 0.5),
    ]
