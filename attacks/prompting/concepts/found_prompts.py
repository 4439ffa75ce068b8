"""Measurement of prompts that were searched for each concept."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from attacks.prompting.concepts.concept_names import by_concept
from attacks.success_rate import ReportsSuccessRate, against_retrained, pictures_found
from auditor.core.facts import Fact
from auditor.core.findings import SelfCheck
from auditor.core.records import Record, strongest
from auditor.statistics.effect import effect_note

if TYPE_CHECKING:
    from auditor.attack import AttackContext
    from auditor.models.text_to_image.evaluator import ImageEvaluator
    from auditor.models.text_to_image.model import TextToImage


class MeasuresFoundPrompts(ReportsSuccessRate):
    """Mixin that draws the forget set with every arm's prompts.

    The search notes texts by concept under ``found``, and under ``searched`` for each concept
    the distance from its aim before the search and after it, one a prompt.
    """

    def measure(self, model: "TextToImage", context: "AttackContext[ImageEvaluator]") -> Record:
        """Draw the forget set with every arm's prompts; keep the strongest."""
        texts = {repr(f.record.notes["found"]): f.record.notes["found"] for f in context.pool}
        readings = []
        for found in texts.values():
            place = {
                fact.id: found[concept][number % len(found[concept])]
                for concept, facts in by_concept(context.facts.forget).items()
                for number, fact in enumerate(facts)
            }

            def searched(fact: Fact, place: Mapping[str, str] = place) -> Fact:
                return fact.model_copy(update={"prompt": place[fact.id]})

            readings.append(context.evaluator.evaluate(model, ("forget",), searched))
        own = next(finding.record for finding in context.pool if finding.own)
        return self.record(
            strongest(readings),
            sets_of_prompts=len(texts),
            found=own.notes["found"],
            searched=own.notes["searched"],
            effect=effect_note(
                "search_loss",
                mean_of("first_distance", own.notes["searched"]),
                mean_of("found_distance", own.notes["searched"]),
            ),
        )

    def self_checks(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SelfCheck]:
        """Check that found prompts draw the concept on the original.

        It must draw it clearly more than a retrained model does.
        """
        noted = notes.get("original")
        if noted is None or not noted.get("pictures"):
            return ()
        found: dict[str, JsonValue] = {"original": pictures_found(noted)}
        if not noted["pictures_with_concept"]:
            return (SelfCheck("found_prompts_name_concept", False, found),)
        compared = against_retrained(notes)
        if compared is None:
            return ()
        worst, apart = compared
        found |= {"arm": worst, "retrained": pictures_found(notes[worst])}
        return (SelfCheck("found_prompts_name_concept", apart, found),)


def mean_of(name: str, searched: Mapping[str, Mapping[str, Any]]) -> float:
    """Mean of a distance over all concepts and prompts."""
    return float(np.mean([value for each in searched.values() for value in each[name]]))


def spread_out(facts: Sequence[Fact], count: int) -> list[str]:
    """Prompts of some facts, evenly spread over them, each once."""
    chosen = [facts[(2 * i + 1) * len(facts) // (2 * count)] for i in range(count)]
    return list(dict.fromkeys(fact.prompt for fact in chosen))
