"""What a finished job leaves behind."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from auditor.data.fact import SetName


class Row(NamedTuple):
    """Knowledge of one fact under one probe, as one job measured it."""

    set: SetName
    fact: str
    subject: str
    probe: str
    k: float
    """Knowledge in [0, 1]; higher is more."""
    answer: str | None
    """What the model said, where the probe made it speak."""


@dataclass(frozen=True)
class Record:
    """Evidence of one job: rows of knowledge, and what explains them."""

    rows: tuple[Row, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    """JSON values worth keeping: recipe, digest of a calibration set, class of layers."""
    arrays: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    """Arrays for the attack's own later use (quantization codes, searched embeddings)."""


@dataclass(frozen=True)
class Cost:
    """What a job took."""

    seconds: float
    """Wall-clock time; differs from run to run, so no digest covers it."""
    forward_tokens: int
    """Tokens (padding included) that went through a model."""
