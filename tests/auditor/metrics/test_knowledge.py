"""Metrics against cases worked out by hand, published values, and their bounds."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets
from auditor.metrics.metric import METRICS, find_metric
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.scoring import TokenScores
from auditor.models.language.transcript import SPARE_TOKENS, Transcript


def scores(*probabilities, predicted=None):
    """Scores of an answer whose tokens have these probabilities."""
    log_p = np.log(np.array(probabilities)).astype(np.float32)
    hit = np.array(predicted if predicted is not None else [False] * len(log_p), dtype=bool)
    return TokenScores(log_p, np.zeros_like(log_p), np.ones_like(log_p), hit)


def transcript(answers, distractors=None, expected=None, greedy=None):
    return SimpleNamespace(
        answers=answers,
        reworded=answers,
        distractors=distractors or [[]] * len(answers),
        expected=expected,
        greedy=greedy,
    )


def k(metric, *case, **options):
    (reading,) = METRICS.get(metric)().read(transcript(*case, **options))
    return reading.k


@pytest.mark.parametrize(
    ("predicted", "exact", "strength"),
    [
        ([1, 1, 1, 1], 1.0, 1.0),  # nothing needs to be shown
        ([0, 1, 1, 1], 0.75, 0.75),  # one token of four
        ([1, 0, 1, 1], 0.75, 0.5),  # up to and with the wrong one
        ([1, 1, 1, 0], 0.75, 0.0),  # even the last one is wrong
        ([0, 0, 0, 0], 0.0, 0.0),
        ([0, 1, 0, 1, 1], 0.6, 0.4),
        ([1], 1.0, 1.0),
        ([0], 0.0, 0.0),
    ],
)
def test_exact_memorisation_and_extraction_strength(predicted, exact, strength):
    answer = scores(*[0.5] * len(predicted), predicted=predicted)
    assert k("exact-memorisation", [answer]) == pytest.approx(exact)
    assert k("extraction-strength", [answer]) == pytest.approx(strength)


def test_answer_probability_is_a_geometric_mean():
    assert k("answer-probability", [scores(0.9, 0.4)]) == pytest.approx(0.6)
    assert k("answer-probability", [scores(0.25)]) == pytest.approx(0.25)
    assert k("answer-probability", [scores(1.0, 1.0)]) == 1.0


def test_truth_ratio_compares_with_the_geometric_mean_of_wrong_answers():
    """c = 0.6; w = sqrt(0.4 * 0.1) = 0.2; c / (c + w) = 0.75."""
    wrong = [scores(0.8, 0.2), scores(0.1)]
    assert k("truth-ratio", [scores(0.9, 0.4)], [wrong]) == pytest.approx(0.75)
    assert k("truth-ratio", [scores(0.3)], [[scores(0.3)]]) == pytest.approx(0.5)


def test_truth_ratio_is_exact_where_both_probabilities_underflow():
    """e^-2000 against e^-2001: 1 / (1 + 1/e)."""

    def of(log_p):
        one = np.full(1, log_p, dtype=np.float32)
        return TokenScores(one, one, one, np.zeros(1, dtype=bool))

    expected = 1 / (1 + np.exp(-1))
    assert k("truth-ratio", [of(-2000)], [[of(-2001)]]) == pytest.approx(expected, abs=1e-4)
    assert k("truth-ratio", [of(-1)], [[of(-9000)]]) == 1.0
    assert k("truth-ratio", [of(-9000)], [[of(-1)]]) == 0.0


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        (0.5, [0.4, 0.3], 1.0),
        (0.4, [0.5, 0.3], 0.0),
        (0.5, [0.5, 0.3], 0.5),
        (0.5, [0.5, 0.5], 1 / 3),
        (0.4, [0.5, 0.4], 0.0),
    ],
)
def test_multiple_choice_shares_ties(right, wrong, expected):
    choices = [scores(w) for w in wrong]
    assert k("multiple-choice", [scores(right)], [choices]) == pytest.approx(expected)


def test_multiple_choice_is_normalised_by_length():
    """A long right answer (0.6 a token) beats a short wrong one (0.5)."""
    assert k("multiple-choice", [scores(0.6, 0.6, 0.6)], [[scores(0.5)]]) == 1.0


@pytest.mark.parametrize("metric", ["truth-ratio", "multiple-choice"])
def test_without_distractors_nothing_is_read(metric):
    assert k(metric, [scores(0.5)]) is None
    bare = Fact(id="a", entity="s", prompt="p", answer="x")
    assert not METRICS.get(metric)().readable(bare)
    assert METRICS.get(metric)().readable(bare.model_copy(update={"distractors": ("y",)}))


def rouge(truth, said):
    case = transcript([], expected=[truth], greedy=[said])
    return METRICS.get("rouge-l-recall")().read(case)[0]


@pytest.mark.parametrize(
    ("truth", "said", "expected"),
    [
        # rouge-score's own example: LCS "the quick brown jumps the" of 9 words
        (
            "The quick brown fox jumps over the lazy dog",
            "The quick brown dog jumps on the log.",
            5 / 9,
        ),
        ("the cat sat", "the cat sat on the mat", 1.0),
        ("the cat sat", "", 0.0),
        ("a b c d", "d c b a", 1 / 4),
        ("He was running", "he RUNS!", 2 / 3),  # stems agree
        ("one two three four", "one, four; three", 1 / 2),
    ],
)
def test_rouge_l_recall_of_worked_examples(truth, said, expected):
    assert rouge(truth, said).k == pytest.approx(expected)
    assert rouge(truth, said).answer == said


@pytest.mark.parametrize("model", ["full_wd0.01", "full_wd0", "retain90_wd0.01", "retain90_wd0"])
def test_rouge_l_recall_of_published_tofu_answers(model, shared_data):
    """TOFU's own logs hold generated answer, true answer and their ROUGE-L recall.

    Our copy of the generated texts is cut to 400 characters. Short answers (authors and world
    facts) come before the cut in all rows but one; of the long ones most do.
    """
    log = json.loads((shared_data / "logs" / f"ft_epoch5_lr2e-05_phi_{model}.json").read_text())
    agree = {}
    for name, part in log.items():
        agree[name] = [
            abs(rouge(truth, said).k - part["rougeL_recall"][index]) < 1e-9
            for index, (_, said, truth) in part["generated_text"].items()
        ]
    assert sum(agree["eval_real_author_wo_options.json"]) >= 99
    assert sum(agree["eval_real_world_wo_options.json"]) >= 116
    assert sum(agree["eval_log_forget.json"]) >= 200
    assert sum(agree["eval_log.json"]) >= 280


def test_answers_that_rouge_cannot_read_are_missing_not_zero():
    """rouge-score sees Latin letters and digits only: nothing of "東京" could ever be recalled."""
    metric = METRICS.get("rouge-l-recall")()
    tokyo = Fact(id="a", entity="s", prompt="p", answer="東京")
    assert rouge("東京", "東京").k is None
    assert not metric.readable(tokyo)
    assert metric.readable(tokyo.model_copy(update={"answer": "Tokyo 東京"}))


probabilities = st.lists(st.floats(1e-30, 1), min_size=1, max_size=8)
answers = probabilities.flatmap(
    lambda p: st.lists(st.booleans(), min_size=len(p), max_size=len(p)).map(
        lambda hit: scores(*p, predicted=hit)
    )
)


@settings(deadline=None)
@given(st.lists(st.tuples(answers, st.lists(answers, max_size=4)), min_size=1, max_size=4))
def test_k_is_always_between_zero_and_one(cases):
    given_ = transcript([a for a, _ in cases], [wrong for _, wrong in cases])
    for metric in (METRICS.get(name) for name in TEXT if not METRICS.get(name).generates):
        for reading, (_, wrong) in zip(metric().read(given_), cases, strict=True):
            if metric.needs and not wrong:
                assert reading.k is None
            else:
                assert 0 <= reading.k <= 1


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1).filter(str.strip), st.text())
def test_rouge_is_always_between_zero_and_one(truth, said):
    reading = rouge(truth, said)
    assert reading.k is None or 0 <= reading.k <= 1


FACTS = tuple(
    Fact(
        id=f"f{i}",
        entity=f"s{i}",
        prompt=f"Person {i} lives in",
        answer=f"city number {i * 7}",
        distractors=("city number 3", "the lazy dog") if i % 2 else (),
    )
    for i in range(4)
)


TEXT = tuple(name for name, metric in METRICS if metric.reads == "text")


def cost(subject, *metrics):
    before = subject.meter.forward_tokens
    TextEvaluator(FactSets(forget=FACTS), metrics).evaluate(subject, ["forget"])
    return subject.meter.forward_tokens - before


def test_metrics_that_need_the_same_scores_share_one_pass(subject):
    one = cost(subject, "answer-probability")
    assert one > 0
    assert cost(subject, "answer-probability", "exact-memorisation", "extraction-strength") == one
    choices = cost(subject, "multiple-choice") - one
    assert choices > 0
    assert cost(subject, "truth-ratio", "multiple-choice", "answer-probability") == one + choices
    generated = cost(subject, "rouge-l-recall")
    assert cost(subject, *TEXT) == one + choices + generated


@pytest.mark.parametrize("name", TEXT)
def test_metrics_say_what_they_make_a_model_do(subject, name):
    """What a plan's cost is estimated from is what happens."""
    metric = METRICS.get(name)
    plain = cost(subject, "answer-probability")
    choices = cost(subject, "multiple-choice") - plain
    spent = cost(subject, name)
    if metric.generates:
        assert spent == cost(subject, "rouge-l-recall") != plain
    else:
        assert spent == plain + (choices if metric.chooses else 0)


def test_a_metric_is_found_for_what_models_answer_in():
    assert find_metric("concept", "image").name == "concept"
    with pytest.raises(AuditorError, match=r"reads image, and these .* text; .*truth-ratio"):
        find_metric("concept", "text")
    with pytest.raises(AuditorError, match="Did you mean truth-ratio"):
        find_metric("truthratio", "text")


def test_the_evaluator_reads_every_fact_with_every_metric(subject):
    rows = TextEvaluator(FactSets(forget=FACTS[:2], retain=FACTS[2:]), TEXT).evaluate(subject)
    read = {(row.set, row.fact, row.metric) for row in rows}
    assert len(read) == len(rows) == 4 * 5 + 2 * 3  # two facts have no distractors
    assert ("forget", "f1", "truth-ratio") in read
    assert ("forget", "f0", "truth-ratio") not in read
    assert all(0 <= row.k <= 1 for row in rows)
    said = {row.fact for row in rows if row.answer is not None}
    assert said == {"f0", "f1", "f2", "f3"}
    by_hand = {
        fact.id: float(np.exp(score.mean_log_probability))
        for fact, score in zip(
            FACTS, subject.score([(f.prompt, f.answer) for f in FACTS]), strict=True
        )
    }
    for row in rows:
        if row.metric == "answer-probability":
            assert row.k == pytest.approx(by_hand[row.fact], rel=1e-4)


def test_a_rewritten_question_is_asked_and_the_fact_keeps_its_name(subject):
    evaluator = TextEvaluator(FactSets(forget=FACTS), ["answer-probability"])
    plain = evaluator.evaluate(subject, ["forget"])
    other = evaluator.evaluate(
        subject, ["forget"], lambda fact: fact.model_copy(update={"prompt": "Where?"})
    )
    assert [row.fact for row in plain] == [row.fact for row in other]
    assert all(a.k != b.k for a, b in zip(plain, other, strict=True))
    assert evaluator.evaluate(subject, ["retain", "holdout"]) == ()


def test_the_greedy_answer_may_be_longer_than_the_longest_true_one(subject):
    longest = max(subject.answer_length(f.prompt, f.answer) for f in FACTS)
    steps = []
    subject.network.register_forward_pre_hook(lambda module, args: steps.append(1))
    subject.network.generation_config.eos_token_id = 399  # as good as never said
    assert len(Transcript(subject, FACTS).greedy) == len(FACTS)
    assert len(steps) == longest + SPARE_TOKENS


def test_an_unknown_probe_is_refused_with_a_suggestion():
    with pytest.raises(AuditorError, match="Did you mean extraction-strength"):
        TextEvaluator(FactSets(forget=FACTS), ["extraction-strenght"])


def test_truth_ratio_compares_answers_in_one_wording():
    asked = transcript([scores(0.9)], [[scores(0.2)]])
    asked.reworded = [scores(0.6)]
    (reading,) = METRICS.get("truth-ratio")().read(asked)
    assert reading.k == pytest.approx(0.6 / (0.6 + 0.2))
