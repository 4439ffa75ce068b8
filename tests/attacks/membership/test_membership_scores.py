"""Membership scores against few-line references on raw logits, in float64."""

import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from attacks.membership import reference_models, token_likelihood
from auditor.core.errors import UnavailableError
from auditor.models.language.scoring import AnswerLogits, token_scores

quick = settings(max_examples=50, deadline=None, derandomize=True)
V = 50
CLOSE = {"rel": 1e-5}


def case(seed, tokens, scale=3.0):
    """Raw logits [T + 1, V], the ids that they are asked for, and what the package reads."""
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(tokens + 1, V))).astype(np.float32)
    ids = rng.integers(V, size=tokens + 1)
    read = token_scores(AnswerLogits(torch.tensor(logits[:-1]), torch.tensor(ids[1:]), [tokens]))[0]
    exact = logits[:-1].astype(np.float64)
    log_p = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    return log_p, log_p[np.arange(tokens), ids[1:]], read


CASES = [(seed, tokens) for seed in range(4) for tokens in (1, 3, 7, 23)]


@pytest.mark.parametrize(("seed", "tokens"), CASES)
def test_loss_and_zlib(seed, tokens):
    _, target, read = case(seed, tokens)
    assert token_likelihood.loss(read) == pytest.approx(target.mean(), **CLOSE)
    text = "ä passage of text " * 5
    mimir = -target.mean() / len(zlib.compress(bytes(text, "utf-8")))
    assert token_likelihood.zlib_ratio(read, text) == pytest.approx(-mimir, **CLOSE)


@pytest.mark.parametrize(("seed", "tokens"), CASES)
@pytest.mark.parametrize("k", [0.1, 0.2, 0.4, 1.0])
def test_min_k_is_mimirs_with_the_sign_turned(seed, tokens, k):
    _, target, read = case(seed, tokens)
    lowest = np.sort(target)[: max(1, int(k * tokens))]
    assert token_likelihood.min_k(read, k) == pytest.approx(np.mean(lowest), **CLOSE)


@pytest.mark.parametrize(("seed", "tokens"), CASES)
@pytest.mark.parametrize("k", [0.1, 0.2, 0.4, 1.0])
def test_min_k_plus_plus_is_mimirs_with_the_sign_turned(seed, tokens, k):
    log_p, target, read = case(seed, tokens)
    mu = (np.exp(log_p) * log_p).sum(-1)
    sigma = np.sqrt((np.exp(log_p) * log_p**2).sum(-1) - mu**2)
    z = np.sort((target - mu) / sigma)[: max(1, int(k * tokens))]
    assert token_likelihood.min_k_plus_plus(read, k) == pytest.approx(z.mean(), **CLOSE)


def test_min_k_by_hand():
    """Of five log-probabilities 40 % are the two lowest; 20 % of three is one all the same."""
    read = case(0, 5)[2]
    object.__setattr__(read, "log_probability", np.array([-1, -5, -2, -3, -4], np.float32))
    assert token_likelihood.min_k(read, 0.4) == -4.5
    assert token_likelihood.min_k(read, 0.59) == -4.5
    assert token_likelihood.min_k(read.after(2), 0.2) == -4


def test_certain_tokens_do_not_divide_by_nothing():
    logits = torch.full((2, V), -1e4)
    logits[:, 7] = 0.0
    read = token_scores(AnswerLogits(logits, torch.tensor([7, 7]), [2]))[0]
    assert token_likelihood.min_k_plus_plus(read, 1.0) == 0.0
    assert math.isfinite(token_likelihood.recall(read, read))


@pytest.mark.parametrize(("seed", "tokens"), CASES)
def test_recall(seed, tokens):
    _, alone, read = case(seed, tokens)
    _, after, read_after = case(seed + 100, tokens)
    expected = after.sum() / alone.sum()
    assert token_likelihood.recall(read, read_after) == pytest.approx(expected, **CLOSE)


def several(seed, models=3, texts=12):
    """Mean log-probabilities of texts under models, in float64 and as the package reads them."""
    found = [[case(seed * 1000 + m * 50 + t, 4, 1.5) for t in range(texts)] for m in range(models)]
    exact = np.array([[target.mean() for _, target, _ in row] for row in found])
    read = np.array([[scores.mean_log_probability for *_, scores in row] for row in found])
    return exact, read


@pytest.mark.parametrize("seed", range(3))
def test_reference_ratio(seed):
    exact, read = several(seed)
    expected = exact[0] - (exact[1] + exact[2]) / 2
    np.testing.assert_allclose(reference_models.ratio(read[0], read[1:]), expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_rmia_counts_the_population_pair_by_pair(seed):
    exact, read = several(seed)
    p, a, gamma = np.exp(exact), 0.33, 1.1
    prior = [0.5 * ((1 + a) * (p[1, t] + p[2, t]) / 2 + (1 - a)) for t in range(12)]
    ratio = [p[0, t] / prior[t] for t in range(12)]
    read_ratio = reference_models.rmia_ratio(read[0], read[1:], a)
    np.testing.assert_allclose(read_ratio, ratio, rtol=1e-5)
    x, z = range(5), range(5, 12)
    expected = [sum(ratio[i] / ratio[j] > gamma for j in z) / 7 for i in x]
    found = reference_models.rmia(read_ratio[:5], read_ratio[5:], gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    expected = [sum(ratio[i] / ratio[j] > 0.9 for j in z if j != i) / 6 for i in z]
    found = reference_models.rmia(read_ratio[5:], read_ratio[5:], 0.9, same=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_lira_ranks_as_the_offline_likelihood_ratio():
    """1 - Pr[Z > phi] with each text's own normal; its z-value is what is given."""
    exact, read = several(5, models=reference_models.FEW + 1)
    phi = np.log(np.exp(exact) / (1 - np.exp(exact)))
    mu, sigma = phi[1:].mean(0), phi[1:].std(0, ddof=1)
    expected = 1 - norm.sf(phi[0], mu, sigma)
    found = reference_models.lira(read[0], read[1:])
    np.testing.assert_allclose(norm.cdf(found), expected, rtol=1e-5)
    few = reference_models.lira(read[0], read[1:3])
    np.testing.assert_allclose(few, phi[0] - phi[1:3].mean(0), rtol=1e-4)


@quick
@given(arrays(np.float64, 6, elements=st.floats(-30, 0)))
def test_the_logit_is_finite_and_rises_with_the_likelihood(log_p):
    found = token_likelihood.logit(np.sort(log_p))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    low = log_p[log_p < -1e-3]
    np.testing.assert_allclose(
        token_likelihood.logit(low), np.log(np.exp(low) / (1 - np.exp(low))), rtol=1e-6
    )


def test_every_arm_sees_equally_many_references_and_never_itself():
    retrained = ("retrained-0", "retrained-1", "retrained-2")
    sets = {
        arm: reference_models.reference_sets(arm, retrained, ("reference-0",))
        for arm in ("unlearned", "original", *retrained)
    }
    assert sets["retrained-1"] == (("retrained-0", "retrained-2", "reference-0"),)
    assert sets["unlearned"] == sets["original"]
    assert set(sets["unlearned"]) == {sets[arm][0] for arm in retrained}
    assert {len(names) for found in sets.values() for names in found} == {3}


def test_references_that_were_given_do_without_retrained_arms():
    assert reference_models.reference_sets("unlearned", (), ("reference-0",)) == (("reference-0",),)
    alone = reference_models.reference_sets("retrained-0", ("retrained-0",), ("reference-0",))
    assert alone == (("reference-0",),)


@pytest.mark.parametrize("own", ["retrained-0", "unlearned"])
def test_too_few_references_are_said_with_the_way_out(own):
    with pytest.raises(UnavailableError, match="give another retrained model or a reference model"):
        reference_models.reference_sets(own, ("retrained-0",), ())
