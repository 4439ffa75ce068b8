"""Membership by comparison of a text with similar texts."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from pydantic import Field

from attacks.membership.blind_baseline import blind_baseline
from attacks.membership.family import MembershipAttack, MembershipParameters, Scores
from attacks.membership.neighbours import corpus_neighbours, masked_neighbours
from attacks.membership.scored_texts import ScoredTexts
from auditor.attack import AttackContext, ModelPath, Preset, attack
from auditor.core.facts import Fact
from auditor.core.records import Record
from auditor.models.language.files import locate_checkpoint
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location


class NeighbourhoodParameters(MembershipParameters):
    """Settings of the neighbourhood comparison."""

    neighbours: int = Field(default=20, ge=1)
    """Number of neighbours of each text."""
    mask_model: ModelPath | None = None
    """A masked language model (BERT) that proposes the words. Without one they are words of the
    retain and holdout facts that are written alike."""


@attack("membership/neighbourhood")
class Neighbourhood(MembershipAttack[NeighbourhoodParameters]):
    """Membership by comparison with neighbouring texts."""

    summary = (
        "Rank the forget facts among unseen ones by how much likelier each is than its neighbours."
    )
    details = """
    A neighbour is the text with a few words replaced. The score is the text's mean
    log-probability minus the mean of its neighbours', so a text that is easy for any model does
    not pass for a member. The paper lets a masked language model propose the words: give one as
    `mask_model`. Without it they are taken from the retain and holdout facts, among words that
    are written alike (capitals, digits, the last sign); such neighbours are less fluent, which
    weakens the comparison on every arm alike. Every arm is shown the same neighbours.

    K = share of the holdout facts that the fact outscores on the same arm, ties half; 0.5 is
    chance. See `membership/likelihood` for how placements are to be read.
    """
    threat_model = "Anyone who can read token probabilities and has a guess at the text."
    access = "Log-probabilities of given texts."
    cost = "One pass over forget and holdout facts with all their neighbours."
    leak = (
        "Forget facts stand out from their neighbours as unseen facts do not, and as they do not "
        "on a retrained model."
    )
    source = "arXiv 2305.18462."

    parameters_type = NeighbourhoodParameters
    presets = (Preset("20 neighbours", {"neighbours": 20}),)

    @property
    def variant(self) -> str:
        """Number of neighbours, and where their words come from."""
        proposed = " of a masked model" if self.parameters.mask_model else ""
        return self.named_by_text(f"{self.parameters.neighbours} neighbours{proposed}")

    def forward_tokens(self, evaluation: int) -> int:
        """Both sets with all neighbours."""
        return (1 + self.parameters.neighbours) * evaluation

    def inputs(self) -> Mapping[str, str]:
        """Digest of the masked model's files.

        Raises:
            AuditorError: it is not there, or is not safe to load.
        """
        masked = {"mask_model": self._masked.manifest.digest} if self._masked else {}
        return {**super().inputs(), **masked}

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Score every text and its neighbours.

        Raises:
            UnavailableError: there is no holdout set.
        """
        sets = context.facts
        texts = ScoredTexts(sets, self.parameters.text)
        facts = (*sets.forget, *sets.holdout)
        pairs = [texts.pair(fact) for fact in facts]
        around = self._neighbours(texts, facts, (*sets.retain, *sets.holdout), context.seed)
        shown = [(given, n) for (given, _), found in zip(pairs, around, strict=True) for n in found]
        scores = [s.mean_log_probability for s in model.score([*pairs, *shown])]
        alone, others = np.array(scores[: len(facts)]), np.array(scores[len(facts) :])
        values = alone - others.reshape(len(facts), self.parameters.neighbours).mean(axis=1)
        split = Scores(values[: len(sets.forget)], values[len(sets.forget) :])
        notes = {"blind": blind_baseline(sets, texts)}
        return self.record(sets.forget, sets.holdout, [split], notes)

    def _neighbours(
        self, texts: ScoredTexts, facts: Sequence[Fact], others: Sequence[Fact], seed: int
    ) -> list[list[str]]:
        scored = [texts.scored(fact) for fact in facts]
        if self._masked is not None:
            return masked_neighbours(scored, self._masked.model, self.parameters.neighbours)
        corpus = [texts.scored(fact) for fact in others]
        return corpus_neighbours(scored, corpus, self.parameters.neighbours, seed)

    @cached_property
    def _masked(self) -> Location | None:
        path = self.parameters.mask_model
        return locate_checkpoint(path) if path else None
