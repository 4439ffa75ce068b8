"""Reading answers out of the output distribution, wherever in it they stand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from attacks.probing.choices import NAMES, PARTS, Chooser, Floats, features, learned
from attacks.probing.wrong_answers import alike_for_all
from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.core.findings import SideFigure
from auditor.core.messages import Message, message
from auditor.core.records import Record, Row
from auditor.data.folds import Fold, SplitBy, folds
from auditor.models.language.model import LanguageModel

NOTED = 6
"""Features of each half that are noted, those of largest weight."""
SHOWN = 3
"""Of them those that are shown."""
LEAST_FACTS = 8
"""Facts below which halves are too small to learn anything from."""


class OutputProbeParameters(Parameters):
    """Settings of the probe."""

    halves: SplitBy = "entity"
    """`entity`: fitted on the facts of some entities, asked about the others; by attribute where
    there are too few entities. `attribute`: fitted on some facts of every entity, asked about its
    other facts. `half`: half of the facts whatever their entities, for facts that name none."""
    wrong_answers: int = Field(default=8, ge=1)
    """Wrong answers beside each true one, at most; every fact has as many."""


@attack("probing/output-probe")
class OutputProbe(Attack[OutputProbeParameters]):
    """Classifier of places in the output distribution."""

    summary = (
        "Learn from half of the forgotten facts where in the output distribution true answers "
        "stand, and read the other half."
    )
    details = """
    A model can keep a fact at a place of its output distribution that no sampled or greedy answer
    shows: the true token always second at half a per cent, always last, or always in one band of
    probability. Whoever knows the place reads all facts. The place need not be known: it is learned
    from facts that the attacker knows.

    Every fact has the same number of wrong answers: answers to other forget facts of its form and
    its distractors, in turn. All answers are given to the model, and of each token is read which
    group of ranks it is in from the top and from the end, which band of probability, and the
    logarithms of its rank and probability; of an answer the mean over its tokens and its first
    token count. A conditional logistic regression with a ridge penalty learns on one half of the
    facts to choose the true answer, and chooses on the other half; then the halves change places.
    The penalty is the one that does best on parts of the fitted half that were kept from the fit,
    and where none does better than chance there by a standard error, nothing is learned.

    K = (p - c) / (1 - c), at least 0: p is the probability that the chooser gives the true answer
    among all, and c = 1 / (1 + wrong answers) that of chance. So chance is 0, and a place by which
    all facts are told is 1.

    On the original the true answers stand first, and the probe must find them there: where its
    gap does not reach what a PASS demands, it was no measurement. A place that only a few of the
    facts keep, or one that changes from fact to fact by a key, is not learned.
    """
    threat_model = (
        "Somebody who knows a part of what was removed and can read probabilities of tokens, or "
        "the owner, who knows the place."
    )
    access = "Logits or log-probabilities of all tokens; part of the forget set."
    cost = "One pass over the forget facts with nine answers each; a regression on a processor."
    leak = "The true answers of facts that were not fitted are told from wrong ones."
    source = (
        "The second day of benchmarks/ADVERSARY.md. Conditional logit: McFadden, in Frontiers in "
        "Econometrics, 1974."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = OutputProbeParameters
    presets = (
        Preset(
            "by entity", {"halves": "entity"}, "quick", mandatory=True, without_entities="by half"
        ),
        Preset("by attribute", {"halves": "attribute"}, without_entities="by half"),
        Preset("by half", {"halves": "half"}, "exhaustive"),
    )
    metric = "output-readout"

    @property
    def variant(self) -> str:
        """Split of the facts, with an unusual number of wrong answers."""
        usual = OutputProbeParameters().wrong_answers
        wrong = self.parameters.wrong_answers
        return f"by {self.parameters.halves}" + (f" {wrong} wrong" if wrong != usual else "")

    def forward_tokens(self, evaluation: int) -> int:
        """Tokens of the true and wrong answers of the forget facts."""
        return (1 + self.parameters.wrong_answers) * evaluation

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Fit on each half of the forget facts, and ask the other."""
        facts = context.facts.forget
        split, halves = _halves(facts, self.parameters.halves)
        wrong = alike_for_all(facts, self.parameters.wrong_answers)
        stand = _read(model, facts, wrong)
        chance = 1.0 / (1 + len(wrong[0]))
        ks: dict[str, float] = {}
        noted = []
        for half in halves:
            given, asked = (np.stack([stand[f.id] for f in s]) for s in (half.given, half.asked))
            chooser = learned(given, _parts(half.given))
            told = chooser.chances(asked)
            beyond = np.clip((told - chance) / (1.0 - chance), 0.0, 1.0)
            ks |= {fact.id: float(k) for fact, k in zip(half.asked, beyond, strict=True)}
            noted.append(_note(chooser, given, asked))
        rows = tuple(
            Row("forget", fact.id, fact.entity, str(self.metric), ks[fact.id], None)
            for fact in facts
        )
        notes = {"split": split, "wrong_answers": len(wrong[0]), "chance": chance, "halves": noted}
        return Record(rows=rows, notes=notes)

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Share of true answers that are chosen, by half, fitted and asked."""
        return tuple(
            SideFigure(
                name,
                arm,
                half[key],
                params={"half": number},
                remarks=(message("chance_is", chance=noted["chance"]), _remark(half["places"])),
            )
            for arm, noted in notes.items()
            for number, half in enumerate(noted.get("halves", ()), 1)
            for name, key in (("true_answers_chosen", "asked"), ("fitted_answers_chosen", "fitted"))
        )


def _remark(places: Sequence[tuple[str, float]]) -> Message:
    """Say what was learned: the features of largest weight."""
    if not places:
        return message("nothing_to_read")
    return message("read_from", places=[name for name, _ in places[:SHOWN]])


def _halves(facts: Sequence[Fact], split: SplitBy) -> tuple[SplitBy, tuple[Fold, ...]]:
    """Split the facts in two, by entities where there are enough.

    Raises:
        UnavailableError: they cannot be split so.
    """
    if len(facts) < LEAST_FACTS:
        raise UnavailableError(
            f"the probe is fitted on half of the forget facts; give at least {LEAST_FACTS}"
        )
    tried: tuple[SplitBy, ...] = ("entity", "attribute", "half") if split == "entity" else (split,)
    reason: ValueError | None = None
    for by in tried:
        try:
            return by, folds(facts, by)
        except ValueError as error:
            reason = reason or error
    raise UnavailableError(f"{reason}; split by half") from reason


def _parts(facts: Sequence[Fact]) -> list[int]:
    """Part of each fitted fact, by entity where there are enough."""
    order = {name: place for place, name in enumerate(sorted({fact.entity for fact in facts}))}
    if len(order) < PARTS:
        order = {name: place for place, name in enumerate(sorted(fact.id for fact in facts))}
        return [order[fact.id] % PARTS for fact in facts]
    return [order[fact.entity] % PARTS for fact in facts]


def _read(
    model: LanguageModel, facts: Sequence[Fact], wrong: Sequence[tuple[str, ...]]
) -> dict[str, Floats]:
    """Features of answers, the true one first, [1 + wrong, p]."""
    pairs = [
        (fact.prompt, answer)
        for fact, others in zip(facts, wrong, strict=True)
        for answer in (fact.answer, *others)
    ]
    places = iter(model.places(pairs))
    return {
        fact.id: np.stack([features(next(places)) for _ in range(1 + len(others))])
        for fact, others in zip(facts, wrong, strict=True)
    }


def _note(chooser: Chooser, given: Floats, asked: Floats) -> dict[str, Any]:
    """What was learned on one half, with the features of largest weight."""
    largest = np.argsort(-np.abs(chooser.weights), kind="stable")[:NOTED]
    return {
        "penalty": chooser.penalty,
        "gain": chooser.gain,
        "fitted": chooser.share_chosen(given),
        "asked": chooser.share_chosen(asked),
        "places": [
            [NAMES[place], float(chooser.weights[place])]
            for place in largest
            if chooser.weights[place]
        ],
    }
