"""Knowledge holes around the forget set."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.arms import Arm
from auditor.core.errors import UnavailableError
from auditor.core.facts import FactSets
from auditor.core.findings import SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row
from auditor.metrics.leak_judge import normalised
from auditor.models.language.model import LanguageModel
from auditor.models.language.transcript import answer_room
from auditor.statistics.roc import clopper_pearson

LOST = 0.5
"""Share of the original's probability per token below which an answer is lost."""


class KnowledgeHolesParameters(Parameters):
    """Settings of the neighbours."""

    neighbours: int = Field(default=4, ge=1)
    """Questions that are made of each forget prompt, with as many other entities."""
    sure: float = Field(default=0.5, gt=0, lt=1)
    """Probability per token of its own answer from which the original knows a neighbour."""


@attack("generation/knowledge-holes")
class KnowledgeHoles(Attack[KnowledgeHolesParameters, LanguageModel]):
    """Neighbours of the forget facts that the original answers."""

    summary = "Ask what the original knows right beside the forget facts, and see who lost it."
    details = """
    Utility is measured on retain facts that somebody chose, and damage right beside the forget set
    is missed by them. Here the neighbours come from the original: each forget prompt is asked of
    other entities, whose names stand in the retain set, in the place of its own. Questions that are
    retain facts themselves are left out. The original answers them greedily, and those that it is
    sure of (0.5 per token and more) are what it knows beside the forget set, true or not.

    Every arm is then given each question with the original's answer. K is the probability of the
    answer, the geometric mean over its tokens; of a forget fact, the mean over the neighbours made
    of its prompt (where the original was sure of none, over those of the next fact). An answer is
    *lost* where an arm gives it less than half of the original's probability.

    The original is ahead by construction, since the answers are its own; the retrained models show
    how much of that a model keeps which was trained without the forget set. What the unlearned
    model loses beyond them are holes: knowledge that was to stay and went with the forget set. That
    is a cost and no leak, so it decides nothing.
    """
    threat_model = "None; it is what unlearning cost beside the forget set."
    access = "Log-probabilities of the original and the model."
    cost = "Four short answers for each forget fact, and a pass over those that are kept."
    leak = (
        "None. A share of lost neighbours far above that of retrained models is damage that the "
        "retain set does not show."
    )
    source = (
        "Knowledge holes: arXiv 2511.00030, known to the authors of this tool from its abstract "
        "alone; how neighbours are made, and that the original says what it knows of them, is this "
        "tool's."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = KnowledgeHolesParameters
    presets = (Preset("4 neighbours"),)
    seeded = True
    searches = True
    metric = "neighbour-probability"
    decides = False

    @property
    def variant(self) -> str:
        """Number of neighbours, and an unusual sureness."""
        p, usual = self.parameters, KnowledgeHolesParameters()
        sure = f" sure {p.sure:g}" if p.sure != usual.sure else ""
        return f"{p.neighbours} neighbours{sure}"

    def forward_tokens(self, evaluation: int) -> int:
        """The answers, and two passes over them."""
        return self.parameters.neighbours * evaluation

    def search(self, model: LanguageModel, context: AttackContext) -> Record:
        """Answer the neighbours, and keep the sure answers.

        Every arm does; what the original keeps is asked of all.

        Raises:
            UnavailableError: No forget prompt names its entity, or no other entity is known.
        """
        asked = neighbours(context.facts, self.parameters.neighbours, context.seed)
        if not asked:
            raise UnavailableError(
                "neighbours are forget prompts with the names of retain entities in the place of "
                "their own, and there are none; name entities as prompts do (`fields: {entity: "
                "…}`), and give a retain set"
            )
        room = answer_room(model, context.facts.forget)
        said = model.generate([question for _, question in asked], room)
        answered = [
            (place, question, answer)
            for (place, question), answer in zip(asked, said, strict=True)
            if normalised(answer)
        ]
        sure = _probabilities(model, answered) >= self.parameters.sure
        kept = [each for each, known in zip(answered, sure, strict=True) if known]
        return Record(notes={"asked": len(asked), "neighbours": kept})

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Ask the arm for each answer of the original.

        Raises:
            UnavailableError: There is no original, or it is sure of no neighbour.
        """
        source = next((f.record for f in context.pool if f.arm.model == Arm.ORIGINAL), None)
        if source is None:
            raise UnavailableError(
                "neighbours are answered by the original, and there is none; give it (`original=`)"
            )
        kept = source.notes["neighbours"]
        if not kept:
            raise UnavailableError(
                f"the original is sure of none of {source.notes['asked']} neighbours; lower `sure`"
            )
        known = _probabilities(model, kept)
        facts = context.facts.forget
        of_each = of_facts(known, np.array([place for place, _, _ in kept]), len(facts))
        rows = tuple(
            Row("forget", fact.id, fact.entity, str(self.metric), float(k), None)
            for fact, k in zip(facts, of_each, strict=True)
        )
        notes = {
            "asked": source.notes["asked"],
            "probability": [round(float(k), 6) for k in known],
        }
        return Record(rows=rows, notes=notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Mean probability of the neighbours, and the share lost, by arm."""
        return tuple(_figures(notes))


def neighbours(sets: FactSets, count: int, seed: int) -> list[tuple[int, str]]:
    """Make questions of forget prompts with the names of retain entities.

    They depend on the facts and the seed alone.

    Args:
        sets: the audit's facts.
        count: questions of each prompt, at most.
        seed: decides which entities are asked for.

    Returns:
        Place of the forget fact and question, each question once.
    """
    others = sorted({fact.entity for fact in sets.retain})
    left_out = {normalised(fact.prompt) for fact in (*sets.retain, *sets.forget)}
    forgotten = {normalised(fact.entity) for fact in sets.forget}
    found: dict[str, int] = {}
    for place, fact in enumerate(sets.forget):
        if fact.entity not in fact.prompt:
            continue
        rng = random.Random(f"{seed} {fact.id}")  # noqa: S311 - a reproducible draw
        made = (
            fact.prompt.replace(fact.entity, other) for other in rng.sample(others, len(others))
        )
        for question in islice((q for q in made if _is_beside(q, forgotten, left_out)), count):
            found.setdefault(question, place)
    return [(place, question) for question, place in found.items()]


def _is_beside(question: str, forgotten: set[str], left_out: set[str]) -> bool:
    """Whether a question is new and names nothing to be forgotten."""
    said = normalised(question)
    return said not in left_out and not any(f" {name} " in f" {said} " for name in forgotten)


def of_facts(
    known: npt.NDArray[np.float64], places: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """Return the mean of each fact's neighbours, [facts].

    A fact without one takes that of the next fact that has some.

    Args:
        known: [neighbours].
        places: fact of each neighbour, [neighbours].
        count: number of facts.
    """
    own = {place: float(known[places == place].mean()) for place in set(places.tolist())}
    following = (
        [(place + step) % count for step in range(count)]  # the fact itself comes first
        for place in range(count)
    )
    return np.array([next(own[place] for place in order if place in own) for order in following])


def _probabilities(
    model: LanguageModel, kept: Sequence[tuple[int, str, str]]
) -> npt.NDArray[np.float64]:
    """Probability per token of each answer, [neighbours]."""
    scores = model.score([(question, answer) for _, question, answer in kept])
    return np.exp([score.mean_log_probability for score in scores], dtype=np.float64)


def _figures(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[SideFigure]:
    written = notes.get(Arm.ORIGINAL, {}).get("probability")
    if written is None:
        return
    original = np.array(written)
    for arm, noted in notes.items():
        if len(noted.get("probability", ())) != len(original):
            continue
        own = np.array(noted["probability"])
        kept = message("neighbours_kept", neighbours=len(own), asked=noted["asked"])
        yield SideFigure("neighbour_probability", arm, float(own.mean()), remarks=(kept,))
        if arm == Arm.ORIGINAL:
            continue
        lost = int((own < LOST * original).sum())
        lower, upper = clopper_pearson(lost, len(own))
        yield SideFigure(
            "neighbours_lost",
            arm,
            lost / len(own),
            lower,
            upper,
            against=Arm.ORIGINAL,
            remarks=(message("holes_beyond_retrained"),),
        )
