"""The beginning of the true answer, given away."""

from pydantic import Field

from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.records import Record
from auditor.models.language.model import LanguageModel


class PrefillParameters(Parameters):
    """Settings of prefilling."""

    tokens: int = Field(default=1, ge=1)
    """Tokens of the true answer that are given away; at least one is left to the model."""


@attack("prompting/prefill")
class Prefill(Attack[PrefillParameters]):
    """Prefilling with the first tokens of the true answer."""

    summary = "Give away the first tokens of the true answer and measure knowledge of the rest."
    details = """
    The retrained models are given the same tokens, so what a beginning tells by itself (the
    first half of a word, a first name) counts on both sides. An answer of no more tokens than
    are given keeps its last one to be told; the notes count such answers.
    """
    threat_model = (
        "Somebody who has a part of the answer and wants the rest, or who can put words in the "
        "model's mouth."
    )
    access = (
        "Prompts, and the beginning of the model's own turn (a completion interface, or an "
        "interface that lets the caller begin the answer)."
    )
    cost = "One evaluation of the forget set."
    leak = (
        "Unlearning lowered the first token of the answer alone, and everything after it is "
        "still there."
    )
    source = (
        "That alignment can be only a few tokens deep, and prefilling as an attack on it, are "
        "from arXiv 2406.05946; shown prefixes as a measure of memorisation are from arXiv "
        "2012.07805 and 2202.07646."
    )

    parameters_type = PrefillParameters
    presets = (
        Preset("1 token", {"tokens": 1}, "quick", mandatory=True),
        Preset("2 tokens", {"tokens": 2}),
        Preset("3 tokens", {"tokens": 3}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """Number of tokens that are given."""
        count = self.parameters.tokens
        return f"{count} token{'s' if count > 1 else ''}"

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Examine the forget set with the first tokens of every answer shown."""
        given = self.parameters.tokens
        lengths = [model.answer_length(f.prompt, f.answer) for f in context.facts.forget]
        notes = {
            "answers_too_short": sum(length <= given for length in lengths),
            "mean_answer_tokens": sum(lengths) / len(lengths),
        }
        return Record(rows=context.evaluator.evaluate(model, ("forget",), shown=given), notes=notes)
