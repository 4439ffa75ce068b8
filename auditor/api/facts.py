"""Facts: built from what people have, and checked before an audit.

Whatever is checked here needs no model; `auditor plan` asks the models, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, get_args

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact, FactSets, SetName
from auditor.core.messages import Message, message, plain
from auditor.data import checks
from auditor.data.blind_guess import BlindGuess, blind_guess
from auditor.data.builders.built import Built, write_facts
from auditor.data.builders.hub import facts_from_source
from auditor.data.builders.passages import Cut, facts_from_text
from auditor.data.builders.tables import facts_from_table
from auditor.data.builders.tasks import facts_from_task
from auditor.data.folds import SplitBy, folds, names_entities
from auditor.data.ids import named_apart
from auditor.data.near_copies import copies_across, near_copies
from auditor.data.readers import read_noted
from auditor.data.source import DataSource
from auditor.statistics.margins import Margins
from auditor.statistics.power import zero_noise_bound

__all__ = [
    "Built",
    "Cut",
    "FactsReport",
    "check_facts",
    "facts_from_source",
    "facts_from_table",
    "facts_from_task",
    "facts_from_text",
    "write_facts",
]

MOST_SPOILT = 0.5
"""Share of the forget facts that tell nothing from which an audit of them is void."""
_NAMED = 5

Source = str | PathLike[str] | DataSource


@dataclass(frozen=True)
class FactsReport:
    """What can be said of facts before a model is asked."""

    facts: dict[str, int]
    """Number of facts by set."""
    entities: dict[str, int]
    """Number of entities by set."""
    usable: int
    """Forget facts that are no copies, not given away by their prompts, and not guessed."""
    spoilt: tuple[str, ...]
    """Ids of the other forget facts."""
    needed: int
    """Facts below which no audit passes, however much the original knows."""
    relearning: str | None
    """Finest level at which half of the facts can be taught and the other half asked: ``attribute``
    (some facts of every entity), ``half`` (where every fact is an entity of its own), ``entity``
    (some entities), or None."""
    guess: BlindGuess | None
    """What can be guessed; None where all facts are about one entity."""
    void: tuple[Message, ...] = ()
    """What would make an audit void."""
    warnings: tuple[Message, ...] = ()
    """What would weaken one."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        guess = self.guess
        return {
            "facts": self.facts,
            "entities": self.entities,
            "usable": self.usable,
            "spoilt": list(self.spoilt),
            "needed": self.needed,
            "relearning": self.relearning,
            "guessable": guess
            and {
                "guessed": len(guess.guessed),
                "facts": guess.facts,
                "upper": guess.upper,
                "by": guess.by,
            },
            "void": [plain(found) for found in self.void],
            "warnings": [plain(found) for found in self.warnings],
        }


def check_facts(
    forget: Source,
    retain: Source | None = None,
    holdout: Source | None = None,
    *,
    margins: Margins | None = None,
) -> FactsReport:
    """Check sets of facts before an audit.

    Args:
        forget: Facts that must be gone, as a file or a source.
        retain: Facts that must stay.
        holdout: Facts that no model saw.
        margins: Margins of the policy; by default the usual ones.

    Raises:
        AuditorError: A set cannot be read.
    """
    given: dict[SetName, Source | None] = {"forget": forget, "retain": retain, "holdout": holdout}
    read = {
        name: read_noted(_source(source), name)
        for name, source in given.items()
        if source is not None
    }
    facts, renamed = named_apart({name: found.facts for name, found in read.items()})
    sets = FactSets(**facts)
    notes = [*(note for found in read.values() for note in found.notes), *renamed]
    return _Checked(sets, margins or Margins(), notes).report()


def _source(given: Any) -> DataSource:
    return given if isinstance(given, DataSource) else DataSource(path=str(given))


@dataclass
class _Checked:
    """One look at sets of facts."""

    sets: FactSets
    margins: Margins
    notes: list[Message]
    spoilt: set[str] = field(default_factory=set)
    """Ids of the forget facts that tell nothing, or nothing new."""

    def report(self) -> FactsReport:
        forget = self.sets.forget
        guess = blind_guess(forget)
        self.spoilt |= {fact.id for fact in forget if checks.gives_away(fact)}
        warnings = [
            *self.notes,
            *self._copies(),
            *self._guessed(guess),
        ]
        warnings += checks.warnings(self.sets)
        void = list(self._contradictions())
        if len(self.spoilt) > MOST_SPOILT * len(forget):
            void.append(message("most_facts_spoilt", spoilt=len(self.spoilt), facts=len(forget)))
        needed = zero_noise_bound(1.0, self.margins) or 0
        usable = len(forget) - len(self.spoilt)
        if usable < needed:
            warnings.append(message("too_few_usable_facts", usable=usable, needed=needed))
        if (level := _relearning(forget)) != "attribute":
            warnings.append(message("relearning_level", level=level or "none"))
        named = {name: self.sets.named(name) for name in get_args(SetName)}
        return FactsReport(
            facts={name: len(facts) for name, facts in named.items() if facts},
            entities={
                name: len({f.entity for f in facts}) for name, facts in named.items() if facts
            },
            usable=usable,
            spoilt=tuple(fact.id for fact in forget if fact.id in self.spoilt),
            needed=needed,
            relearning=level,
            guess=guess,
            void=tuple(void),
            warnings=tuple(warnings),
        )

    def _contradictions(self) -> Iterator[Message]:
        try:
            checks.check_contradictions(self.sets)
        except AuditorError as error:
            yield message("sets_contradict", quoted=("problem",), problem=str(error))

    def _copies(self) -> Iterator[Message]:
        forget = self.sets.forget
        if copies := near_copies(forget):
            self.spoilt |= {copy for copy, _ in copies}
            example = " = ".join(copies[0])
            yield message("near_copies", facts=len(forget), copies=len(copies), example=example)
        for name in ("retain", "holdout"):
            if ids := [one for one, _ in copies_across(forget, self.sets.named(name))]:
                self.spoilt |= set(ids) if name == "retain" else set()
                yield message("near_other_set", set=name, facts=len(ids), ids=ids[:_NAMED])

    def _guessed(self, guess: BlindGuess | None) -> Iterator[Message]:
        if guess is None or not guess.guessed:
            return
        self.spoilt |= set(guess.guessed)
        yield message(
            "answers_guessable",
            facts=guess.facts,
            guessed=len(guess.guessed),
            by=guess.by,
            upper=guess.upper,
            ids=list(guess.guessed[:_NAMED]),
        )


def _relearning(facts: Sequence[Fact]) -> SplitBy | None:
    """Finest level at which facts can be taught and asked."""
    levels: tuple[SplitBy, ...] = ("attribute", "entity" if names_entities(facts) else "half")
    for level in levels:
        try:
            folds(facts, level)
        except ValueError:
            continue
        return level
    return None
