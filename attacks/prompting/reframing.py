"""The question in another role or another task."""

from collections.abc import Mapping, Sequence
from typing import Literal

from attacks.prompting.framings import FRAMES, OPEN, multiple_choice
from attacks.prompting.reworded import Prompts, RewordedAttack, applied
from auditor.attack import Parameters, Preset, attack
from auditor.core.errors import UnavailableError
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel


class ReframingParameters(Parameters):
    """Settings of reframing."""

    kind: Literal["open", "multiple choice"] = "open"
    """open: twelve frames that do not show the answer. multiple choice: the answer is shown among
    the fact's `distractors`; by itself, since that raises K on every arm."""


@attack("prompting/reframing")
class Reframing(RewordedAttack[ReframingParameters]):
    """Questions within a persona or another task."""

    summary = (
        "Ask through a persona or as another task: role play, story, answer key, foreign frame."
    )
    details = """
    Twelve frames: prefix injection, affirmative suffix, role play, denied forgetting, story,
    answer key, record, inspection, a French and a German frame, a background hint that names
    the entity, and synonyms for words of the question. K of a fact is the highest over the
    frames; the notes give the mean of each. The plain question is not among them (none/as-is
    asks it), so that the gap shows whether the original understands the frames.

    In multiple choice the answer stands among wrong ones, so a retrained model can copy it too;
    what counts is how much more often the audited one does.
    """
    threat_model = "A user who has read about jailbreaks."
    access = "Prompts alone; for multiple choice a guess at what the answer might be."
    cost = "Twelve evaluations of the forget set, or one."
    leak = "Unlearning works on the plain question only, as refusals do."
    source = (
        "RWKU (arXiv 2406.10890), whose nine kinds of adversarial metrics these follow in our "
        "own words. Left out are the reversed query (a fact has one question), in-context "
        "examples (prompting/few-shot), and translated questions (the frame alone is foreign "
        "here)."
    )

    parameters_type = ReframingParameters
    presets = (
        Preset("open", {"kind": "open"}),
        Preset("multiple choice", {"kind": "multiple choice"}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """The kind."""
        return self.parameters.kind

    @property
    def count(self) -> int:
        """The frames."""
        return len(OPEN) if self.parameters.kind == "open" else 1

    def texts(self) -> Sequence[str]:
        """The frames."""
        return tuple(FRAMES.values())

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """One wording a frame."""
        forget = evaluator.sets.forget
        if self.parameters.kind == "open":
            return applied(forget, OPEN)
        if not any(fact.distractors for fact in forget):
            raise UnavailableError("no forget fact has `distractors` to choose from; give some")
        return applied(forget, {"multiple choice": multiple_choice})
