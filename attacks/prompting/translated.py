"""Questions in other languages."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, TypeAdapter, model_validator

from attacks.prompting.reworded import Prompts, RewordedAttack
from attacks.prompting.text_models import TextModel
from auditor.attack import FilePath, ModelPath, Parameters, Preset, attack
from auditor.core.errors import AuditorError, UnavailableError
from auditor.core.facts import Fact, Filled
from auditor.core.hashing import digest
from auditor.core.messages import Message, message
from auditor.core.reading import DATA, parse_json, read_regular
from auditor.metrics.leak_judge import holds
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location

_TRANSLATIONS = TypeAdapter(dict[Filled, dict[Filled, Filled]])


class TranslatedParameters(Parameters):
    """Settings of translated questions."""

    translations: FilePath | None = None
    """JSON file of languages, each with the translated prompts by the facts' ids."""
    translator: ModelPath | None = None
    """A model that translates, where no file is given: an encoder-decoder for translation, or an
    instruct model."""
    languages: tuple[str, ...] = Field(default=("French",), min_length=1)
    """Languages that the translator is asked for; what stands in the place of `{language}`."""
    template: str = Field(default="{prompt}", pattern=r"\{prompt\}")
    """What the translator is given, for example `>>{language}<< {prompt}`, or `Translate into
    {language}, and say nothing else: {prompt}`."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest translation."""
    device_map: str | None = None
    """Where the translator's weights go; by default one GPU, or the CPU."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.translations is not None and self.translator is not None:
            raise ValueError("give `translations` or a `translator`, not both")
        if len(self.languages) > 1 and "{language}" not in self.template:
            raise ValueError("several `languages` need a `template` that holds {language}")
        return self


@attack("prompting/translated")
class Translated(RewordedAttack[TranslatedParameters]):
    """Translated questions, given or made by a model."""

    summary = "Ask in other languages, by translations that are given or made by a model."
    details = """
    K of a fact is the highest over the languages. The questions are the plan's own
    (`translations`), or a model translates the facts' prompts greedily, the same for all arms; a
    translation that holds the answer where the prompt does not is left out. The answer that is
    looked for is the fact's own, so facts whose answers are names, dates and numbers suit it best,
    and `accepted` holds their forms in other languages.

    The gap between original and retrained models shows whether the original understands the
    languages. prompting/reframing has foreign frames around the question itself.
    """
    threat_model = "Any user who speaks another language."
    access = "Prompts alone."
    cost = "One evaluation of the forget set a language; a translator is loaded beside the arm."
    leak = (
        "Unlearning was done in one language, and the knowledge is kept in a form that all share."
    )
    source = (
        "Knowledge that unlearning in one language leaves in others is reported in arXiv "
        "2601.05641 (ten languages) and 2606.03291 (five); only abstracts were at hand."
    )

    parameters_type = TranslatedParameters
    presets = (Preset("given", {}, "exhaustive"),)

    @property
    def variant(self) -> str:
        """Where the translations are from."""
        p = self.parameters
        return "given" if p.translator is None else f"translated into {', '.join(p.languages)}"

    @property
    def count(self) -> int:
        """The languages."""
        if self.parameters.translations is None:
            return len(self.parameters.languages)
        return max(1, len(self._given))

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None; it needs translations."""
        if self.parameters.translations is None and self.parameters.translator is None:
            return message("translations_not_given")
        return super().unavailable(location)

    def inputs(self) -> Mapping[str, str]:
        """Digest of the translations, or of the translator's files.

        Raises:
            AuditorError: the file holds something else, or the model does not open.
        """
        if self.parameters.translations is not None:
            return {"translations": digest(self._given)}
        if self.parameters.translator is not None:
            return {"translator": self._translator.digest}
        return {}

    def wordings(
        self, model: LanguageModel, evaluator: TextEvaluator, seed: int
    ) -> Mapping[str, Prompts]:
        """One wording a language.

        Raises:
            UnavailableError: no forget fact has a translation.
        """
        forget = evaluator.sets.forget
        found = (
            self._translated(model, forget) if self.parameters.translations is None else self._given
        )
        asked = {
            language: {f.id: prompts[f.id] for f in forget if _asks_anew(prompts.get(f.id), f)}
            for language, prompts in found.items()
        }
        if not any(asked.values()):
            raise UnavailableError(
                "no forget fact has a translation that differs from its prompt and does not hold "
                "its answer; translations go by the facts' ids"
            )
        return asked

    def _translated(
        self, model: LanguageModel, facts: tuple[Fact, ...]
    ) -> dict[str, dict[str, str]]:
        found = {}
        with self._translator.opened(model) as translator:
            for language in self.parameters.languages:
                template = self.parameters.template.replace("{language}", language)
                prompts = [template.replace("{prompt}", fact.prompt) for fact in facts]
                said = translator.generate(prompts, self.parameters.max_new_tokens)
                found[language] = {fact.id: t for fact, t in zip(facts, said, strict=True)}
        return found

    @cached_property
    def _translator(self) -> TextModel:
        return TextModel.locate(str(self.parameters.translator), self.parameters.device_map)

    @cached_property
    def _given(self) -> dict[str, dict[str, str]]:
        path = Path(str(self.parameters.translations)).expanduser()
        try:
            return _TRANSLATIONS.validate_python(parse_json(read_regular(path, DATA)))
        except (OSError, ValueError) as error:
            said = str(error).splitlines()[0]
            raise AuditorError(
                f"{path} holds no translations ({said}). Write a JSON object of languages, each "
                'with prompts by the facts\' ids: {"French": {"ann/born": "Où est née Ann ?"}}.'
            ) from error


def _asks_anew(translation: str | None, fact: Fact) -> bool:
    """Whether a translation is another prompt and does not tell the answer."""
    if translation is None or not translation.strip() or translation == fact.prompt:
        return False
    forms = (fact.answer, *fact.accepted)
    return not any(holds(translation, f) and not holds(fact.prompt, f) for f in forms)
