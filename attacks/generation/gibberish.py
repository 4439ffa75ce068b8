"""Share of answers that are no language."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from attacks.probing.wrong_answers import alike_for_all
from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.arms import Arm
from auditor.core.errors import MeasurementError
from auditor.core.facts import SET_NAMES, Fact, SetName
from auditor.core.findings import Finding, SideFigure
from auditor.core.messages import message
from auditor.core.records import Record, Row
from auditor.metrics.leak_judge import normalised
from auditor.models.language.model import LanguageModel
from auditor.models.language.transcript import answer_room
from auditor.statistics.roc import clopper_pearson

SETS: tuple[SetName, ...] = SET_NAMES[:2]
"""Sets whose answers are judged."""
REPEATED = 4
"""Times that the same words must follow one another to make a repetition."""
_LONGEST = 4
"""Most words of a part that is repeated."""


class GibberishParameters(Parameters):
    """Settings of the judges."""

    quantile: float = Field(default=0.01, gt=0, lt=0.5)
    """Share of well-formed wrong answers that a judge takes for unlikely; less likely than these
    is unlikely."""
    wrong_answers: int = Field(default=4, ge=1)
    """Wrong answers of each fact by which a judge is calibrated, at most."""


@attack("generation/gibberish")
class Gibberish(Attack[GibberishParameters, LanguageModel]):
    """Share of answers that repeat themselves or are likely to no other."""

    summary = (
        "Count the answers that are empty, repeat themselves, or are likely to no other model."
    )
    details = """
    Unlearning that destroys leaves a model that answers in broken words. K of such answers is as
    low as that of a model that never knew, and only their form tells the two apart.

    Every arm answers each forget and retain fact greedily, as released. An answer is gibberish
    where it holds neither letter nor digit, where the same one to four words follow one another
    four times, or where every *other* arm finds it unlikely: less likely per token, after the
    fact's prompt, than 99 % of well-formed wrong answers (true answers to other facts of the same
    form, and distractors). So an answer that is merely wrong counts as language, whoever gave it.

    The share is given for each arm and set with its interval. Set the unlearned model beside the
    retrained ones: on the forget set a high share says that facts were not forgotten as if never
    seen, but answers were broken; on the retain set, that the model is damaged. K is 1 where an
    answer is neither empty nor a repetition, and no knowledge.
    """
    threat_model = "None; it is what unlearning did to the answers."
    access = "Prompts alone."
    cost = "One greedy answer to each fact, and one pass over all arms' answers on each arm."
    leak = (
        "None by itself. A share above that of retrained models shows who was unlearned, and that "
        "low K is not the same as never having known."
    )
    source = (
        "Unlearned models hallucinate or emit broken tokens: arXiv 2605.08765, known to the "
        "authors of this tool second-hand. The judges and their calibration are this tool's."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = GibberishParameters
    presets = (Preset("greedy"),)
    searches = True
    metric = "well-formed"
    decides = False

    @property
    def variant(self) -> str:
        """How it answers, and settings that are not the usual ones."""
        changed = self.parameters.model_dump(mode="json", exclude_defaults=True)
        return " ".join(["greedy", *(f"{name}={value}" for name, value in changed.items())])

    def search_parameters(self) -> dict[str, Any]:
        """Answers do not depend on how they are judged."""
        return {}

    def forward_tokens(self, evaluation: int) -> int:
        """The answers, the wrong ones, and those of all arms."""
        return (5 + self.parameters.wrong_answers) * evaluation // 2

    def search(self, model: LanguageModel, context: AttackContext) -> Record:
        """Answer every fact."""
        named = _named(context)
        facts = [fact for _, fact in named]
        said = model.generate([fact.prompt for fact in facts], answer_room(model, facts))
        return Record(
            rows=tuple(
                Row(name, fact.id, fact.entity, str(self.metric), float(well_formed(text)), text)
                for (name, fact), text in zip(named, said, strict=True)
            )
        )

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Judge the answers of all other arms, and keep the arm's own.

        Raises:
            MeasurementError: The pool lacks what was found on this arm.
        """
        own = next((finding for finding in context.pool if finding.own), None)
        if own is None:
            raise MeasurementError("the pool lacks what was found on the measured arm")
        named = _named(context)
        limit = self._limit(model, [fact for _, fact in named])
        unlikely = {
            str(finding.arm): _unlikely(model, named, finding, limit)
            for finding in context.pool
            if not finding.own
        }
        return Record(
            rows=own.record.rows,
            notes={
                "limit": limit,
                "unlikely": unlikely,
                "malformed": {
                    name: [i for i, row in enumerate(_rows(own, name)) if row.k == 0.0]
                    for name in SETS
                },
                "answers": {name: len(_rows(own, name)) for name in SETS},
            },
        )

    def side_figures(self, notes: Mapping[str, Mapping[str, Any]]) -> Sequence[SideFigure]:
        """Share of gibberish of each arm and set."""
        return tuple(_figures(notes))

    def _limit(self, model: LanguageModel, facts: Sequence[Fact]) -> float:
        """Log-probability per token that few well-formed wrong answers fall short of."""
        wrong = alike_for_all(facts, self.parameters.wrong_answers)
        pairs = [(f.prompt, text) for f, texts in zip(facts, wrong, strict=True) for text in texts]
        scores = [score.mean_log_probability for score in model.score(pairs)]
        return float(np.quantile(scores, self.parameters.quantile, method="lower"))


def well_formed(text: str) -> bool:
    """Return whether a text holds words and does not repeat itself.

    A repetition is one to four words that follow one another four times.
    """
    words = normalised(text).split()
    if not words:
        return False
    for size in range(1, _LONGEST + 1):
        run = 0
        for place in range(size, len(words)):
            run = run + 1 if words[place] == words[place - size] else 0
            if run >= size * (REPEATED - 1):
                return False
    return True


def _named(context: AttackContext) -> list[tuple[SetName, Fact]]:
    return [(name, fact) for name in SETS for fact in context.facts.named(name)]


def _rows(finding: Finding, name: str) -> list[Row]:
    return [row for row in finding.record.rows if row.set == name]


def _unlikely(
    model: LanguageModel,
    named: Sequence[tuple[SetName, Fact]],
    finding: Finding,
    limit: float,
) -> dict[str, list[int]]:
    """Places of the answers, by set, that the model finds unlikely."""
    prompts = {(name, fact.id): fact.prompt for name, fact in named}
    found: dict[str, list[int]] = {}
    for name in SETS:
        answers = [
            (place, prompts[row.set, row.fact], row.answer)
            for place, row in enumerate(_rows(finding, name))
            if row.answer and normalised(row.answer)
        ]
        scores = model.score([(prompt, answer) for _, prompt, answer in answers])
        found[name] = [
            place
            for (place, _, _), score in zip(answers, scores, strict=True)
            if score.mean_log_probability < limit
        ]
    return found


def _figures(notes: Mapping[str, Mapping[str, Any]]) -> Iterator[SideFigure]:
    for arm, noted in notes.items():
        if "answers" not in noted:
            continue
        judges = [
            other["unlikely"][arm]
            for name, other in notes.items()
            if name != arm and arm in other.get("unlikely", {})
        ]
        for name, answers in noted["answers"].items():
            if not answers:
                continue
            broken = set(noted["malformed"][name])
            if judges:
                broken |= set.intersection(*(set(judge[name]) for judge in judges))
            lower, upper = clopper_pearson(len(broken), answers)
            yield SideFigure(
                "gibberish_share",
                arm,
                len(broken) / answers,
                lower,
                upper,
                params={"set": name},
                remarks=(
                    message("judged_by_other_models", judges=len(judges), answers=answers),
                    *((message("low_k_may_be_breakage"),) if _broken(arm, name) else ()),
                ),
            )


def _broken(arm: str, name: str) -> bool:
    return arm == Arm.UNLEARNED and name == "forget"
