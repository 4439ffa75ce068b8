"""Base of searched prompts: searched on some facts, measured on others."""

import random
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, model_validator

from auditor.attack import Attack, AttackContext, Footprint, Parameters
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import Finding, SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row, strongest
from auditor.data.folds import Fold, SplitBy, folds
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language.evaluator import Asking, TextEvaluator
from auditor.statistics.effect import effect_note

_SUBJECTS = 10
"""Subjects that the estimate of the cost takes a search for each entity to have."""


Pairs = Sequence[tuple[str, str]]
"""Prompts with their true answers."""


class Use(NamedTuple):
    """A prompt that was found, and whom it is tried on."""

    found: Record
    part: int
    """Number of the part that it was found for."""
    only: Collection[str]
    """Ids of the facts that are asked."""


class CrossFittedParameters(Parameters):
    """Settings of every searched prompt."""

    split: SplitBy = "attribute"
    """`attribute`: searched on some facts of every entity and measured on its other facts;
    `entity`: searched on some entities and measured on the others."""
    scope: Literal["universal", "per-entity"] = "universal"
    """One prompt for all facts that are asked together, or one for each entity (which needs
    `split: attribute`)."""
    folds: int = Field(default=2, ge=2)
    """Parts of the forget set; each part is measured with prompts searched on the others."""
    phrasings: int = Field(default=2, ge=1)
    """Ways in which each given fact is asked in the search: its prompt, then its paraphrases."""
    stop_loss: float = Field(default=0.05, ge=0)
    """Search loss, in nats per token, at which the search ends."""

    @model_validator(mode="after")
    def _entities_whole(self) -> Self:
        if self.scope == "per-entity" and self.split == "entity":
            raise ValueError("a search per-entity splits each entity's facts: `split: attribute`")
        return self


P = TypeVar("P", bound=CrossFittedParameters)


class CrossFittedSearch(Attack[P, CausalLM]):
    """Attack that searches prompts on a part of the forget set.

    All arms' prompts are measured on the rest.

    K of a fact is the strongest of its plain prompt and of every arm's prompt that was searched
    without it.
    """

    seeded = True
    searches = True
    effect = "search_loss"

    @abstractmethod
    def search_part(
        self,
        model: CausalLM,
        pairs: Sequence[Pairs],
        context: AttackContext,
    ) -> Record:
        """Search one prompt for each part on one arm.

        Args:
            model: the arm.
            pairs: for each part, prompts and true answers of its given facts.
            context: Seed and progress.

        Returns:
            What :meth:`evaluated` needs, with the losses before and after the search of each part
            in the notes (``loss_before``, ``loss_after``).
        """

    @abstractmethod
    def evaluated(
        self, model: CausalLM, evaluator: TextEvaluator, uses: Sequence[Use]
    ) -> list[tuple[Row, ...]]:
        """Ask forget facts under prompts that were found, each use its rows.

        Args:
            model: The model that is asked.
            evaluator: What asks it.
            uses: Prompts and the facts that are asked under them.
        """

    @abstractmethod
    def search_tokens(self) -> int:
        """Estimated tokens through the model in the search of one part."""

    def wording(self, facts: Sequence[Fact]) -> Callable[[Fact], Fact]:
        """How facts are searched with and asked, by default as they stand."""
        return lambda fact: fact

    def comparable(self, model: CausalLM, pool: Sequence[Finding]) -> Sequence[Finding]:
        """Return the findings with which this arm is measured."""
        return pool

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of the search, and of six evaluations of the forget set."""
        parts = self.parameters.folds
        if self.parameters.scope == "per-entity":
            parts *= _SUBJECTS
        return parts * self.search_tokens() + 3 * evaluation

    @property
    def footprint(self) -> Footprint:
        """States of one batch with gradients, and the embeddings in float32."""
        return Footprint(backward=self.searched_at_once(), embeddings=4.0)

    def searched_at_once(self) -> int:
        """Estimated tokens of one batch of the search, by default 0."""
        return 0

    def parts(self, facts: Sequence[Fact]) -> tuple[Fold, ...]:
        """Folds of the forget set; every fact is asked in exactly one.

        Raises:
            UnavailableError: the facts cannot be split so.
        """
        split, count = self.parameters.split, self.parameters.folds
        try:
            if self.parameters.scope == "universal":
                return folds(facts, split, count)
            groups = [
                [f for f in facts if f.entity == s] for s in dict.fromkeys(f.entity for f in facts)
            ]
            return tuple(fold for group in groups for fold in folds(group, "attribute", count))
        except ValueError as error:
            other = "entity" if split == "attribute" else "attribute"
            way = f"use `scope: universal` with `split: {other}`, or fewer `folds`"
            raise UnavailableError(f"{error}; {way}") from error

    def search(self, model: CausalLM, context: AttackContext) -> Record:
        """Search a prompt for each part, on the given facts alone."""
        worded = self.wording(context.facts.forget)
        pairs = [
            [
                (prompt, fact.answer)
                for fact in map(worded, part.given)
                for prompt in (fact.prompt, *fact.paraphrases)[: self.parameters.phrasings]
            ]
            for part in self.parts(context.facts.forget)
        ]
        return self.search_part(model, pairs, context)

    def measure(self, model: CausalLM, context: AttackContext) -> Record:
        """Ask each fact plainly and with prompts searched without it."""
        evaluator = context.evaluator
        parts = self.parts(evaluator.sets.forget)
        plain = evaluator.evaluate(model, ("forget",))
        findings = self.comparable(model, context.pool)
        uses = [
            Use(finding.record, index, {f.id for f in part.asked})
            for finding in findings
            for index, part in enumerate(parts)
        ]
        found = iter(self.evaluated(model, evaluator, uses))
        readings = {
            finding.arm: [row for _ in parts for row in next(found)] for finding in findings
        }
        own = next((finding for finding in context.pool if finding.own), None)
        if own is None:
            raise MeasurementError("the pool lacks what was searched on the measured arm")
        primary = next(iter(evaluator.metrics))
        alone = evaluator.with_metrics([primary])
        given = [Use(own.record, index, {f.id for f in p.given}) for index, p in enumerate(parts)]
        taught = [row for rows in self.evaluated(model, alone, given) for row in rows]
        before = {row.fact: row.k for row in plain if row.metric == primary}
        notes = {
            "metric": primary,
            "parts": len(parts),
            "given": {
                "before": _mean(before[f.id] for part in parts for f in part.given),
                "after": _mean(row.k for row in taught),
            },
            "held_out": {
                "before": _mean(before.values()),
                "after": _mean(r.k for r in readings[own.arm] if r.metric == primary),
            },
            "search_loss": {
                "before": _mean(own.record.notes["loss_before"]),
                "after": _mean(own.record.notes["loss_after"]),
            },
            "effect": effect_note(
                self.effect,
                _mean(own.record.notes["loss_before"]),
                _mean(own.record.notes["loss_after"]),
            ),
            "mean_k_by_prompt_of": {
                arm: _mean(r.k for r in rows if r.metric == primary)
                for arm, rows in readings.items()
            },
        }
        return Record(rows=strongest([plain, *readings.values()]), notes=notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """K of facts searched with and held out, under own prompts."""
        figures = []
        for arm, noted in notes.items():
            if "search_loss" not in noted:
                continue
            for name, key in (
                ("k_of_facts_searched_with", "given"),
                ("k_of_facts_held_out", "held_out"),
            ):
                without = message("without_own_prompts", k=noted[key]["before"])
                figures.append(SideFigure(name, arm, noted[key]["after"], remarks=(without,)))
            loss = noted["search_loss"]
            before = message("loss_before_search", loss=loss["before"])
            figures.append(SideFigure("final_search_loss", arm, loss["after"], remarks=(before,)))
        return tuple(figures)


class WrittenSearch(CrossFittedSearch[P]):
    """Search whose prompts are text: all are asked at once."""

    @abstractmethod
    def written(self, found: Record, part: int) -> Callable[[Fact], Fact]:
        """Return how a fact is asked with a part's text."""

    def evaluated(
        self, model: CausalLM, evaluator: TextEvaluator, uses: Sequence[Use]
    ) -> list[tuple[Row, ...]]:
        """Ask the facts with all texts at once."""
        askings = [Asking(self.written(use.found, use.part), use.only) for use in uses]
        return evaluator.evaluate_wordings(model, "forget", askings)


def drawn_pairs(pairs: Pairs, most: int, seed: int) -> Pairs:
    """Return the prompts of one search, at most so many.

    They are drawn by the seed, and stay in their order.
    """
    if len(pairs) <= most:
        return pairs
    rng = random.Random(seed)  # noqa: S311 - a reproducible draw
    return [pairs[i] for i in sorted(rng.sample(range(len(pairs)), most))]


def _mean(values: Iterable[float]) -> float:
    """The mean; facts are never none, so there is one."""
    kept = list(values)
    return float(sum(kept) / len(kept))
