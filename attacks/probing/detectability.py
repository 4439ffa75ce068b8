"""Telling an unlearned model from others by how it reads unrelated texts."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from attacks.quantization.calibration import generic_texts
from attacks.relearning.family import spread
from auditor.attack import Attack, AttackContext, Parameters, Preset, Requirements, attack
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.findings import Finding, SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record, Row
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel
from auditor.models.language.scoring import TokenScores
from auditor.statistics.roc import Area, area_under_curve

Floats = npt.NDArray[np.float64]

FOLDS = 5
"""Parts of the texts; a classifier is fitted on all but one of them."""
LEAST_TEXTS = 40
"""Texts below which a classifier is not fitted."""
_SENTENCES = 1
"""Everyday sentences in a generated text, short enough for any model's context."""
_QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles over a text's tokens that are among its statistics."""


class DetectabilityParameters(Parameters):
    """Settings of the classifier."""

    data: Literal["generic", "retain"] = "generic"
    """Texts on which models are told apart: generated everyday sentences, or the retain facts."""
    texts: int = Field(default=256, ge=LEAST_TEXTS)
    """Texts, at most."""


@attack("probing/detectability")
class Detectability(Attack[DetectabilityParameters, LanguageModel]):
    """Classifier that tells two arms apart by unrelated texts."""

    summary = "Tell the model from the original and from retrained ones by texts unrelated to it."
    details = """
    Every arm reads the same texts, which have nothing to do with the forget set, and of each the
    statistics of its log-probabilities are kept: mean, deviation, least and quantiles over the
    tokens, the same of the entropy, the share of tokens that were predicted, and the first one's.
    For each pair of arms a logistic regression learns from four fifths of the texts which of the
    two read them, and says it of the last fifth, in turn. Of a text that is asked, the statistics
    of one of the two models alone are shown, so that AUC is over texts that are independent.

    AUC near 0.5: nobody sees from these texts which of the two models it is. Near 1: everybody
    with log-probabilities does. Compare the unlearned model against the original with the retrained
    ones against the original: any training leaves traces, and what the unlearned model shows beyond
    is the trace of unlearning. Who sees it knows that something was removed and that asking on is
    worth while; it is no knowledge of what, so nothing is decided by it. K is, for a forget fact,
    the share of other arms from which the same classifiers tell the arm by its reading of that
    fact: half is chance.
    """
    threat_model = (
        "Somebody who wants to know whether a model was made to forget something, without knowing "
        "what."
    )
    access = "Log-probabilities of given texts."
    cost = "One pass over up to 256 short texts and the forget facts; regressions on a processor."
    leak = (
        "The unlearned model is told from the original more surely than retrained models are: it "
        "shows that it was made to forget."
    )
    source = (
        "Unlearning leaves traces that a classifier sees on unrelated prompts: arXiv 2506.14003, "
        "known to the authors of this tool from its abstract alone; it classifies generated texts "
        "and activations, this tool statistics of log-probabilities."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = DetectabilityParameters
    presets = (
        Preset("generic"),
        Preset("retain", {"data": "retain"}, "exhaustive"),
    )
    requires = Requirements(packages=("sklearn",))
    searches = True
    metric = "told-apart"
    decides = False

    @property
    def variant(self) -> str:
        """The texts, and an unusual number of them."""
        p, usual = self.parameters, DetectabilityParameters()
        return p.data + (f" {p.texts} texts" if p.texts != usual.texts else "")

    def texts(self) -> Sequence[str]:
        """The everyday sentences, where they are read."""
        if self.parameters.data == "retain":
            return ()
        return generic_texts(self.parameters.texts, _SENTENCES)

    def forward_tokens(self, evaluation: int) -> int:
        """The texts and the forget facts, once."""
        return 2 * evaluation

    def search(self, model: LanguageModel, context: AttackContext) -> Record:
        """Read the texts and the forget facts, and keep their statistics.

        Raises:
            UnavailableError: There are too few texts.
        """
        pairs = self._pairs(context.evaluator)
        forget = [(fact.prompt, fact.answer) for fact in context.facts.forget]
        return Record(
            arrays={
                "texts": statistics(model.score(pairs)),
                "forget": statistics(model.score(forget)),
            }
        )

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Tell the arm from every other one.

        Raises:
            UnavailableError: There is no other arm.
            MeasurementError: The pool lacks what was found on this arm.
        """
        own = next((finding for finding in context.pool if finding.own), None)
        if own is None:
            raise MeasurementError("the pool lacks what was found on the measured arm")
        others = [finding for finding in context.pool if finding.arm != own.arm]
        if not others:
            raise UnavailableError("there is no other model that this one could be told from")
        found = {str(other.arm): told_apart(own, other) for other in others}
        told = np.mean([right for _, right in found.values()], axis=0)
        rows = tuple(
            Row("forget", fact.id, fact.entity, str(self.metric), float(k), None)
            for fact, k in zip(context.facts.forget, told, strict=True)
        )
        areas = {
            arm: {"value": area.value, "lower": area.lower, "upper": area.upper}
            for arm, (area, _) in found.items()
        }
        return Record(
            rows=rows,
            notes={"areas": areas, "texts": len(own.record.arrays["texts"])},
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """AUC of each arm against every other one."""
        return tuple(
            SideFigure(
                "told_apart_auc",
                arm,
                area["value"],
                area["lower"],
                area["upper"],
                against=other,
                remarks=tuple(_remarks(noted["texts"], area)),
            )
            for arm, noted in notes.items()
            for other, area in noted.get("areas", {}).items()
        )

    def _pairs(self, evaluator: TextEvaluator) -> list[tuple[str, str]]:
        """The texts, alike on every arm."""
        p = self.parameters
        pairs = (
            [("", text) for text in self.texts()]
            if p.data == "generic"
            else [(fact.prompt, fact.answer) for fact in spread(evaluator.sets.retain, p.texts)]
            if evaluator.sets.retain
            else []
        )
        if len(pairs) < LEAST_TEXTS:
            raise UnavailableError(
                f"there are {len(pairs)} texts, and a classifier takes {LEAST_TEXTS}; give more "
                "retain facts, or `data: generic`"
            )
        return pairs


def statistics(scores: Sequence[TokenScores]) -> Floats:
    """Statistics of a model's log-probabilities of some texts, [texts, statistics].

    Args:
        scores: of each text, token by token.
    """
    return np.array([_of_text(score) for score in scores], dtype=np.float64)


def told_apart(own: Finding, other: Finding) -> tuple[Area, Floats]:
    """Tell an arm from another one by cross-fitted logistic regression.

    Args:
        own: statistics of the arm, class 1.
        other: those of the other arm.

    Returns:
        AUC over the texts (each shown as one of the two arms read it, in turn; DeLong's interval),
        and of each forget fact whether most of the classifiers take the arm's reading for its own
        (0.5 where they are even), [facts].
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mine, theirs = (_wide(found, "texts") for found in (own, other))
    forget = _wide(own, "forget")
    count = len(mine)
    order = np.random.default_rng(0).permutation(count)
    scores = np.empty(count)
    is_mine = np.empty(count, dtype=bool)
    is_mine[order] = np.arange(count) // FOLDS % 2 == 0
    votes = []
    for fold in range(FOLDS):
        asked, given = order[fold::FOLDS], np.delete(order, np.s_[fold::FOLDS])
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        labels = np.repeat([1, 0], len(given))
        classifier.fit(np.concatenate([mine[given], theirs[given]]), labels)
        shown = np.where(is_mine[asked, None], mine[asked], theirs[asked])
        scores[asked] = classifier.decision_function(shown)
        votes.append(np.sign(classifier.decision_function(forget)))
    area = area_under_curve(scores[is_mine], scores[~is_mine])
    return area, (np.sign(np.sum(votes, axis=0)) + 1.0) / 2.0


def _wide(found: Finding, name: str) -> Floats:
    return np.asarray(found.record.arrays[name], dtype=np.float64)


def _of_text(score: TokenScores) -> list[float]:
    log_p = score.log_probability.astype(np.float64)
    entropy = -score.mean.astype(np.float64)
    return [
        *(
            value
            for each in (log_p, entropy)
            for value in (each.mean(), each.std(), *np.quantile(each, _QUANTILES))
        ),
        log_p.min(),
        log_p[0],
        entropy[0],
        float(score.deviation.mean()),
        float(score.predicted.mean()),
    ]


def _remarks(texts: int, area: Mapping[str, Any]) -> Sequence[Message]:
    remarks = [message("told_apart_on_texts", texts=texts)]
    if area["lower"] is None:
        remarks.append(message("no_interval_without_variance"))
    return remarks
