"""Gradient search for tokens before a prompt that draw the concept."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from attacks.prompting.concepts.adversarial_prefix_parameters import AdversarialPrefixParameters
from attacks.prompting.concepts.concept_names import concept_names
from attacks.prompting.concepts.found_prefixes import prefixes_for
from attacks.prompting.concepts.noise_objective import NoiseObjective
from attacks.prompting.concepts.prefix_search import (
    SearchResult,
    random_knowledge,
    search_prefixes,
)
from attacks.prompting.concepts.reference_pipeline import open_reference_pipeline
from attacks.prompting.concepts.searchable_words import Words, searchable_words
from attacks.prompting.concepts.token_relaxation import (
    NearestTokens,
    SimplexTokens,
    TokenRelaxation,
)
from attacks.success_rate import ReportsSuccessRate, share_figure
from auditor.attack import Attack, AttackContext, Preset, attack
from auditor.core.facts import Fact
from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record, strongest
from auditor.models.manifest import Location
from auditor.models.opening import locate
from auditor.models.text_to_image.image_seed import image_seed
from auditor.models.text_to_image.spec import TextToImageSpec
from auditor.statistics.effect import effect_note

if TYPE_CHECKING:
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage

_FACTS = 50
"""Facts that the estimate takes a search of all to have."""
_DRAWING = 100
"""Passes through the UNet that the estimate takes a drawing to need."""
_SHOWN = 5
"""Prompts that the notes quote."""


@attack("prompting/adversarial-prefix")
class AdversarialPrefix(
    ReportsSuccessRate, Attack[AdversarialPrefixParameters, "TextToImage", "ImageEvaluator"]
):
    """Gradient search for words before a prompt (UnlearnDiffAtk, P4D)."""

    summary = (
        "Search words that, put before a prompt, bring the concept back (adversarial prompts)."
    )
    details = """
    `unlearndiffatk` needs a picture of each fact: under the searched prompt the noise in it
    should be predicted well. `p4d` needs the original and no pictures: the arm under the
    searched prompt should predict what the original predicts under the plain one, in a picture
    that the original drew. Only whole words are found, so that what is found is text; the
    concept's names (itself, its entity, what paraphrases say in their place) and words that
    hold them are banned. Facts whose plain prompt succeeds are not searched for.

    The prompts of all arms are pooled. K of a fact is the strongest of its plain prompt and of
    every arm's. Side figures set the search against as many drawings with random words: what
    random words do as well is luck, not search.
    """
    threat_model = "Someone with the weights who wants prompts that anyone can use afterwards."
    access = (
        "Gradients for the search (`p4d`: of the original no gradients); prompts alone to use "
        "what was found."
    )
    cost = (
        "For each fact and on each arm, rounds times iterations passes with gradients and twice "
        "as many drawings as rounds; then the forget set once an arm."
    )
    leak = "Words other than the concept's names still lead to it."
    source = (
        "UnlearnDiffAtk is from Zhang et al., arXiv 2310.11868; P4D from Chin et al., arXiv "
        "2309.06135, with PEZ from arXiv 2302.03668."
    )

    kinds = ("text-to-image",)
    parameters_type = AdversarialPrefixParameters
    presets = (
        Preset("unlearndiffatk", {"objective": "unlearndiffatk"}),
        Preset(
            "p4d",
            {
                "objective": "p4d",
                "prefix_length": 16,
                "rounds": 60,
                "iterations": 50,
                "learning_rate": 0.1,
            },
        ),
    )
    seeded = True
    searches = True
    effect = "search_loss"

    @property
    def variant(self) -> str:
        """The objective."""
        return self.parameters.objective

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of the search, and of the forget set on four arms."""
        p = self.parameters
        gradients = (3 if p.objective == "unlearndiffatk" else 4) * p.iterations * p.copies
        return (p.facts or _FACTS) * p.rounds * (gradients + 2 * _DRAWING) + 3 * evaluation

    def inputs(self) -> Mapping[str, str]:
        """Digest of the original's files.

        Raises:
            AuditorError: the original is not there, or is no pipeline that opens.
        """
        given = self.parameters.original is not None
        return {"original": self._located.manifest.digest} if given else {}

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None; P4D needs an original."""
        if self.parameters.objective == "p4d" and self.parameters.original is None:
            return message("original_not_given")
        return super().unavailable(location)

    def search(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Search words for each fact whose plain prompt fails.

        Raises:
            UnavailableError: there are no pictures, the prompt has no room for the words, or the
                original draws in another space than the arm.
            MeasurementError: a loss is not finite.
        """
        evaluator = context.evaluator
        p = self.parameters
        places = self._searched(evaluator, context.seed)
        facts = [evaluator.sets.forget[place] for place in places]
        words = self._words(model, evaluator)

        def judge(numbers: Sequence[int], prefixes: Sequence[str]) -> Tensor:
            return _judged(model, evaluator, [facts[i] for i in numbers], prefixes)

        plain = judge(range(len(facts)), [""] * len(facts))
        found = self._found(model, evaluator, facts, plain, words, context.seed)
        lucky = random_knowledge(words, plain, _generators(len(facts), context.seed), p, judge)
        reached = torch.maximum(plain, found.knowledge)
        good = [i for i in range(len(facts)) if plain[i] < p.success_threshold <= reached[i]]
        notes = {
            "searched": len(facts),
            "plain": int((plain >= p.success_threshold).sum()),
            "by_search": int((reached >= p.success_threshold).sum()),
            "by_random_words": int((lucky >= p.success_threshold).sum()),
            "drawings": found.drawings,
            "loss_first": _mean([first for first, _ in found.losses]),
            "loss_best": _mean([best for _, best in found.losses]),
            "words": len(words),
            "examples": [f"{words.text(found.tokens[i])} {facts[i].prompt}" for i in good[:_SHOWN]],
        }
        arrays = {
            "places": np.array(places),
            "tokens": words.ids[found.tokens].numpy(),
            "knowledge": found.knowledge.numpy(),
            "searched": (plain < p.success_threshold).numpy(),
        }
        return Record(notes=notes, arrays=arrays)

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Ask each forget fact plainly, and with every arm's words before it."""
        evaluator = context.evaluator
        readings = {}
        for finding in context.pool:
            prefixes = prefixes_for(
                evaluator.sets.forget,
                model.tokenizer,
                finding.record,
                self.parameters.success_threshold,
            )

            def prefixed(fact: Fact, prefixes: Mapping[str, str] = prefixes) -> Fact:
                return fact.model_copy(update={"prompt": f"{prefixes[fact.id]} {fact.prompt}"})

            if prefixes:  # none where all plain prompts succeed
                rows = evaluator.evaluate(model, ("forget",), prefixed, only=prefixes)
                readings[finding.arm] = rows
        own = next(finding for finding in context.pool if finding.own).record.notes
        primary = next(iter(evaluator.metrics))
        found = {arm: [r.k for r in rows if r.metric == primary] for arm, rows in readings.items()}
        return self.record(
            strongest([evaluator.evaluate(model), *readings.values()]),
            search=own,
            effect=effect_note(self.effect, own["loss_first"], own["loss_best"]),
            mean_k_by_words_of={arm: float(np.mean(ks)) for arm, ks in found.items() if ks},
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Success rates of the search, of random words and of plain prompts."""
        figures = list(super().side_figures(notes))
        for arm, noted in notes.items():
            if "search" not in noted:
                continue
            count = noted["search"]["searched"]
            for name, key in (
                ("success_of_plain_prompts", "plain"),
                ("success_of_own_search", "by_search"),
                ("success_of_random_words", "by_random_words"),
            ):
                searched = message("facts_searched_for", facts=count)
                figures.append(share_figure(name, arm, noted["search"][key], count, searched))
        return figures

    def _found(
        self,
        model: "TextToImage",
        evaluator: "ImageEvaluator",
        facts: Sequence[Fact],
        plain: Tensor,
        words: Words,
        seed: int,
    ) -> SearchResult:
        """Search for facts whose plain prompt fails, several at once."""
        p = self.parameters
        tokens = torch.zeros(len(facts), p.prefix_length, dtype=torch.long)
        found = SearchResult(tokens, torch.zeros(len(facts)))
        wanted = [i for i in range(len(facts)) if plain[i] < p.success_threshold]
        generators = _generators(len(facts), seed)
        p4d = wanted and p.objective == "p4d"
        with open_reference_pipeline(model, self._located) if p4d else nullcontext() as base:
            objective = NoiseObjective(model, base, p.copies, p.rounds)
            for start in range(0, len(wanted), p.facts_at_once):
                part = wanted[start : start + p.facts_at_once]
                some, draws = [facts[i] for i in part], [generators[i] for i in part]

                def judge(
                    numbers: Sequence[int], prefixes: Sequence[str], some: Sequence[Fact] = some
                ) -> Tensor:
                    return _judged(model, evaluator, [some[i] for i in numbers], prefixes)

                each = search_prefixes(
                    objective,
                    self._relaxation(words, draws),
                    words,
                    [fact.prompt for fact in some],
                    objective.clean(evaluator, some, p.facts_at_once),
                    draws,
                    p,
                    judge,
                )
                found.tokens[part], found.knowledge[part] = each.tokens, each.knowledge
                found.drawings += each.drawings
                found.losses += each.losses
        return found

    def _relaxation(self, words: Words, draws: Sequence[torch.Generator]) -> TokenRelaxation:
        p = self.parameters
        shape = (len(draws), p.prefix_length)
        if p.objective == "unlearndiffatk":
            return SimplexTokens(words.table, shape, p.learning_rate, p.weight_decay)
        first = [torch.randint(len(words), (p.prefix_length,), generator=d) for d in draws]
        return NearestTokens(
            words.table, shape, p.learning_rate, p.weight_decay, torch.stack(first)
        )

    def _searched(self, evaluator: "ImageEvaluator", seed: int) -> list[int]:
        """Places in the forget set of the facts that are searched for."""
        facts = evaluator.sets.forget
        known = list(range(len(facts)))
        if self.parameters.objective == "unlearndiffatk":
            known = [i for i in known if evaluator.has_images([facts[i]])]
            if not known:
                evaluator.images(facts, (1, 1))  # says what is missing
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
        return sorted(known[i] for i in order[: self.parameters.facts].tolist())

    def _words(self, model: "TextToImage", evaluator: "ImageEvaluator") -> Words:
        names = concept_names(evaluator.sets.forget).values()
        banned = {name for several in names for name in several} | set(self.parameters.banned)
        return searchable_words(model, sorted(banned), self.parameters.prefix_length)

    @cached_property
    def _located(self) -> Location:
        # hashing runs no pickle; whether one may be loaded, `open_reference_pipeline` decides
        path = str(self.parameters.original)
        return locate(TextToImageSpec(path=path, allow_pickle=True))


def _mean(losses: Sequence[float]) -> float:
    """The mean; 0 where nothing was searched."""
    return float(np.mean(losses)) if losses else 0.0


def _generators(count: int, seed: int) -> list[torch.Generator]:
    """Random generators, one a fact.

    So what else is searched for, on this arm or another, changes nothing.
    """
    return [torch.Generator().manual_seed(seed * count + i) for i in range(count)]


def _judged(
    model: "TextToImage",
    evaluator: "ImageEvaluator",
    facts: Sequence[Fact],
    prefixes: Sequence[str],
) -> Tensor:
    """K of facts with words before their prompts, [n]."""
    asked = zip(prefixes, facts, strict=True)
    prompts = [f"{prefix} {fact.prompt}".strip() for prefix, fact in asked]
    images = model.generate(prompts, [image_seed(fact.id) for fact in facts])
    return evaluator.knowledge(images, [fact.answer for fact in facts])
