"""Retrained models that are none: contaminated, undertrained, or copies of another arm."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import fisher_exact

from auditor.statistics import Margins
from auditor.statistics.baselines import KnownSet, KnownSets, baseline_findings, fisher_chance

MARGINS = Margins()


def _logit(k):
    return np.log(k / (1 - k))


def _chance(x):
    return 1 / (1 + np.exp(-x))


class Models:
    """K of models that share how hard each fact is and differ by the luck of their training."""

    def __init__(self, seed, n=100, guessed=0.3, seeds=2):
        self.rng = np.random.default_rng([seed, n, seeds])
        self.hard = self.rng.normal(size=(3, n))
        self.known = [self.model(forget, guessed) for forget in (guessed, 0.93, *[guessed] * seeds)]

    def model(self, forget, guessed, retain=0.9):
        levels = _logit(np.array([forget, retain, guessed]))[:, None]
        return _chance(levels + self.hard + 0.5 * self.rng.normal(size=self.hard.shape))

    def sets(self, **other):
        """The sets, with some models by others: `unlearned`, `original` or a number."""
        known = np.stack(self.known)
        entities = tuple(str(i // 4) for i in range(known.shape[2]))
        sets = [KnownSet(known[:, part], entities) for part in range(3)]
        return replace(KnownSets(*sets), **other)

    def noisy(self, row, strength=0.1):
        return _chance(_logit(self.known[row]) + strength * self.rng.normal(size=self.hard.shape))


def codes(models, scope="census", **other):
    return [
        (f.message.code, f.message.params["arm"], f.blocks)
        for f in baseline_findings(models.sets(**other), MARGINS, scope)
    ]


@pytest.mark.parametrize("scope", ["census", "sampled"])
@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_nothing_is_said_of_models_that_were_retrained(seeds, scope):
    said = [codes(Models(s, n=200, seeds=seeds), scope) for s in range(40)]
    assert sum(map(bool, said)) <= 2


def test_a_model_that_has_seen_a_fifth_of_the_forget_set_is_named():
    models = Models(0)
    seen = np.arange(100) < 20
    models.known[2][0] = np.where(seen, models.known[1][0], models.known[2][0])
    assert codes(models) == [("retrained_knows_forget_facts", "retrained-0", True)]


def test_a_single_model_that_has_seen_the_forget_set_is_known_by_facts_that_nobody_saw():
    models = Models(0, n=400, seeds=1)
    models.known[2][0] = 0.8 * models.known[1][0]
    assert ("retrained_knows_forget_above_holdout", "retrained-0", True) in codes(models)
    assert codes(models, holdout=None) == []


@pytest.mark.parametrize("table", [(8, 10, 1, 6), (30, 96, 2, 96), (3, 5, 0, 4), (5, 5, 2, 3)])
def test_the_chance_is_that_of_fishers_exact_test(table):
    known, facts, beyond, others = table
    counts = [[known, facts - known], [beyond, others - beyond]]
    assert fisher_chance(*table) == pytest.approx(fisher_exact(counts, "greater").pvalue)


@pytest.mark.parametrize("seeds", [1, 2])
def test_models_that_all_have_seen_just_what_leaks_are_named(seeds):
    """Nothing stands out: each knows the same third of the forget set that the unlearned knows."""
    models = Models(0, seeds=seeds)
    for row in (0, *range(2, 2 + seeds)):
        seen = models.noisy(1)[0]
        models.known[row][0] = np.where(np.arange(100) < 30, seen, models.known[row][0])
    found = baseline_findings(models.sets(), MARGINS, "census")
    assert [f.message.code for f in found] == ["retrained_knows_facts_above_holdout"] * seeds
    assert all(f.blocks for f in found)
    assert 30 <= found[0].message.params["known"] <= 45
    assert found[0].message.params["unseen"] <= 15


@pytest.mark.parametrize("leaked_facts", [None, 0])
def test_without_facts_that_nobody_saw_it_is_said_and_blocks_where_leaks_are_counted(leaked_facts):
    models = Models(0)
    for row in (2, 3):
        models.known[row][0][:40] = models.known[1][0][:40]
    margins = replace(MARGINS, leaked_facts=leaked_facts)
    found = baseline_findings(models.sets(holdout=None), margins, "census")
    assert [(f.message.code, f.blocks) for f in found] == [
        ("retrained_knows_facts_as_original", leaked_facts == 0)
    ] * 2
    assert 40 <= found[0].message.params["known"] <= 45


@pytest.mark.parametrize("rows", [(2,), (2, 3)])
def test_models_that_answer_all_facts_as_the_unlearned_one_are_named(rows):
    """Of copies alone no distance between models is known, and few sets tell them from it."""
    models = Models(7)
    for row in rows:
        models.known[row] = models.known[0] + 5e-5
    found = codes(models, retain=None, holdout=None)
    assert {arm for _, arm, blocks in found if blocks} >= {f"retrained-{row - 2}" for row in rows}
    assert ("retrained_answers_as_unlearned" in {code for code, _, _ in found}) is (len(rows) > 1)
    rough = replace(models.sets().forget, known=np.round(models.sets().forget.known))
    found = baseline_findings(KnownSets(rough), MARGINS, "census")
    assert "retrained_answers_as_unlearned" not in {f.message.code for f in found}, "so few levels"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_noisy_copy_of_the_unlearned_model_is_no_retrained_one(seeds):
    models = Models(1, seeds=seeds)
    models.known[2] = models.noisy(0, 0.01 if seeds == 1 else 0.1)
    found = baseline_findings(models.sets(), MARGINS, "census")
    assert [(f.message.code, f.message.params["of"]) for f in found] == [
        ("retrained_is_a_copy", "unlearned")
    ]


def test_copies_of_the_unlearned_model_do_not_vouch_for_each_other():
    models = Models(1, seeds=3)
    models.known[2:] = [models.noisy(0, 0.01) for _ in range(3)]
    assert [code for code, _, _ in codes(models)] == ["retrained_is_a_copy"] * 3


def test_a_copy_of_the_original_among_retrained_models_is_named_for_it():
    models = Models(2, seeds=3)
    models.known[3] = models.noisy(1)
    assert set(codes(models)) == {
        ("retrained_knows_forget_facts", "retrained-1", True),
        ("retrained_knows_forget_above_holdout", "retrained-1", True),
        ("retrained_is_a_copy", "retrained-1", True),
    }


def test_an_undertrained_model_is_said_and_blocks_nothing():
    models = Models(3)
    models.known[3] = models.model(0.3, 0.3, retain=0.5)
    assert codes(models) == [("retrained_undertrained", "retrained-1", False)]


def test_a_model_that_knows_less_than_the_others_is_said():
    models = Models(4, n=400, seeds=3)
    models.known[4] = models.model(0.17, 0.3)
    assert ("retrained_knows_less_than_others", "retrained-2", False) in codes(models)


def test_without_retain_and_holdout_copies_are_sought_in_the_forget_set():
    models = Models(5)
    models.known[2] = models.noisy(0)
    found = codes(models, retain=None, holdout=None)
    assert found == [("retrained_is_a_copy", "retrained-0", True)]


@pytest.mark.parametrize("seeds", [1, 2])
def test_runs_that_are_nearer_to_each_other_than_to_the_original_are_no_copies(seeds):
    """The original was trained longer: the retrained ones, and an honest model, are alike."""
    models = Models(6, n=200, seeds=seeds)
    models.known[1][1:] = models.model(0.9, 0.6, retain=0.98)[1:]
    assert "retrained_is_a_copy" not in {code for code, _, _ in codes(models)}


def test_published_models_of_one_seed_are_near_and_no_copies(tofu):
    """The two retrained models differ in weight decay alone."""
    parts = ("eval_log_forget.json", "eval_log.json", "eval_real_author_wo_options.json")
    names = ("retain90_wd0", "full_wd0.01", "retain90_wd0.01")
    sets = []
    for part in parts:
        known = np.stack([tofu.knowledge(name, part) for name in names])
        sets.append(KnownSet(known, tuple(map(str, range(known.shape[1])))))
    assert baseline_findings(KnownSets(*sets), MARGINS, "census") == ()
    exact = [replace(s, known=s.known[[2, 1, 2]]) for s in sets]
    (found,) = baseline_findings(KnownSets(*exact), MARGINS, "census")
    assert (found.message.code, found.blocks) == ("retrained_is_a_copy", True)
