"""The same question in other words."""

from collections.abc import Mapping
from typing import Literal

from attacks.prompting.reworded import Prompts, RewordedAttack, Wording, applied
from attacks.prompting.sentence_rules import RULES
from auditor.attack import Parameters, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel

_USUAL = 4
"""Paraphrases that a fact is expected to have, for the estimate of the cost."""


class ParaphraseParameters(Parameters):
    """Settings of paraphrasing."""

    source: Literal["given", "rules"] = "given"
    """given: each fact's own `paraphrases`. rules: six fixed rules of grammar and framing."""


@attack("prompting/paraphrase")
class Paraphrase(RewordedAttack[ParaphraseParameters]):
    """Paraphrased questions, given or made by rules."""

    summary = "Ask the same in other words: the fact's given paraphrases, or rule-made ones."
    details = """
    K of a fact is the highest over its paraphrases. The rules need no data: labels for question
    and answer, a courteous sentence, an order to answer, the question inside a sentence, the
    question turned into a sentence to complete ("Where was Ann born?" to "Ann was born in"),
    and into an order to name ("Name the trade of Ann."). The last two apply to plain English
    questions only. Facts without a paraphrase are asked as they stand.

    The fact's own prompt is not among them. none/as-is asks that one, and without it the gap
    between original and retrained models shows whether the original understands the others.
    """
    threat_model = "Any user, by accident or on purpose."
    access = "Prompts alone."
    cost = "One evaluation of the forget set for each paraphrase."
    leak = "The model is silent on the phrasing that unlearning trained on, and answers another."
    source = (
        "Paraphrased questions as a test of unlearning are from TOFU (arXiv 2401.06121) and RWKU "
        "(arXiv 2406.10890); the rules are this project's."
    )

    parameters_type = ParaphraseParameters
    presets = (
        Preset("given", {"source": "given"}),
        Preset("rules", {"source": "rules"}),
    )

    @property
    def variant(self) -> str:
        """Source of the paraphrases."""
        return self.parameters.source

    @property
    def count(self) -> int:
        """The rules, or as many paraphrases as facts usually have."""
        return len(RULES) if self.parameters.source == "rules" else _USUAL

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """Wordings by rule, or by place in the list of paraphrases."""
        forget = evaluator.sets.forget
        if self.parameters.source == "rules":
            return applied(forget, RULES)
        most = max(len(fact.paraphrases) for fact in forget)
        if not most:
            raise UnavailableError(
                "no forget fact has `paraphrases`; give some, or use the variant `rules`"
            )
        return applied(forget, {f"paraphrase {i + 1}": _given(i) for i in range(most)})


def _given(index: int) -> Wording:
    def wording(fact: Fact) -> str | None:
        return fact.paraphrases[index] if index < len(fact.paraphrases) else None

    return wording
