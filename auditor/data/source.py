"""Source of a set of facts, and the names of its columns."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from auditor.core import aliases
from auditor.core.facts import Fact
from auditor.core.paths import FilePath

Schema = Literal["auditor", "tofu", "muse", "muse-verbatim", "rwku"]

SCHEMAS: dict[Schema, dict[str, str]] = {
    "auditor": {},
    "tofu": {"prompt": "question", "entity": "author", "distractors": "perturbed_answer"},
    "muse": {"prompt": "question"},
    "muse-verbatim": {"answer": "gt"},
    "rwku": {"prompt": "query"},
}
"""Column of each fact field, by the layout of a published data set."""


class DataSource(BaseModel):
    """File or hub data set that holds facts.

    A file is JSON Lines, JSON, CSV or Parquet; the hub is Hugging Face's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: FilePath | None = None
    """File to read; the ending says its format (.jsonl, .json, .csv, .parquet)."""
    dataset: str | None = None
    """Name of a data set on the hub."""
    config: str | None = None
    """Configuration of the hub data set."""
    split: str = "train"
    """Split of the hub data set."""
    revision: str | None = None
    """Commit or tag of the hub data set."""
    layout: Schema = "auditor"
    """Layout of a published data set whose column names are the defaults."""
    fields: dict[str, str] = {}
    """Column of each fact field; it wins over ``layout``."""

    @field_validator("fields", mode="before")
    @classmethod
    def _former_fields(cls, value: Any) -> Any:
        return aliases.renamed(value, aliases.FIELDS) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _one_place(self) -> "DataSource":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either `path` (a file) or `dataset` (a name on the hub)")
        if unknown := sorted(self.fields.keys() - Fact.model_fields.keys()):
            known = ", ".join(Fact.model_fields)
            raise ValueError(f"`fields` maps {', '.join(unknown)}; a fact has {known}")
        return self

    @property
    def name(self) -> str:
        """Name of the source in errors."""
        return self.path or f"{self.dataset}/{self.config or 'default'}/{self.split}"

    def column(self, field: str) -> str:
        """Return the column that holds a fact's ``field``."""
        return self.fields.get(field, SCHEMAS[self.layout].get(field, field))
