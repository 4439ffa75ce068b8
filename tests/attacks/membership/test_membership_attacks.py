"""Likelihood scores on tiny models of six architectures: what is scored, kept and compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, CONTEXT, make_model, make_tokenizer, open_directory, save

from attacks.membership.family import Scores, privleak
from attacks.membership.gradient_norm import GradientNorm
from attacks.membership.likelihood import Likelihood, LikelihoodParameters
from attacks.membership.neighbourhood import Neighbourhood
from attacks.membership.roc_curves import roc_corners, roc_curve
from attacks.membership.scored_texts import ScoredTexts, packed, unpacked
from auditor.attack import AttackContext
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError, MemoryExhaustedError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.findings import Finding
from auditor.core.messages import message
from auditor.models.language.evaluator import TextEvaluator
from auditor.statistics import placements
from auditor.statistics.holdout_blocks import BLOCK, holdout_blocks


def facts(prefix, count, text=False):
    return tuple(
        Fact(
            id=f"{prefix}{i}",
            entity=f"{prefix}{i // 2}",
            prompt=f"Person {prefix}{i} lives in",
            answer=f"city number {i * 7}",
            text=f"In city number {i * 7} lives {prefix}{i}" if text else None,
        )
        for i in range(count)
    )


SETS = FactSets(forget=facts("f", 6), retain=facts("r", 4), holdout=facts("h", 20))
EXAMINER = TextEvaluator(SETS, ["answer-probability"])
NOWHERE = Path("unused")


def likelihood(**parameters):
    return Likelihood(LikelihoodParameters(**parameters))


def searched(arms, evaluator=EXAMINER, **parameters):
    """Arm to what the search leaves on it."""
    attack = likelihood(**parameters)
    return {
        arm: attack.search(subject, AttackContext(evaluator, 0, Path("unused")))
        for arm, subject in arms.items()
    }


def measured(found, arm, evaluator=EXAMINER, **parameters):
    pool = [Finding(Arm(name), name == arm, record) for name, record in found.items()]
    return likelihood(**parameters).measure(None, AttackContext(evaluator, 0, NOWHERE, pool))


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    root = tmp_path_factory.mktemp("arms")
    names = ("unlearned", "original", "retrained-0", "retrained-1")
    return {
        name: open_directory(save(root / name, make_model("llama", seed), make_tokenizer()))
        for seed, name in enumerate(names)
    }


@pytest.fixture(scope="module")
def found(arms):
    return searched(arms)


SCORES = ("loss", "zlib", "min-k", "min-k++", "recall", "reference", "rmia", "lira")


def test_all_scores_share_one_search_and_its_two_passes(arms):
    attacks = [likelihood(score=score, k=k) for score in SCORES for k in (0.1, 0.2)]
    assert len({json.dumps(attack.search_parameters()) for attack in attacks}) == 1
    assert len({json.dumps(dict(attack.inputs())) for attack in attacks}) == 1
    subject, passes = arms["unlearned"], []
    handle = subject.network.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    searched({"unlearned": subject})
    handle.remove()
    assert sum(passes) == 2 * (len(SETS.forget) + len(SETS.holdout))


@pytest.mark.parametrize("score", SCORES)
def test_k_is_the_share_of_the_blocks_holdout_that_is_outscored(score, found):
    record = measured(found, "unlearned", score=score)
    ids = [fact.id for fact in SETS.forget]
    assert [(r.fact, r.metric) for r in record.rows] == [
        (fact, metric) for metric in ("placement", BLOCK) for fact in ids
    ]
    left = [f.entity for f in SETS.holdout if f.entity not in _prefix_entities(record)]
    own, among = map(np.array, holdout_blocks([f.entity for f in SETS.forget], left))
    assert own.tolist() == ["0", "0", "1", "1", "2", "2"]
    assert [r.k for r in record.rows[6:]] == pytest.approx(own.astype(float) / 3)
    scores = list(zip(record.arrays["scores/forget"], record.arrays["scores/holdout"], strict=True))
    for row, block, index in zip(record.rows, own, range(6), strict=False):
        placed = [placements(f[index : index + 1], h[among == block])[0] for f, h in scores]
        assert row.k == pytest.approx(np.mean(placed))
    over_all = np.mean([placements(forget, holdout) for forget, holdout in scores], axis=0)
    assert record.notes["auc"]["value"] == pytest.approx(over_all.mean())


def _prefix_entities(record):
    """Entities whose holdout facts are shown in ReCaLL's prefix, and so are not placed among."""
    shown = record.notes.get("prefix", ())
    return {fact.entity for fact in SETS.holdout if fact.id in shown}


@pytest.mark.parametrize("score", SCORES)
def test_every_arm_has_a_roc_curve_of_its_own_scores(score, found):
    notes = {arm: measured(found, arm, score=score).notes for arm in found}
    curves = likelihood(score=score).curves(notes)
    assert [(curve.name, curve.of) for curve in curves] == [("roc", arm) for arm in found]
    for curve in curves:
        points = np.array(curve.points)
        assert (np.diff(points, axis=0) >= 0).all()
        assert (points[0].tolist(), points[-1].tolist()) == ([0, 0], [1, 1])
        area = np.trapezoid(points[:, 1], points[:, 0])
        assert area == pytest.approx(notes[curve.of]["auc"]["value"], abs=1e-12)
        others = 12 if score == "recall" else 20
        assert curve.remarks[0] == message("roc_rests_on", members=6, holdout=others)


@pytest.mark.parametrize("attack", [GradientNorm, Neighbourhood])
def test_other_scores_have_a_roc_curve_too(attack, arms):
    ask = attack(attack.parameters_type())
    record = ask.measure(arms["unlearned"], AttackContext(EXAMINER, 0, NOWHERE))
    (curve,) = ask.curves({"unlearned": record.notes})
    expected = roc_corners(roc_curve(*(record.arrays[f"scores/{s}"][0] for s in Scores._fields)))
    np.testing.assert_array_equal(curve.points, expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("text", ["answer", "passage"])
def test_the_loss_is_that_of_the_text_on_every_architecture(architecture, text, subjects):
    subject = subjects[architecture]
    found = searched({"unlearned": subject}, text=text)
    record = measured(found, "unlearned", text=text)
    given = [
        (f.prompt, f.answer) if text == "answer" else ("", f"{f.prompt} {f.answer}")
        for f in SETS.forget
    ]
    expected = [score.mean_log_probability for score in subject.score(given)]
    np.testing.assert_allclose(record.arrays["scores/forget"][0], expected, atol=1e-4)
    assert record.notes["text"] == text


def test_reference_scores_leave_each_retrained_arm_out_in_turn(found):
    """Two retrained models: U is compared with each, and each with the other."""
    loss = {arm: measured(found, arm).arrays for arm in found}

    def expected(arm, references):
        return [
            loss[arm]["scores/forget"][0] - loss[name]["scores/forget"][0] for name in references
        ]

    for arm, references in (
        ("unlearned", ("retrained-1", "retrained-0")),
        ("original", ("retrained-1", "retrained-0")),
        ("retrained-0", ("retrained-1",)),
        ("retrained-1", ("retrained-0",)),
    ):
        record = measured(found, arm, score="reference")
        np.testing.assert_allclose(record.arrays["scores/forget"], expected(arm, references))


def test_a_single_retrained_model_has_no_reference(found):
    few = {arm: record for arm, record in found.items() if arm != "retrained-1"}
    for arm in few:
        with pytest.raises(UnavailableError, match="give another retrained model"):
            measured(few, arm, score="rmia")
    assert measured(few, "unlearned", score="zlib").rows


def test_a_reference_model_of_the_plan_stands_in(arms, tmp_path):
    path = save(tmp_path / "reference", make_model("llama", 9), make_tokenizer())
    one = {"references": (str(path),)}
    few = {arm: arms[arm] for arm in ("unlearned", "original", "retrained-0")}
    found = searched(few, **one)
    for arm in few:
        assert measured(found, arm, score="reference", **one).arrays["scores/forget"].shape[0] == 1
    digest = likelihood(**one).inputs()["reference-0"]
    save(tmp_path / "reference", make_model("llama", 10), make_tokenizer())
    assert likelihood(**one).inputs()["reference-0"] != digest


def test_an_audited_model_cannot_be_its_own_reference(arms):
    path = str(arms["unlearned"].location.model)
    with pytest.raises(UnavailableError, match="one of the audited models"):
        searched({"unlearned": arms["unlearned"]}, references=(path,))


def test_recalls_prefix_is_unseen_and_out_of_the_comparison(arms, found):
    record = measured(found, "unlearned", score="recall")
    assert record.notes["prefix"] == ["h12", "h14", "h16", "h18"]
    assert record.notes["holdout"] == 12
    prefix = "".join(f"{f.prompt} {f.answer}\n" for f in SETS.holdout[12::2])
    fact = SETS.forget[2]
    alone, after = (
        arms["unlearned"].score([(shown + fact.prompt, fact.answer)])[0].mean_log_probability
        for shown in ("", prefix)
    )
    assert record.arrays["scores/forget"][0, 2] == pytest.approx(after / alone, rel=1e-4)


def test_a_passage_after_a_prefix_is_scored_without_the_prefix(arms):
    texts = ScoredTexts(SETS, "passage")
    subject, prefix = arms["unlearned"], "Person 3 lives in city number 21.\n"
    alone = texts.score(subject, SETS.forget)
    after = texts.score_after(subject, SETS.forget, prefix)
    assert [len(s.log_probability) for s in after] == [len(s.log_probability) for s in alone]
    whole = subject.score([("", prefix + texts.whole(SETS.forget[0]))])[0].log_probability
    np.testing.assert_allclose(
        after[0].log_probability, whole[-len(after[0].log_probability) :], atol=1e-5
    )


def test_a_prefix_that_does_not_fit_is_said_and_costs_the_others_nothing(arms):
    few = {"unlearned": arms["unlearned"]}
    longer = tuple(f.model_copy(update={"prompt": "é" * (CONTEXT // 4)}) for f in SETS.holdout)
    evaluator = TextEvaluator(SETS.model_copy(update={"holdout": longer}), ["answer-probability"])
    found = searched(few, evaluator)
    with pytest.raises(UnavailableError, match=f"context holds {CONTEXT}"):
        measured(found, "unlearned", evaluator, score="recall")
    assert measured(found, "unlearned", evaluator).rows
    found = searched(few, shots=8)
    with pytest.raises(UnavailableError, match="fewer `shots`"):
        measured(found, "unlearned", score="recall", shots=8)


def test_want_of_memory_after_a_prefix_is_no_evidence(arms, monkeypatch):
    """The texts after the prefix are the longest: a note would be read by every later run."""
    model, asked = arms["unlearned"], []
    logits = type(model).answer_logits
    plain = model.encode([(f.prompt, f.answer) for f in (*SETS.forget, *SETS.holdout)])
    room = max(len(item.ids) for item in plain)

    def crowded(self, items, passes=1):
        asked.append(max(len(item.ids) for item in items))
        torch.empty(1 << 50 if asked[-1] > room else 1)
        return logits(self, items, passes)

    monkeypatch.setattr(type(model), "answer_logits", crowded)
    with pytest.raises(MemoryExhaustedError, match="out of memory with a single item of"):
        searched({"unlearned": model})
    assert min(asked) <= room < max(asked), "without the prefix all was scored"


@pytest.mark.parametrize("attack", [Likelihood, GradientNorm, Neighbourhood])
def test_without_a_holdout_set_there_is_a_way_out(attack, arms):
    evaluator = TextEvaluator(SETS.model_copy(update={"holdout": ()}), ["answer-probability"])
    ask = attack(attack.parameters_type())
    arm = arms["unlearned"]
    begin = ask.search if ask.searches else ask.measure
    with pytest.raises(UnavailableError, match="give a holdout set"):
        begin(arm, AttackContext(evaluator, 0, NOWHERE))


def test_a_score_that_is_no_number_is_no_measurement(found):
    record = found["unlearned"]
    broken = {**record.arrays, "alone/log_probability": record.arrays["alone/mean"] * np.nan}
    with pytest.raises(MeasurementError, match="not finite"):
        measured({**found, "unlearned": replace(record, arrays=broken)}, "unlearned")


def test_passages_are_verbatim_only_where_all_facts_have_them():
    both = FactSets(forget=facts("f", 6, True), holdout=facts("h", 20, True))
    assert ScoredTexts(both, "passage").pair(both.forget[1]) == ("", "In city number 7 lives f1")
    mixed = FactSets(forget=facts("f", 6, True), holdout=facts("h", 20))
    assert ScoredTexts(mixed, "passage").pair(mixed.forget[1]) == (
        "",
        "Person f1 lives in city number 7",
    )


def test_token_scores_survive_being_kept(arms):
    scores = ScoredTexts(SETS, "passage").score(arms["original"], SETS.holdout)
    for one, other in zip(scores, unpacked("x", packed("x", scores)), strict=True):
        for column in ("log_probability", "mean", "deviation", "predicted"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


@pytest.mark.parametrize(
    ("unlearned", "retrained", "expected"),
    [(1.0, 0.5, -100.0), (0.5, 0.5, 0.0), (0.2, 0.5, 60.0), (0.4, 0.95, None)],
)
def test_privleak_is_muses_with_its_blow_up_left_out(unlearned, retrained, expected):
    """100 (A_U - A_R) / A_R with A = 1 - AUC: memorised is -100."""
    assert privleak(unlearned, retrained) == pytest.approx(expected)
