"""Text models that help an attack: they translate, or propose prompts.

They are opened beside the audited model, and their tokens count as the attack's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self, cast

from pydantic import ValidationError

from auditor.core.errors import AuditorError
from auditor.models.kind import parse_spec
from auditor.models.language.model import LanguageModel
from auditor.models.language.spec import LanguageSpec
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
            AuditorError: It is not there, is not safe to load, does not open, or answers in
                something else than text.
        """
        try:
            spec = parse_spec({"path": path, "device_map": device_map})
        except ValidationError as error:
            raise AuditorError(f"{path} is no model that can be opened: {error}") from error
        if not isinstance(spec, LanguageSpec):
            raise AuditorError(f"{path} is no model that answers in text; give one.")
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
        """
        opened = open_model(self.spec, self.location, PromptFormat(), beside.token_budget)
        model = cast("LanguageModel", opened)  # its spec says so
        model.meter = beside.meter
        if model.tokenizer.chat_template:
            model.ask_in(PromptFormat(chat=True))
        try:
            yield model
        finally:
            model.close()
