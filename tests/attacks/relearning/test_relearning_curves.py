"""Learning curves: a curve an arm, what it says and how it hangs together with K."""

import json

import numpy as np
import pytest
from tiny_models import make_model, make_tokenizer, open_directory, save

from attacks.relearning.benign import Benign, BenignParameters
from attacks.relearning.family import phrasings
from attacks.relearning.fine_tuning import learner
from attacks.relearning.held_out_facts import HeldOutFacts, HeldOutFactsParameters
from attacks.relearning.same_facts import SameFacts, SameFactsParameters
from auditor.attack import AttackContext
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import canonical_json
from auditor.core.messages import message
from auditor.models.language.evaluator import TextEvaluator

ARMS = ("unlearned", "original", "retrained-0")
METRIC = "answer-probability"
SHORT = {"batch_size": 4, "learning_rate": 3e-3}


def people(names):
    return tuple(
        Fact(id=f"{n}/{a}", entity=n, prompt=f"{n} {a}", answer=f"number {7 * i + j}")
        for i, n in enumerate(names)
        for j, a in enumerate(("lives in", "works in"))
    )


SETS = FactSets(forget=people(["Ann", "Bob", "Cy", "Di"]), retain=people(["Eve", "Flo"]))
EXAMINER = TextEvaluator(SETS, [METRIC, "exact-memorisation"])


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    root = tmp_path_factory.mktemp("taught")
    return {
        arm: open_directory(save(root / arm, make_model("llama", seed), make_tokenizer()))
        for seed, arm in enumerate(ARMS)
    }


def measured(attack, arms, tmp_path):
    """Arm to record; and the curves, from notes that went through the evidence store's JSON."""
    records = {
        arm: attack.measure(s, AttackContext(EXAMINER, 0, tmp_path)) for arm, s in arms.items()
    }
    notes = {arm: json.loads(canonical_json(record.notes)) for arm, record in records.items()}
    return records, attack.curves(notes)


def mean_k(record, metric=METRIC):
    return np.mean([row.k for row in record.rows if row.metric == metric])


CASES = [
    (
        HeldOutFacts(HeldOutFactsParameters(checkpoints=(1, 3), **SHORT)),
        [
            message("lora_trained", rank=16),
            message("half_of_forget_facts_taught", split="attribute"),
        ],
    ),
    (
        HeldOutFacts(
            HeldOutFactsParameters(split="entity", method="full", checkpoints=(1, 3), **SHORT)
        ),
        [message("all_weights_trained"), message("half_of_forget_facts_taught", split="entity")],
    ),
    (
        Benign(BenignParameters(rank=4, checkpoints=(1, 3), **SHORT)),
        [message("lora_trained", rank=4), message("retain_facts_taught")],
    ),
    (
        Benign(BenignParameters(data="generic", checkpoints=(1, 3), **SHORT)),
        [message("lora_trained", rank=16), message("everyday_sentences_taught")],
    ),
]


@pytest.mark.parametrize(("attack", "remarks"), CASES)
def test_k_is_the_mean_of_the_points_after_the_first(attack, remarks, arms, tmp_path):
    records, curves = measured(attack, arms, tmp_path)
    assert [curve.of for curve in curves] == list(ARMS)
    for curve in curves:
        assert (curve.name, curve.x) == ("learning_curve", "optimiser_steps")
        assert (curve.y, curve.params) == ("mean_k_forget", {"metric": METRIC})
        assert list(curve.remarks) == [*remarks, message("first_seed")]
        steps, means = zip(*curve.points, strict=True)
        assert steps == (0, 1, 3)
        assert np.mean(means[1:]) == pytest.approx(mean_k(records[curve.of]), rel=1e-9)
        untaught = EXAMINER.evaluate(arms[curve.of], ("forget",))
        k = np.mean([row.k for row in untaught if row.metric == METRIC])
        assert means[0] == pytest.approx(k, rel=1e-4)
        assert len(set(means)) == 3


def test_the_last_point_is_k_where_the_last_checkpoint_is_the_only_one(arms, tmp_path):
    attack = HeldOutFacts(HeldOutFactsParameters(checkpoints=(3,), **SHORT))
    records, curves = measured(attack, arms, tmp_path)
    for curve in curves:
        assert curve.points[-1] == (3, pytest.approx(mean_k(records[curve.of]), rel=1e-9))


@pytest.mark.parametrize(
    ("known_by", "metric"), [("primary", METRIC), ("exact", "exact-memorisation")]
)
def test_the_curve_of_the_same_facts_is_of_what_tells_that_they_are_known(
    known_by, metric, arms, tmp_path
):
    """K is a speed there; the last point is what one training to the limit leaves."""
    settings = SameFactsParameters(max_steps=30, eval_steps=10, known_by=known_by, **SHORT)
    _, curves = measured(SameFacts(settings), arms, tmp_path)
    assert [curve.of for curve in curves] == list(ARMS)
    for curve in curves:
        assert [step for step, _ in curve.points] == [0, 10, 20, 30]
        assert (curve.y, curve.params) == ("mean_k_forget", {"metric": metric})
        assert list(curve.remarks) == [
            message("lora_trained", rank=16),
            message("asked_facts_taught"),
            message("first_seed"),
        ]
        assert curve.points[-1][1] > curve.points[0][1]
        subject = arms[curve.of]
        examples = subject.encode(phrasings(SETS.forget), end=True)
        with learner(subject, examples, settings, 0) as taught:
            taught.advance(30)
            rows = EXAMINER.evaluate(subject, ("forget",))
        at_last = np.mean([row.k for row in rows if row.metric == metric])
        assert curve.points[-1][1] == pytest.approx(at_last, rel=1e-6)


def test_a_long_curve_is_thinned_out_evenly_between_its_ends():
    attack = SameFacts(SameFactsParameters(max_steps=1000, eval_steps=1))
    noted = {"curve": [[step, step / 1000] for step in range(1001)], "metric": METRIC}
    (curve,) = attack.curves(
        {"unlearned": noted, "comparison": {"not_explained": "MeasurementError"}}
    )
    steps = [step for step, _ in curve.points]
    assert len(steps) == 200
    assert (steps[0], steps[-1]) == (0, 1000)
    assert set(np.diff(steps)) == {5, 6}
    assert all(k == step / 1000 for step, k in curve.points)
