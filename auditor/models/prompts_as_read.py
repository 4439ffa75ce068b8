"""Prompts of facts as a model reads them.

They are for whoever looks at the evidence. Nothing that is measured depends on this module.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from auditor.core.facts import Fact, FactSets, is_blank
from auditor.models.kind import kind_named
from auditor.models.manifest import Location
from auditor.models.spec import ModelSpec, PromptFormat


@runtime_checkable
class ReadsPrompts(Protocol):
    """Kind of model that reads prompts as other text."""

    def prompts_as_read(
        self, spec: ModelSpec, location: Location, sets: FactSets, prompt_format: PromptFormat
    ) -> Mapping[str, str]:
        """Return the text that is read of each fact's prompt, by id.

        Special tokens are included. The weights are not loaded.

        Args:
            spec: The model's.
            location: Its files.
            sets: The facts.
            prompt_format: How prompts become text.

        Raises:
            AuditorError: Some cannot be asked.
        """


def facts_as_read(
    spec: ModelSpec, location: Location, sets: FactSets, prompt_format: PromptFormat
) -> FactSets | None:
    """Return the facts with their prompts as a located model reads them.

    Other wordings of the facts are left out.

    Returns:
        None for models of a kind that does not say how it reads prompts, and where nothing can be
        seen of what is read.

    Raises:
        AuditorError: Some cannot be asked.
    """
    kind = kind_named(spec.kind)
    if not isinstance(kind, ReadsPrompts):
        return None
    texts = kind.prompts_as_read(spec, location, sets, prompt_format)
    if any(map(is_blank, texts.values())):
        return None

    def read(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
        return tuple(
            Fact(id=fact.id, entity=fact.entity, prompt=texts[fact.id], answer=fact.answer)
            for fact in facts
        )

    return FactSets(forget=read(sets.forget), retain=read(sets.retain), holdout=read(sets.holdout))
