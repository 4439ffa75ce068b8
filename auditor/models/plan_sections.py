"""Sections of a plan that a kind of model may extend.

They are its data and its metrics.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from auditor.data.source import DataSource


class Section(BaseModel):
    """A part of a plan; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    """Section of a plan on where the facts are."""

    forget: DataSource
    """Facts that must be gone."""
    retain: DataSource | None = None
    """Facts that must stay. Without them utility is not measured and nothing can PASS."""
    holdout: DataSource | None = None
    """Facts like those to forget, but never seen by any arm."""

    @field_validator("forget", "retain", "holdout", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @property
    def hazardous(self) -> bool:
        """Whether a set holds texts that may not travel."""
        sources = (self.forget, self.retain, self.holdout)
        return any(source.hazardous for source in sources if source is not None)


class MetricSection(Section):
    """Section of a plan on the metrics of knowledge."""

    primary: str
    """Primary metric, which decides; by default the first of the kind's. It is named here, before
    any model is opened."""
    deciding: tuple[str, ...] = ()
    """Further metrics that decide, by default the kind's: a PASS needs every one of them."""
    reported: tuple[str, ...]
    """Metrics shown beside them, by default the others of the kind's."""

    @property
    def decides(self) -> tuple[str, ...]:
        """Metrics that decide, the primary one first, each once."""
        return tuple(dict.fromkeys((self.primary, *self.deciding)))

    @property
    def beside(self) -> tuple[str, ...]:
        """Metrics that are reported and do not decide, each once."""
        return tuple(name for name in self.all if name not in self.decides)

    @property
    def all(self) -> tuple[str, ...]:
        """Deciding and reported metrics, each once, the primary one first."""
        return tuple(dict.fromkeys((*self.decides, *self.reported)))
