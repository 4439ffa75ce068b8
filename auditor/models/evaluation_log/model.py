"""Log that stands in for a model."""

from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from auditor.core.errors import UnavailableError
from auditor.data.logs.log import ReadLog
from auditor.models.evaluation_log.reading import files_of, read_log
from auditor.models.evaluation_log.spec import EvaluationLogSpec
from auditor.models.manifest import Location
from auditor.models.model import AuditedModel

if TYPE_CHECKING:
    from torch import nn


class EvaluationLog(AuditedModel):
    """Log of one model: its answers are there, the model is not."""

    def __init__(self, spec: EvaluationLogSpec, location: Location) -> None:
        super().__init__(spec, location)
        self._own = spec

    @cached_property
    def log(self) -> ReadLog:
        """Content of the log."""
        return read_log(self._own, files_of(self._own))

    @property
    def network(self) -> "nn.Module":
        """Nothing: a log holds no network."""
        self._refuse()

    def preserve_weights(self) -> "AbstractContextManager[nn.Module]":
        """Lend nothing: a log holds no weights."""
        self._refuse()

    def directory(self, scratch: Path) -> Path:
        """Return nothing: a log holds no weights."""
        self._refuse()

    def close(self) -> None:
        """Do nothing."""

    def _refuse(self) -> NoReturn:
        raise UnavailableError("a log holds answers and figures, and no model")
