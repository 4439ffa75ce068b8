"""Prompts that an instruct model proposes, searched as a tree."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import Field

from attacks.prompting.cross_fitted import (
    CrossFittedParameters,
    Pairs,
    WrittenSearch,
    drawn_pairs,
)
from attacks.prompting.proposals import (
    INSTRUCTIONS,
    QUESTION,
    Proposes,
    Tried,
    cleaned,
    filled,
    instruction,
    propose,
)
from attacks.prompting.text_models import TextModel
from auditor.attack import AttackContext, Footprint, ModelPath, Preset, attack
from auditor.core.errors import MeasurementError
from auditor.core.facts import Fact
from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record
from auditor.data.folds import Fold
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language.decoding import Sampling
from auditor.models.language.model import LanguageModel
from auditor.models.language.transcript import LEAST_SPARE_TOKENS
from auditor.models.manifest import Location

_PAIR = 64
"""Tokens that the estimate of the cost takes a question in a proposed text to have."""
_ANSWER = 24
"""Tokens of the audited model's answer that the instruct model is shown."""


class AttackerModelParameters(CrossFittedParameters):
    """Settings of the search by an instruct model."""

    attacker: ModelPath | None = None
    """The instruct model that proposes. It should know nothing of the forget set."""
    proposes: Proposes = "openings"
    """openings: texts around the question, searched on some facts and measured on the others.
    questions: for each fact other questions, searched and measured on that fact."""
    rounds: int = Field(default=4, ge=1)
    """Rounds of proposals."""
    width: int = Field(default=3, ge=1)
    """Best prompts that are kept after each round and improved in the next."""
    branching: int = Field(default=4, ge=1)
    """Proposals to improve each of them."""
    stop_loss: float = Field(default=0.0, ge=0)
    """Loss, in nats per token, at which no more is proposed; by default no arm stops before
    another."""
    prompts: int = Field(default=32, ge=1)
    """Given facts by which openings are judged."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature of the instruct model."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Longest proposal."""
    device_map: str | None = None
    """Where the instruct model's weights go; by default one GPU, or the CPU."""


@attack("prompting/attacker-model")
class AttackerModel(WrittenSearch[AttackerModelParameters]):
    """Tree search over prompts that an instruct model proposes."""

    summary = "Let an instruct model propose openings or questions, and keep those that bring most."
    details = """
    On each arm an instruct model that the plan gives (`attacker`) proposes prompts. It sees some
    questions, what was tried last, its score, and what the arm answered to it; it never sees a true
    answer. Proposals are judged by the mean loss of the true answers under them. The best are kept
    and improved in the next round, so many proposals each: a tree search. All arms get the same
    number of proposals, by the same seeds.

    `openings` are texts around any question. They are searched on one half of the facts and
    measured on the other half, and the other way round. `questions` are other questions for one
    fact, which need no transfer: they are measured on the fact that they were searched with, and
    can hold what an attacker would know of its answer. In both, a proposal that holds a true answer
    is dropped, the prompts of all arms are pooled, and every arm is measured with all of them and
    without; the strongest counts. What such prompts add by luck they add on the retrained models.

    Found prompts stay in the evidence; `auditor export --prompts` writes them as a data set.
    """
    threat_model = "Someone with another language model and access to the answers' probabilities."
    access = "Prompts, and answers or their probabilities for the search."
    cost = (
        "In each part and on each arm, rounds times width times branching proposals of the "
        "instruct model, which is loaded beside the arm, and as many passes over the prompts "
        "that judge them."
    )
    leak = (
        "A wording that nobody thought of undoes a guard that unlearning laid over the questions."
    )
    source = (
        "PAIR (arXiv 2310.08419), TAP (arXiv 2312.02119), and REBEL (arXiv 2602.06248), which "
        "evolves prompts against unlearned models and has no retrained arm; there a language model "
        "judges, here the audit's facts do."
    )

    parameters_type = AttackerModelParameters
    presets = (
        Preset("openings by half 4 rounds", {"split": "half"}, "exhaustive"),
        Preset("questions 4 rounds", {"proposes": "questions"}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """What is proposed, split, scope and number of rounds."""
        p = self.parameters
        scope = "" if p.scope == "universal" else f" {p.scope}"
        split = f" by {p.split}{scope}" if p.proposes == "openings" else ""
        return f"{p.proposes}{split} {p.rounds} rounds"

    @property
    def footprint(self) -> Footprint:
        """No gradients; the instruct model's size is not counted."""
        return Footprint()

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None; it needs a model."""
        if self.parameters.attacker is None:
            return message("attacker_model_not_given")
        return super().unavailable(location)

    def inputs(self) -> Mapping[str, str]:
        """Digest of the instruct model's files.

        Raises:
            AuditorError: it is not there, is not safe to load, or does not open.
        """
        return {} if self.parameters.attacker is None else {"attacker": self._attacker.digest}

    def search_tokens(self) -> int:
        """Tokens of all proposals under the prompts that judge them."""
        p = self.parameters
        return p.rounds * p.width * p.branching * (p.prompts * _PAIR + p.max_new_tokens)

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of the search, and of the evaluations."""
        p = self.parameters
        if p.proposes == "openings":
            return super().forward_tokens(evaluation)
        return (3 + 4 * p.rounds * p.width * p.branching) * evaluation

    def parts(self, facts: Sequence[Fact]) -> tuple[Fold, ...]:
        """Folds of the forget set, or each fact by itself."""
        if self.parameters.proposes == "questions":
            return tuple(Fold(given=(fact,), asked=(fact,)) for fact in facts)
        return super().parts(facts)

    def search_part(
        self, model: CausalLM, pairs: Sequence[Pairs], context: AttackContext
    ) -> Record:
        """Search a prompt for each part, all parts in the same rounds.

        Raises:
            MeasurementError: a loss is not finite.
        """
        p = self.parameters
        judged_by = [self._judging(part, context.seed + i) for i, part in enumerate(pairs)]
        trees = [_Tree(part, p.proposes) for part in judged_by]
        for tree, loss in zip(trees, _losses(model, trees, [[QUESTION]] * len(trees)), strict=True):
            tree.add([(QUESTION, loss[0])], p.width)
        with self._attacker.opened(model) as attacker:
            for number in range(p.rounds):
                context.progress(f"round {number + 1} of {p.rounds}")
                running = [tree for tree in trees if tree.kept[0].loss > p.stop_loss]
                self._grow(model, attacker, running, context.seed * p.rounds + number)
        notes = {
            "prompts": [tree.kept[0].text for tree in trees],
            "asked": [[fact.id for fact in p.asked] for p in self.parts(context.facts.forget)],
            "proposed": [tree.proposed for tree in trees],
            "evaluated": [len(tree.seen) for tree in trees],
            "loss_before": [tree.first for tree in trees],
            "loss_after": [tree.kept[0].loss for tree in trees],
        }
        return Record(notes=notes)

    def _grow(
        self, model: CausalLM, attacker: LanguageModel, trees: Sequence["_Tree"], seed: int
    ) -> None:
        """One round: propose for every tree, judge, and keep the best."""
        p = self.parameters
        answers = iter(_answered(model, [(tree, node) for tree in trees for node in tree.kept]))
        told = [
            instruction(p.proposes, tree.questions, node, answer)
            for tree in trees
            for node, answer in _in_turn(
                [(node, next(answers)) for node in tree.kept], p.width * p.branching
            )
        ]
        sampling = Sampling(temperature=p.temperature, seed=seed)
        said = iter(propose(attacker, told, p.max_new_tokens, sampling) if told else ())
        proposals = [
            tree.new([next(said) for _ in range(p.width * p.branching)], model) for tree in trees
        ]
        losses = _losses(model, trees, proposals)
        for tree, texts, found in zip(trees, proposals, losses, strict=True):
            tree.add(list(zip(texts, found, strict=True)), p.width)

    def _judging(self, pairs: Pairs, seed: int) -> Pairs:
        """The prompts that judge a part's proposals, in their order."""
        if self.parameters.proposes == "questions":
            return pairs[:1]
        return drawn_pairs(pairs, self.parameters.prompts, seed)

    def written(self, found: Record, part: int) -> Callable[[Fact], Fact]:
        """Return a wording with the prompt within the text that was found."""
        text = found.notes["prompts"][part]
        return lambda fact: fact.model_copy(update={"prompt": filled(text, fact.prompt)})

    def texts(self) -> Sequence[str]:
        """What the instruct model is told."""
        return tuple(INSTRUCTIONS.values())

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Loss of the search; for openings K of both halves, too."""
        figures = super().side_figures(notes)
        if self.parameters.proposes == "openings":
            return figures
        return tuple(figure for figure in figures if figure.name == "final_search_loss")

    @cached_property
    def _attacker(self) -> TextModel:
        return TextModel.locate(str(self.parameters.attacker), self.parameters.device_map)


class _Tree:
    """What was tried for one part.

    Args:
        pairs: Prompts and true answers by which proposals are judged.
        proposes: What is proposed.
    """

    def __init__(self, pairs: Pairs, proposes: Proposes) -> None:
        self.pairs = pairs
        self.proposes = proposes
        self.questions = list(dict.fromkeys(prompt for prompt, _ in pairs))
        self.kept: list[Tried] = []
        self.seen: set[str] = set()
        self.proposed = 0
        self.first = 0.0

    def add(self, tried: Sequence[tuple[str, float]], width: int) -> None:
        """Keep the best of what is kept and what was tried.

        The plain prompt stays among what is kept until better ones take its place.
        """
        if not self.kept:
            self.first = tried[0][1]
        self.seen |= {text for text, _ in tried}
        found = [*self.kept, *(Tried(text, loss) for text, loss in tried)]
        self.kept = sorted(found, key=lambda each: each.loss)[:width]

    def new(self, said: Sequence[str], model: CausalLM) -> list[str]:
        """Proposals that are prompts, fit the context, and were not tried."""
        self.proposed += len(said)
        texts = dict.fromkeys(cleaned(each, self.proposes, self.pairs) for each in said)
        return [
            text
            for text in texts
            if text is not None and text not in self.seen and _fits(model, text, self.pairs)
        ]


def _losses(
    model: CausalLM, trees: Sequence[_Tree], texts: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Mean loss of each tree's answers under its texts, nats per token.

    Raises:
        MeasurementError: a loss is not finite.
    """
    asked = [
        (filled(text, prompt), answer)
        for tree, own in zip(trees, texts, strict=True)
        for text in own
        for prompt, answer in tree.pairs
    ]
    found = iter([-score.mean_log_probability for score in model.score(asked)] if asked else [])
    losses = [
        [sum(next(found) for _ in tree.pairs) / len(tree.pairs) for _ in own]
        for tree, own in zip(trees, texts, strict=True)
    ]
    if not all(math.isfinite(loss) for own in losses for loss in own):
        raise MeasurementError("the loss of a proposed prompt is not finite")
    return losses


def _answered(model: CausalLM, kept: Sequence[tuple[_Tree, Tried]]) -> list[str]:
    """What the audited model answers under each prompt that is kept."""
    if not kept:
        return []
    asked = [(node.asked(tree.pairs[0][0]), tree.pairs[0][1]) for tree, node in kept]
    room = _ANSWER
    if model.context_length is not None:
        longest = max(item.before for item in model.encode(asked))
        room = max(1, min(room, model.context_length - longest))
    return model.generate([prompt for prompt, _ in asked], room)


def _in_turn(kept: Sequence[tuple[Tried, str]], count: int) -> list[tuple[Tried, str]]:
    """What is kept, in turn, once for each proposal."""
    return [kept[i % len(kept)] for i in range(count)]


def _fits(model: CausalLM, text: str, pairs: Pairs) -> bool:
    """Whether the model's context holds a proposal around every prompt."""
    if model.context_length is None:
        return True
    items = model.encode([(filled(text, prompt), answer) for prompt, answer in pairs])
    spare = max(_ANSWER, LEAST_SPARE_TOKENS)
    return max(len(item.ids) for item in items) + spare <= model.context_length
