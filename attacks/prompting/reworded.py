"""Base of attacks that ask in several other wordings."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from auditor.attack import Attack, AttackContext, Parameters
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row, strongest
from auditor.models.language.evaluator import Asking, TextEvaluator
from auditor.models.language.model import LanguageModel
from auditor.models.language.transcript import LEAST_SPARE_TOKENS

Wording = Callable[[Fact], str | None]
"""Another prompt for a fact, or None where the fact cannot be asked in that way."""

Prompts = Mapping[str, str]
"""Fact id to the prompt that takes the place of the fact's own."""

AS_IT_STANDS = "as it stands"
"""Name of the reading of facts to which no wording applies."""

P = TypeVar("P", bound=Parameters)


class RewordedAttack(Attack[P]):
    """Attack that keeps each fact's strongest of several wordings.

    The fact's own prompt is not among them: ``none/as-is`` asks it, and here it would hide a
    wording that the original does not understand. Without it the gap under the attack tells.
    Only a fact to which no wording applies is asked as it stands; the notes count them.
    """

    shorter: ClassVar[str] = "it suits models with a longer context, or shorter questions"
    """What would help where a prompt exceeds the model's context."""

    @abstractmethod
    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """Name of each wording to its prompts.

        Raises:
            UnavailableError: no fact can be asked in this way; says what would help.
        """

    @property
    @abstractmethod
    def count(self) -> int:
        """Expected number of wordings, for the estimate of the cost."""

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of the forget set under each wording."""
        return evaluation * self.count

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Examine the forget set with each wording."""
        evaluator = context.evaluator
        asked = dict(self.wordings(model, evaluator, context.seed))
        reached = {fact for prompts in asked.values() for fact in prompts}
        if not reached:
            raise UnavailableError("no fact can be asked in this way")
        left = {f.id: f.prompt for f in evaluator.sets.forget if f.id not in reached}
        if left:
            asked[AS_IT_STANDS] = left
        self._check_overlong(model, evaluator.sets.forget, asked)
        asked = {name: prompts for name, prompts in asked.items() if prompts}
        askings = [Asking(reworded(prompts), prompts.keys()) for prompts in asked.values()]
        found = evaluator.evaluate_wordings(model, "forget", askings)
        readings = dict(zip(asked, found, strict=True))
        best = strongest(readings.values())
        primary = next(iter(evaluator.metrics))
        held = {(row.fact, row.k) for row in best if row.metric == primary}
        notes = {
            "metric": primary,
            "wordings": {name: _summary(rows, primary, held) for name, rows in readings.items()},
            "facts_asked_as_they_stand": len(left),
        }
        return Record(rows=best, notes=notes)

    def _check_overlong(
        self, model: LanguageModel, facts: Sequence[Fact], asked: Mapping[str, Prompts]
    ) -> None:
        context = model.context_length
        if context is None:
            return
        pairs = [
            (p[fact.id], fact.answer) for p in asked.values() for fact in facts if fact.id in p
        ]
        encoded = model.encode(pairs)
        prompt = max(len(e.ids) - len(e.answer) for e in encoded)
        needed = prompt + max(len(e.answer) for e in encoded) + LEAST_SPARE_TOKENS
        if needed > context:
            raise UnavailableError(
                f"its prompts and answers take up to {needed} tokens, but the model's context "
                f"holds {context}; {self.shorter}"
            )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Mean K of each wording alone, beyond the retrained models."""
        retrained = [arm for arm in notes if Arm(arm).is_retrained]
        if not retrained:
            return ()

        def beyond(arm: str, wording: str) -> float:
            means = {a: float(notes[a]["wordings"][wording]["mean_k"]) for a in (arm, *retrained)}
            return means[arm] - sum(means[a] for a in retrained) / len(retrained)

        return tuple(
            SideFigure(
                "mean_k_beyond_retrained",
                arm,
                beyond(arm, wording),
                params={"wording": wording},
                remarks=(message("facts", facts=entry["facts"]),),
            )
            for arm in (Arm.UNLEARNED, Arm.ORIGINAL)
            if arm in notes
            for wording, entry in notes[arm]["wordings"].items()
        )


def applied(facts: Sequence[Fact], wordings: Mapping[str, Wording]) -> dict[str, Prompts]:
    """Prompts of facts under each wording that changes them."""
    found: dict[str, Prompts] = {}
    for name, wording in wordings.items():
        prompts = {fact.id: wording(fact) for fact in facts}
        own = {fact.id: fact.prompt for fact in facts}
        found[name] = {i: p for i, p in prompts.items() if p is not None and p != own[i]}
    return found


def reworded(prompts: Prompts) -> Callable[[Fact], Fact]:
    """Rewriting of facts for an evaluator."""
    return lambda fact: fact.model_copy(update={"prompt": prompts[fact.id]})


def _summary(rows: Iterable[Row], metric: str, held: set[tuple[str, float]]) -> dict[str, Any]:
    """Facts, mean K and wins of one wording (ties count for each)."""
    ks = [(row.fact, row.k) for row in rows if row.metric == metric]
    return {
        "facts": len(ks),
        "mean_k": sum(k for _, k in ks) / len(ks),
        "strongest": sum(reading in held for reading in ks),
    }
