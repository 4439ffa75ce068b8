"""Where a set of facts is read from, and how its columns are called."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from auditor.core.facts import Fact

Schema = Literal["auditor", "tofu", "muse", "muse-verbatim", "rwku"]

SCHEMAS: dict[Schema, dict[str, str]] = {
    "auditor": {},
    "tofu": {"prompt": "question", "entity": "author", "distractors": "perturbed_answer"},
    "muse": {"prompt": "question"},
    "muse-verbatim": {"answer": "gt"},
    "rwku": {"prompt": "query"},
}
"""Published data sets by the names of their columns (fact field: column)."""


FORMER_ENTITY = "subject"
"""Name of the field `entity` before version 0.2; files and plans may still use it."""


class DataSource(BaseModel):
    """A file (JSON Lines, CSV, Parquet) or a data set on the Hugging Face hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
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
    def _former_entity(cls, value: Any) -> Any:
        if isinstance(value, dict) and FORMER_ENTITY in value:
            value = {"entity" if k == FORMER_ENTITY else k: v for k, v in value.items()}
        return value

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
