"""Where a set of facts is read from, and how its columns are called."""

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
"""Published data sets by the names of their columns (fact field: column)."""


class DataSource(BaseModel):
    """A file (JSON Lines, CSV, Parquet) or a data set on the Hugging Face hub."""

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
    """Published column names to start from."""
    fields: dict[str, str] = {}
    """Fact field: column that holds it; wins over ``layout``."""

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
        """What errors call it."""
        return self.path or f"{self.dataset}/{self.config or 'default'}/{self.split}"

    def column(self, field: str) -> str:
        """The column that holds a fact's ``field``."""
        return self.fields.get(field, SCHEMAS[self.layout].get(field, field))
