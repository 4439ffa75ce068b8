"""Source of a set of facts, and the names of its columns."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from auditor.core import aliases
from auditor.core.facts import Fact
from auditor.core.paths import FilePath
from auditor.data.layouts import LAYOUTS, Layout, Schema, is_hazardous


def _unset(value: object) -> bool:
    """Return whether a field is left out.

    So plans without it keep their digest.
    """
    return value is None or value in ({}, (), "refused", False)


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
    """Column of each fact field; it wins over ``layout``. A column within another is written with
    a dot: ``qa.question``."""
    rows_per_entity: int | None = Field(default=None, ge=2, exclude_if=_unset)
    """Rows of one entity, where no column names it and the rows of each stand together."""
    only: dict[str, str] = Field(default={}, exclude_if=_unset)
    """Column to the value that a row must have in it; other rows are not read."""
    repeats: Literal["refused", "dropped"] = Field(default="refused", exclude_if=_unset)
    """What becomes of rows that ask and answer the same as an earlier one."""
    published_rows: int | None = Field(default=None, ge=1, exclude_if=_unset)
    """Rows with which the set is published; another number is a warning."""
    redact: bool = Field(default=False, exclude_if=_unset)
    """Whether its texts may not travel: no message quotes them, and certificates are redacted."""
    further: tuple["DataSource", ...] = Field(default=(), max_length=100, exclude_if=_unset)
    """Further sources whose rows belong to the same set."""

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

    @property
    def published(self) -> Layout:
        """Layout whose column names are the defaults."""
        return LAYOUTS[self.layout]

    @property
    def hazardous(self) -> bool:
        """Whether it holds texts that may not travel.

        Its layout, its name or its owner says so.
        """
        names = (self.dataset, self.config, self.path and Path(self.path).name)
        named = any(is_hazardous(name) for name in names if name)
        own = self.redact or self.published.hazardous or named
        return own or any(source.hazardous for source in self.further)

    def column(self, field: str) -> str:
        """Return the column that holds a fact's ``field``."""
        return self.fields.get(field, self.published.columns.get(field, field)).strip()
