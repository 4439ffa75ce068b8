"""Detectability: chance where nothing differs, certainty where everything does."""

import numpy as np
import pytest
from tiny_models import ARCHITECTURES

from attacks.probing.detectability import (
    Detectability,
    DetectabilityParameters,
    statistics,
    told_apart,
)
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.findings import Finding
from auditor.core.records import Record, check_malformed

ATTACK = Detectability(DetectabilityParameters(texts=40))


def finding(arm, own, texts, forget=None):
    forget = texts[:2] if forget is None else forget
    return Finding(Arm(arm), own, Record(arrays={"texts": texts, "forget": forget}))


def test_models_that_read_alike_are_not_told_apart():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(30):
        one, two = rng.normal(size=(2, 200, 6))
        area, _ = told_apart(finding("unlearned", True, one), finding("original", False, two))
        values.append((area.value, area.lower <= 0.5 <= area.upper))
    assert np.mean([value for value, _ in values]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([covered for _, covered in values]) > 0.85

    same = rng.normal(size=(200, 6))
    area, _ = told_apart(finding("unlearned", True, same), finding("original", False, same))
    assert (area.value, area.lower) == (0.5, None), "the same readings are the same"


def test_a_shift_is_told_as_surely_as_it_is_wide():
    """AUC of two normal distributions a deviation apart is Phi(1 / sqrt 2) = 0.760."""
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(2, 4000, 1))
    area, _ = told_apart(finding("unlearned", True, one + 1.0), finding("original", False, two))
    assert area.value == pytest.approx(0.760, abs=0.03)
    area, told = told_apart(
        finding("unlearned", True, one + 50.0, np.array([[50.0], [0.0]])),
        finding("original", False, two),
    )
    assert area.value == 1.0
    assert told.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_statistics_are_of_the_tokens(architecture, subjects):
    scores = subjects[architecture].score([("", "Person 5 lives in city number 35."), ("", "fox")])
    found = statistics(scores)
    assert found.shape == (2, 15)
    assert np.isfinite(found).all()
    log_p = scores[0].log_probability
    assert found[0, 0] == pytest.approx(log_p.mean(), rel=1e-5)
    assert found[0, 10] == pytest.approx(log_p.min(), rel=1e-5)
    assert found[0, 11] == pytest.approx(log_p[0], rel=1e-5)
    assert 0 < found[0, 5] <= np.log(400), "an entropy of 400 tokens"


def test_every_arm_is_told_from_every_other(subjects, evaluator, tmp_path):
    arms = {"unlearned": "llama", "original": "qwen2", "retrained-0": "gemma"}
    found = {
        arm: ATTACK.search(subjects[name], AttackContext(evaluator, 0, tmp_path))
        for arm, name in arms.items()
    }
    notes = {}
    for arm, name in arms.items():
        pool = [Finding(Arm(each), each == arm, record) for each, record in found.items()]
        record = ATTACK.measure(subjects[name], AttackContext(evaluator, 0, tmp_path, pool))
        check_malformed(record)
        assert {row.fact for row in record.rows} == {"f0", "f1"}
        assert {row.k for row in record.rows} <= {0.0, 0.25, 0.5, 0.75, 1.0}
        notes[arm] = record.notes
    pairs = {(f.of, f.against): f for f in ATTACK.side_figures(notes)}
    assert pairs.keys() == {(a, b) for a in arms for b in arms if a != b}
    assert all(figure.value > 0.9 for figure in pairs.values()), "random models differ"


def test_what_cannot_be_had_is_said(subjects, evaluator, tmp_path):
    context = AttackContext(evaluator, 0, tmp_path)
    with pytest.raises(MeasurementError, match="pool lacks"):
        ATTACK.measure(subjects["llama"], context)
    own = [finding("unlearned", True, np.zeros((40, 2)))]
    with pytest.raises(UnavailableError, match="no other model"):
        ATTACK.measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path, own))
    with pytest.raises(UnavailableError, match="there are 2 texts"):
        Detectability(DetectabilityParameters(data="retain")).search(subjects["llama"], context)


def test_texts_are_declared():
    assert len(ATTACK.texts()) == 40
    assert Detectability(DetectabilityParameters(data="retain")).texts() == ()
    assert (ATTACK.variant, Detectability(DetectabilityParameters()).variant) == (
        "generic 40 texts",
        "generic",
    )
