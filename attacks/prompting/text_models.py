"""Text models that help an attack: they translate, or propose prompts.

They are opened beside the audited model, and their tokens count as the attack's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from auditor.core.errors import AuditorError
from auditor.models.kind import parse_spec
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location
from auditor.models.opening import check_unopenable, locate, open_model
from auditor.models.spec import ModelSpec, PromptFormat


class TextModel(NamedTuple):
    """A located text model, of any kind that answers in text."""

    spec: ModelSpec
    location: Location

    @classmethod
    def locate(cls, path: str, device_map: str | None = None) -> Self:
        """Find, check and hash a model.

        Args:
            path: Local directory, or a name on the hub.
            device_map: Where its weights go; by default one GPU, or the CPU.

        Raises:
            AuditorError: It is not there, is not safe to load, or does not open.
        """
        spec = parse_spec({"path": path, "device_map": device_map})
        location = locate(spec)
        check_unopenable(spec, location)
        return cls(spec, location)

    @property
    def digest(self) -> str:
        """Digest of its files."""
        return self.location.manifest.digest

    @contextmanager
    def opened(self, beside: LanguageModel) -> Iterator[LanguageModel]:
        """Open it beside an audited model, for the time of the context.

        It reads prompts in its chat template where it has one.

        Raises:
            AuditorError: It answers in something else than text.
        """
        plain = self._open(PromptFormat(), beside)
        model = plain
        if plain.tokenizer.chat_template:
            model = self._open(PromptFormat(chat=True), beside)
        try:
            yield model
        finally:
            model.close()

    def _open(self, prompt_format: PromptFormat, beside: LanguageModel) -> LanguageModel:
        model = open_model(self.spec, self.location, prompt_format, beside.token_budget)
        if not isinstance(model, LanguageModel):
            raise AuditorError(f"{self.spec.path} is no model that answers in text; give one.")
        model.meter = beside.meter
        return model
