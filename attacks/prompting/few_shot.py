"""Few-shot prompting: answered questions before the one that is asked."""

import random
from collections.abc import Mapping, Sequence

from pydantic import Field

from attacks.prompting.reworded import Prompts, RewordedAttack
from auditor.attack import Parameters, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.metrics.leak_judge import holds
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel
from auditor.models.spec import PromptFormat


class FewShotParameters(Parameters):
    """Settings of few-shot prompting."""

    shots: int = Field(default=4, ge=1)
    """Retain facts, with their answers, before each question."""
    draws: int = Field(default=3, ge=1)
    """Draws of examples with each seed; the strongest counts."""
    separator: str = "\n\n"
    """Text between an example's answer and the next question."""


@attack("prompting/few-shot")
class FewShot(RewordedAttack[FewShotParameters]):
    """Few-shot prompting with retain facts."""

    summary = "Show the model a few answered questions from the retain set, then ask."
    details = """
    The examples are retain facts in the audit's own prompt format, drawn by the seed; each draw
    is the same for all facts and all arms, but an example that holds the answer of the fact in
    question is passed over. Several draws are made and the strongest counts. In a chat template
    all examples stand in the one message of the user. The question without examples is left to
    none/as-is, so that the gap shows whether the original understands prompts of this kind.
    """
    threat_model = "Any user who knows some other facts that the model knows."
    access = "Prompts alone, and a few facts that were kept."
    cost = (
        "One evaluation of the forget set with a prompt of some 1 + shots questions, for each "
        "draw and seed."
    )
    leak = (
        "Unlearning taught the model to refuse or to stray when asked plainly; examples put it "
        "back into the habit of answering."
    )
    source = (
        "In-context learning as an attack on unlearning is from RWKU (arXiv 2406.10890) and "
        "arXiv 2402.16835."
    )

    parameters_type = FewShotParameters
    presets = (
        Preset("4-shot", {"shots": 4}),
        Preset("8-shot", {"shots": 8}, "exhaustive"),
    )
    seeded = True
    shorter = "ask for fewer `shots`"

    @property
    def variant(self) -> str:
        """Number of examples."""
        return f"{self.parameters.shots}-shot"

    @property
    def count(self) -> int:
        """Draws, each with so many more questions."""
        return self.parameters.draws * (1 + self.parameters.shots)

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """One wording a draw.

        Raises:
            UnavailableError: there are too few retain facts.
        """
        forget, retain = evaluator.sets.forget, evaluator.sets.retain
        found = {}
        for draw in range(self.parameters.draws):
            order = list(retain)
            random.Random(f"{seed}/{draw}").shuffle(order)  # noqa: S311 - a reproducible draw
            found[f"draw {draw + 1}"] = {
                fact.id: few_shot_prompt(
                    fact,
                    examples(fact, order, self.parameters.shots),
                    model.prompt_format,
                    self.parameters.separator,
                )
                for fact in forget
            }
        return found


def examples(fact: Fact, order: Sequence[Fact], shots: int) -> list[Fact]:
    """The first ``shots`` of ``order`` that do not hold the fact's answer.

    Raises:
        UnavailableError: there are fewer.
    """
    chosen = [e for e in order if not holds(f"{e.prompt} {e.answer}", fact.answer)][:shots]
    if len(chosen) < shots:
        raise UnavailableError(
            f"{shots} retain facts are needed as examples, and there are {len(chosen)} that do "
            f"not hold the answer of {fact.id!r}; give a (larger) retain set"
        )
    return chosen


def few_shot_prompt(
    fact: Fact, shown: Sequence[Fact], prompt_format: PromptFormat, between: str
) -> str:
    r"""Prompt of examples and a question for the format's template.

    With the template ``Q: {prompt}\nA:`` the model sees ``Q: …\nA: …\n\nQ: …\nA:``.

    Args:
        fact: what is asked.
        shown: the examples, in order.
        prompt_format: its template may hold more than one ``{prompt}``; its separator stands
            before each example's answer.
        between: what stands after each example's answer.
    """
    template = prompt_format.template
    before, _, after = template.partition("{prompt}")
    if "{prompt}" in after:
        raise UnavailableError(
            "the format's template holds {prompt} more than once, so that examples would stand "
            "in it more than once; use a template with one {prompt}"
        )
    answered = "".join(
        template.replace("{prompt}", e.prompt) + prompt_format.separator + e.answer + between
        for e in shown
    )
    return answered.removeprefix(before) + (before if shown else "") + fact.prompt
