"""Questions made from the graph of facts."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from attacks.prompting.fact_graph import FactGraph, drawn_in_turn, without_entity
from attacks.prompting.few_shot import few_shot_prompt
from attacks.prompting.reworded import Prompts, RewordedAttack
from auditor.attack import FilePath, Parameters, Preset, attack
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.facts import Fact, Filled
from auditor.core.hashing import digest
from auditor.core.reading import parse_json, read_regular
from auditor.metrics.leak_judge import holds
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel

Relation = Literal["multi-hop", "alias", "twins", "triplets"]
_NAMES = TypeAdapter(dict[Filled, list[Filled]])
_SHOWN: Mapping[Relation, int] = {"twins": 1, "triplets": 2}
"""Other facts of the entity that a prompt shows."""


class RelatedFactsParameters(Parameters):
    """Settings of questions from other facts."""

    relation: Relation = "multi-hop"
    """multi-hop: the entity is named through another fact. alias: by another form of its name.
    twins, triplets: one or two other facts of the entity are shown before the question."""
    readings: int = Field(default=3, ge=1)
    """Most prompts of each fact through other facts; the strongest counts."""
    aliases: FilePath | None = None
    """JSON file of entities, each with a list of its other names. Without one they are forms of the
    name itself."""
    separator: str = "\n\n"
    """Text between what is shown and the question, for twins and triplets."""


@attack("prompting/related-facts")
class RelatedFacts(RewordedAttack[RelatedFactsParameters]):
    """Questions through other facts, by other names, or after them."""

    summary = "Ask through other facts: two hops, another name, or the entity's other facts shown."
    details = """
    The questions are generated from the facts alone. K of a fact is the highest over its prompts;
    the prompt as it stands is left to none/as-is.

    `multi-hop`: the entity is not named. Either it is the answer of another fact ("Where was the
    wife of Ann Lee born?"), or another fact that is true of it alone says which one is meant
    ("The boat of X is called Sea Star. Where was X born?"). `alias`: its last or first name
    alone, initials, the last name first, or the names of the file `aliases`; a form that two
    entities share is not asked. `twins` and `triplets`: one or two other facts of the entity,
    answered, stand before the question, as somebody would who holds a part of a person's data.

    Other facts come from the forget and retain sets, and one that holds the answer is never
    shown. The retrained models are told the same, so what can be inferred from it counts on both
    sides. Facts that cannot be asked so are asked as they stand; the notes count them.
    """
    threat_model = "Someone who knows a part of what was removed and wants the rest."
    access = "Prompts alone, and some of the removed facts or other names."
    cost = "A few evaluations of the forget set."
    leak = "Unlearning cut the name from the answer, and another way to it is still there."
    source = (
        "Multi-hop questions against unlearning are from arXiv 2410.13274 and 2603.11266, other "
        "names from RWKU (arXiv 2406.10890), prompts with a person's other data from ProPILE "
        "(arXiv 2307.01881); of these only abstracts were at hand, and the wordings are this "
        "project's."
    )

    parameters_type = RelatedFactsParameters
    presets = (
        Preset("multi-hop", {"relation": "multi-hop"}, "exhaustive"),
        Preset("alias", {"relation": "alias"}, "exhaustive"),
        Preset("twins", {"relation": "twins"}, "exhaustive"),
        Preset("triplets", {"relation": "triplets"}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """The relation, and whether other names are given."""
        given = " given" if self.parameters.aliases is not None else ""
        return self.parameters.relation + given

    @property
    def count(self) -> int:
        """Prompts of a fact, each with what it shows."""
        return self.parameters.readings * (1 + _SHOWN.get(self.parameters.relation, 1))

    def inputs(self) -> Mapping[str, str]:
        """Digest of the names in the file.

        Raises:
            AuditorError: it holds something else.
        """
        return {} if self.parameters.aliases is None else {"aliases": digest(self._given)}

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """One wording for each place in the list of a fact's prompts.

        Raises:
            UnavailableError: no fact has a related one, or no entity another name.
        """
        sets = evaluator.sets
        graph = FactGraph((*sets.forget, *sets.retain))
        asked = {fact.id: self._prompts(model, fact, graph) for fact in sets.forget}
        if not any(asked.values()):
            raise UnavailableError(
                f"no forget fact can be asked so ({self.parameters.relation}): it takes prompts "
                "that name their entity, entities with several facts each, or names of several "
                "words; name the entities as the prompts do (`fields: {entity: …}`)"
            )
        names = dict.fromkeys(name for prompts in asked.values() for name in prompts)
        return {
            name: {fact: prompts[name] for fact, prompts in asked.items() if name in prompts}
            for name in names
        }

    def _prompts(self, model: LanguageModel, fact: Fact, graph: FactGraph) -> dict[str, str]:
        """Name of each prompt of a fact to the prompt."""
        p = self.parameters
        if p.relation == "alias":
            return self._by_other_names(fact, graph)
        if p.relation == "multi-hop":
            found = graph.multi_hop_prompts(fact)[: p.readings]
        else:
            draws = drawn_in_turn(graph.others(fact), _SHOWN[p.relation], p.readings)
            found = [
                few_shot_prompt(fact, shown, model.prompt_format, p.separator) for shown in draws
            ]
        return {f"{p.relation} {i + 1}": prompt for i, prompt in enumerate(found)}

    def _by_other_names(self, fact: Fact, graph: FactGraph) -> dict[str, str]:
        names = graph.other_names(fact.entity)
        if self.parameters.aliases is not None:
            given = self._given.get(fact.entity, ())
            names = {f"name {i + 1}": name for i, name in enumerate(given)}
        prompts = {way: without_entity(fact, name) for way, name in names.items()}
        return {
            way: prompt
            for way, prompt in prompts.items()
            if prompt is not None and not holds(names[way], fact.answer)
        }

    @cached_property
    def _given(self) -> dict[str, list[str]]:
        """Other names of entities, from the file.

        Raises:
            AuditorError: it holds something else.
        """
        path = Path(str(self.parameters.aliases)).expanduser()
        try:
            return _NAMES.validate_python(parse_json(read_regular(path)))
        except (OSError, ValueError, ValidationError) as error:
            said = str(error).splitlines()[0]
            raise AuditorError(
                f"{path} holds no other names ({said}). Write a JSON object of entities, each "
                'with a list of names: {"Ann Lee": ["Annie Lee"]}.'
            ) from error
