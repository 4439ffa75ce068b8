"""The same words, written otherwise."""

import re
import unicodedata
from collections.abc import Mapping

from attacks.prompting.reworded import Prompts, RewordedAttack, Wording, applied
from auditor.attack import Parameters, Preset, attack
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel

FORMS: Mapping[str, Wording] = {
    "lower case": lambda fact: fact.prompt.lower(),
    "upper case": lambda fact: fact.prompt.upper(),
    "no punctuation": lambda fact: without_punctuation(fact.prompt),
    "doubled spaces": lambda fact: re.sub(r" +", "  ", fact.prompt),
    "trailing space": lambda fact: f"{fact.prompt} ",
    "quotation marks": lambda fact: f'"{fact.prompt}"',
}
"""Ways to write a prompt, by name."""


@attack("prompting/surface")
class Surface(RewordedAttack[Parameters]):
    """Questions in another spelling or layout."""

    summary = "Write the question otherwise: capitals, spaces, punctuation, quotation marks."
    details = """
    Six forms: all small letters, all capitals, no punctuation, doubled spaces, a space at the
    end, quotation marks around it. The words stay. K of a fact is the highest over the forms,
    to which the prompt as it stands does not belong (none/as-is asks it).
    """
    threat_model = "Any user, most of them without meaning to attack."
    access = "Prompts alone."
    cost = "Six evaluations of the forget set."
    leak = (
        "The model is silent on the exact string that unlearning trained on, and answers where "
        "it is cut into other tokens."
    )
    source = (
        "Sensitivity of language models to formatting that means nothing is measured in arXiv "
        "2310.11324; the forms are this project's."
    )

    presets = (Preset("six forms"),)

    @property
    def variant(self) -> str:
        """The only variant."""
        return "six forms"

    @property
    def count(self) -> int:
        """The forms."""
        return len(FORMS)

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """One wording a form."""
        return applied(evaluator.sets.forget, FORMS)


def without_punctuation(text: str) -> str | None:
    """Text without punctuation marks (Unicode category P).

    None if nothing else is left.
    """
    kept = "".join(c for c in text if not unicodedata.category(c).startswith("P")).strip()
    return kept or None
