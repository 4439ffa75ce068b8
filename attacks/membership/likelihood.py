"""Membership by scores of token likelihoods from one forward pass."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from attacks.membership import reference_models, token_likelihood
from attacks.membership.blind_baseline import blind_baseline
from attacks.membership.family import MembershipAttack, MembershipParameters, Scores, Vector
from attacks.membership.recall_prefix import RecallPrefix
from attacks.membership.scored_texts import ScoredTexts, packed, unpacked
from auditor.attack import AttackContext, ModelPath, Preset, attack
from auditor.core.errors import MeasurementError, MemoryExhaustedError, UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Finding
from auditor.core.records import Record
from auditor.models.kind import parse_spec
from auditor.models.language.model import LanguageModel
from auditor.models.language.scoring import TokenScores
from auditor.models.manifest import Location
from auditor.models.opening import locate

ScoreName = Literal["loss", "zlib", "min-k", "min-k++", "recall", "reference", "rmia", "lira"]

_AGAINST_REFERENCES = ("reference", "rmia", "lira")


class LikelihoodParameters(MembershipParameters):
    """Settings of the likelihood scores."""

    score: ScoreName = "loss"
    """The score of a text; all scores are read from the same forward pass."""
    k: float = Field(default=0.2, gt=0, le=1)
    """Share of the tokens, the least probable ones, that Min-K% and Min-K%++ average."""
    shots: int = Field(default=4, ge=1)
    """Holdout facts, each of another entity, in ReCaLL's prefix. All facts of these entities
    are then left out of the holdout that its scores are placed among."""
    references: tuple[ModelPath, ...] = ()
    """Models besides the retrained arms that never saw the forget set, for the scores that
    compare with reference models."""
    offline_a: float = Field(default=0.33, ge=0, le=1)
    """RMIA's a: how much of a text's probability under models that saw it is ascribed to models
    that did not."""
    gamma: float = Field(default=1.0, gt=0)
    """Threshold of RMIA on the ratio of two ratios."""


@attack("membership/likelihood")
class Likelihood(MembershipAttack[LikelihoodParameters]):
    """Membership by scores of token likelihoods."""

    summary = (
        "Rank the forget facts among unseen ones by loss, zlib, Min-K%, Min-K%++, ReCaLL, RMIA, "
        "LiRA."
    )
    details = """
    A model is surer of what it was trained on. Each variant is a score of the literature,
    higher for members: `loss` (mean log-probability), `zlib` (per byte of the compressed text),
    `min-k` (mean of the k least probable tokens), `min-k++` (the same, standardised over the
    vocabulary), `recall` (how much a prefix of unseen texts takes away), `reference` (minus the
    mean log-probability under reference models), `rmia` (the share of unseen texts whose ratio
    to the reference models is lower) and `lira` (how far the logit lies above the reference
    models'). They are all read from one forward pass an arm; ReCaLL's prefix takes a second.

    K = share of the holdout facts that the fact outscores on the same arm, ties half: a model
    that never saw the forget set stays near 0.5. Placements are noisy, and small models rank
    forget facts above unseen ones or below them by chance, so membership can fail a model and
    is not asked for a PASS. K far below a retrained model's shows, too, that something
    was removed; it is reported as over-forgetting.

    Reference models are the retrained arms, and models that the plan names. A retrained arm is
    compared with the others; every other arm is compared with the retrained arms but one, each
    left out in turn, so that all arms see equally many. RMIA is the offline attack, with the
    holdout as population (a holdout fact is compared with the others of it); LiRA is offline
    too. A text's probability is exp of its mean log-probability per token. Where references
    give unseen texts little probability, `lira` ranks nearly as `reference` does, and `rmia` as
    `loss`; in an answer of a few tokens every small k means the least probable one.

    The forget and the holdout set must be of one kind. A bag-of-words classifier that sees no
    model is run on both; where it tells them apart, membership evidence is confounded, and the
    attack's self-check says so.
    """
    threat_model = "Anyone who can read token probabilities and has a guess at the text."
    access = "Log-probabilities of given texts; for `min-k++` the whole distribution of each token."
    cost = (
        "One pass over forget and holdout facts an arm, and one with ReCaLL's prefix, shared by "
        "all variants; one more for each reference model that the plan names."
    )
    leak = "Forget facts rank higher among unseen ones than they do on a retrained model."
    source = (
        "LOSS arXiv 1709.01604, zlib and reference 2012.07805, Min-K% 2310.16789, Min-K%++ "
        "2404.02936, ReCaLL 2406.15968, RMIA 2312.03262, LiRA 2112.03570; formulas as in MIMIR "
        "(2402.07841), placements in MUSE's setting (2407.06460)."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = LikelihoodParameters
    presets = (
        Preset("loss", {"score": "loss"}),
        Preset("min-k 20%", {"score": "min-k"}),
        Preset("min-k++ 20%", {"score": "min-k++"}),
        Preset("recall", {"score": "recall"}),
        Preset("reference", {"score": "reference"}),
        Preset("zlib", {"score": "zlib"}, "exhaustive"),
        Preset("min-k 40%", {"score": "min-k", "k": 0.4}, "exhaustive"),
        Preset("min-k++ 40%", {"score": "min-k++", "k": 0.4}, "exhaustive"),
        Preset("rmia", {"score": "rmia"}, "exhaustive"),
        Preset("lira", {"score": "lira"}, "exhaustive"),
    )
    searches = True

    @property
    def variant(self) -> str:
        """The score, with its k."""
        score = self.parameters.score
        if score in ("min-k", "min-k++"):
            score = f"{score} {100 * self.parameters.k:g}%"  # type: ignore[assignment]
        return self.named_by_text(score)

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of both sets, once plain and once after the prefix."""
        return (2 + self.parameters.shots + len(self.parameters.references)) * evaluation

    def search_parameters(self) -> dict[str, Any]:
        """Parameters of the forward pass; the score is not among them."""
        return self.parameters.model_dump(mode="json", include={"text", "shots", "references"})

    def inputs(self) -> Mapping[str, str]:
        """Digests of the reference models' files, and zlib's version.

        Raises:
            AuditorError: a reference model is not there, or is not safe to load.
        """
        digests = {name: where.manifest.digest for name, where in self._references.items()}
        return {**super().inputs(), **digests, "zlib": zlib.ZLIB_RUNTIME_VERSION}

    def search(self, model: LanguageModel, context: AttackContext) -> Record:
        """Token scores of both sets by the arm and by reference models.

        Raises:
            UnavailableError: there is no holdout set, or a reference model is the arm itself.
        """
        evaluator = context.evaluator
        texts = ScoredTexts(evaluator.sets, self.parameters.text)
        facts = (*evaluator.sets.forget, *evaluator.sets.holdout)
        arrays = packed("alone", texts.score(model, facts))
        prefix = RecallPrefix(texts, evaluator.sets, self.parameters.shots)
        absent = prefix.unavailable()
        if absent is None:
            try:
                arrays |= packed("after prefix", texts.score_after(model, facts, prefix.text))
            except MemoryExhaustedError:  # of this machine, at this time
                raise
            except MeasurementError as error:  # too long with it; the other scores stand
                absent = f"after ReCaLL's prefix the facts cannot be scored: {error}"
        for name, where in self._references.items():
            if model.has_weights_of(where.manifest):
                raise UnavailableError(
                    f"the reference model {where.model} is one of the audited models; give a "
                    "model that never saw the forget set and is not audited"
                )
            arrays |= packed(name, _scored_by(where, model, texts, facts))
        notes = {"blind": blind_baseline(evaluator.sets, texts), "no recall": absent}
        return Record(notes=notes, arrays=arrays)

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Scores out of the pooled token scores, without another forward pass.

        Raises:
            UnavailableError: there are too few reference models, or ReCaLL's prefix did not fit.
        """
        sets = context.facts
        texts = ScoredTexts(sets, self.parameters.text)
        own = next(finding for finding in context.pool if finding.own)
        notes: dict[str, Any] = {"score": self.parameters.score, "blind": own.record.notes["blind"]}
        holdout = list(range(len(sets.holdout)))
        if self.parameters.score in _AGAINST_REFERENCES:
            scores = list(self._against_references(own, context.pool, len(sets.forget)))
            notes["reference_sets"] = len(scores)
        elif self.parameters.score == "recall":
            if (why := own.record.notes["no recall"]) is not None:
                raise UnavailableError(why)
            prefix = RecallPrefix(texts, sets, self.parameters.shots)
            holdout = [i for i in holdout if sets.holdout[i].entity not in prefix.models]
            after = unpacked("after prefix", own.record.arrays)
            alone = unpacked("alone", own.record.arrays)
            both = zip(alone, after, strict=True)
            values = [token_likelihood.recall(one, other) for one, other in both]
            scores = [_parted(values, len(sets.forget), holdout)]
            notes["prefix"] = list(prefix.facts)
        else:
            facts = (*sets.forget, *sets.holdout)
            both_ = zip(unpacked("alone", own.record.arrays), facts, strict=True)
            values = [self._alone(tokens, texts.scored(fact)) for tokens, fact in both_]
            scores = [_parted(values, len(sets.forget), holdout)]
        return self.record(sets.forget, [sets.holdout[i] for i in holdout], scores, notes)

    def _alone(self, tokens: TokenScores, text: str) -> float:
        """A score that needs nothing but the text's own tokens."""
        match self.parameters.score:
            case "zlib":
                return token_likelihood.zlib_ratio(tokens, text)
            case "min-k":
                return token_likelihood.min_k(tokens, self.parameters.k)
            case "min-k++":
                return token_likelihood.min_k_plus_plus(tokens, self.parameters.k)
            case _:
                return token_likelihood.loss(tokens)

    def _against_references(
        self, own: Finding, pool: Sequence[Finding], forget: int
    ) -> Iterator[Scores]:
        """Scores of the arm against each of its sets of references."""
        score = self.parameters.score
        retrained = [finding for finding in pool if finding.arm.is_retrained]
        known = {str(f.arm): _log_likelihoods("alone", f.record) for f in retrained}
        known |= {name: _log_likelihoods(name, own.record) for name in self._references}
        mine = _log_likelihoods("alone", own.record)
        for names in reference_models.reference_sets(
            own.arm,
            [finding.arm for finding in retrained],
            tuple(self._references),
        ):
            out = np.stack([known[name] for name in names])
            if score == "rmia":
                ratios = reference_models.rmia_ratio(mine, out, self.parameters.offline_a)
                population, gamma = ratios[forget:], self.parameters.gamma
                yield Scores(
                    reference_models.rmia(ratios[:forget], population, gamma),
                    reference_models.rmia(population, population, gamma, same=True),
                )
            else:
                compared = reference_models.lira if score == "lira" else reference_models.ratio
                values = compared(mine, out)
                yield Scores(values[:forget], values[forget:])

    @cached_property
    def _references(self) -> dict[str, Location]:
        return {
            f"reference-{index}": locate(parse_spec(path))
            for index, path in enumerate(self.parameters.references)
        }


def _parted(values: Sequence[float], forget: int, holdout: Sequence[int]) -> Scores:
    return Scores(
        np.array(values[:forget], dtype=np.float64),
        np.array([values[forget + index] for index in holdout], dtype=np.float64),
    )


def _log_likelihoods(name: str, record: Record) -> Vector:
    """Mean log-probability per token of every text of a record."""
    return np.array([scores.mean_log_probability for scores in unpacked(name, record.arrays)])


def _scored_by(
    where: Location, model: LanguageModel, texts: ScoredTexts, facts: Sequence[Fact]
) -> list[TokenScores]:
    """Token scores by a reference model.

    It is opened beside the arm and as the arm was.
    """
    reference = model.opened_alike(where)
    try:
        return texts.score(reference, facts)
    finally:
        reference.close()
