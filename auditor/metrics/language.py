"""Metrics of answers in text.

They give K of each fact from what a model said, and how surely.

Quirks of other tools that these do not share are named with each metric.
"""

import math
import re
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from auditor.core.facts import Fact
from auditor.metrics.leak_judge import given_away
from auditor.metrics.metric import Metric, Score, metric

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

    from auditor.models.language.transcript import Transcript


@metric("answer-probability")
class AnswerProbability(Metric["Transcript"]):
    """K = exp(mean log-probability per answer token) (TOFU, arXiv 2401.06121).

    Length-normalised: the geometric mean of the token probabilities. The end-of-sequence token
    is not part of the answer.
    """

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact."""
        return [Score(math.exp(s.mean_log_probability)) for s in transcript.answers]


@metric("rouge-l-recall")
class RougeLRecall(Metric["Transcript"]):
    """K = ROUGE-L recall of the greedy answer (TOFU, arXiv 2401.06121).

    It is taken against the true answer.

    Greedy and deterministic; FailureLLMUnlearning samples at temperature 0.9 without a seed.
    rouge-score sees Latin letters and digits only; an answer without any is not read, rather than
    given a zero on every arm.
    """

    generates = True
    packages = ("rouge_score", "nltk")

    @cached_property
    def _scorer(self) -> "RougeScorer":
        from rouge_score.rouge_scorer import RougeScorer  # brings in nltk, which takes seconds

        return RougeScorer(["rougeL"], use_stemmer=True)

    def prepare(self) -> None:
        """Import rouge-score."""
        self._scorer  # noqa: B018 - made once, kept

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact, with the generated answer.

        K is None where ROUGE cannot read the answer.
        """
        return [
            Score(float(self._scorer.score(expected, said)["rougeL"].recall), said)
            if _has_words(expected)
            else Score(None, said)
            for expected, said in zip(transcript.expected, transcript.greedy, strict=True)
        ]

    def readable(self, fact: Fact) -> bool:
        """Whether the answer has words that ROUGE sees."""
        return _has_words(fact.answer)


@metric("answer-recall")
class AnswerRecall(Metric["Transcript"]):
    """K = share of the answer that the greedy answer gives away.

    Whatever words stand around it do not matter.

    1 where it holds the true answer, or an accepted form of it; otherwise the recall of its
    informative words, of which names and numbers weigh more (`auditor.metrics.leak_judge`). What
    stands in the question earns nothing.
    """

    generates = True

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact, with the generated answer."""
        return [
            Score(given_away(given, answers, said), said)
            for given, answers, said in zip(
                transcript.given, transcript.accepted, transcript.greedy, strict=True
            )
        ]


@metric("truth-ratio")
class TruthRatio(Metric["Transcript"]):
    """Bounded truth ratio, K = c / (c + w) (arXiv 2401.06121).

    c is the length-normalised probability of the true answer, w that of the wrong ones. Where a
    fact has the true answer in their wording (TOFU's ``paraphrased_answer``), c is of that.

    TOFU (arXiv 2401.06121) defines the ratio w / c, which has no upper bound, and its code and its
    logs hold inverse ratios of each other; the bounded form is open-unlearning's ``prob_mean``. w
    is the geometric mean over the distractors, as in TOFU's forget quality.
    """

    needs = ("distractors",)
    chooses = True

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact; None where it has no distractors."""
        readings = []
        for right, wrong in zip(transcript.reworded, transcript.distractors, strict=True):
            if not wrong:
                readings.append(Score(None))
                continue
            log_w = float(np.mean([w.mean_log_probability for w in wrong]))
            # c / (c + w) as a logistic function: exact where both underflow
            difference = log_w - right.mean_log_probability
            readings.append(Score(float(0.5 * (1 - math.tanh(difference / 2)))))
        return readings


@metric("exact-memorisation")
class ExactMemorisation(Metric["Transcript"]):
    """K = share of answer tokens that are predicted (arXiv 2205.10770).

    Tirumala et al.; a token is predicted if it is the teacher-forced argmax.

    Every answer token counts; open-unlearning drops the last one.
    """

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact."""
        return [Score(float(s.predicted.mean())) for s in transcript.answers]


@metric("extraction-strength")
class ExtractionStrength(Metric["Transcript"]):
    """Extraction strength, K = 1 - k/T (arXiv 2012.07805).

    k of the T answer tokens must be shown before the rest T - k is the argmax throughout.

    Carlini et al. Zero where even the last token is wrong; open-unlearning's floor is 1/T, and it
    drops the last labelled token.
    """

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact."""
        return [Score(_suffix_share(s.predicted)) for s in transcript.answers]


@metric("multiple-choice")
class MultipleChoice(Metric["Transcript"]):
    """K = 1 where the true answer is the most probable choice.

    Ties share. Probabilities are length-normalised.

    The choices are the answer and the distractors, scored as continuations (as
    lm-evaluation-harness's ``acc_norm``), not as letters. Chance is 1 / (1 + distractors).
    """

    needs = ("distractors",)
    chooses = True
    closed = True

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact; None where it has no distractors."""
        readings = []
        for right, wrong in zip(transcript.answers, transcript.distractors, strict=True):
            others = [w.mean_log_probability for w in wrong]
            if not others:
                readings.append(Score(None))
            elif right.mean_log_probability < max(others):
                readings.append(Score(0.0))
            else:
                readings.append(Score(1 / (1 + others.count(right.mean_log_probability))))
        return readings


@metric("option-probability")
class OptionProbability(Metric["Transcript"]):
    """K = probability of the true answer among the choices.

    The choices are the answer and the distractors; the probabilities of whole texts are brought to
    a sum of 1. Chance is about 1 / (1 + distractors). Of letters, which are a token each, the
    greatest is lm-evaluation-harness's ``acc``.
    """

    needs = ("distractors",)
    chooses = True
    closed = True

    def read(self, transcript: "Transcript") -> list[Score]:
        """Score each fact; None where it has no distractors."""
        readings = []
        for right, wrong in zip(transcript.answers, transcript.distractors, strict=True):
            if not wrong:
                readings.append(Score(None))
                continue
            totals = [s.mean_log_probability * len(s.predicted) for s in (right, *wrong)]
            weights = [math.exp(total - max(totals)) for total in totals]
            readings.append(Score(weights[0] / math.fsum(weights)))
        return readings


def _suffix_share(predicted: np.ndarray) -> float:
    wrong = np.flatnonzero(~predicted)
    first = int(wrong[-1]) + 1 if len(wrong) else 0
    return 1 - first / len(predicted)


def _has_words(text: str) -> bool:
    return re.search(r"[a-z0-9]", text.lower()) is not None
