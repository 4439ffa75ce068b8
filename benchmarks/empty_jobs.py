"""Jobs that measure nothing, of which only what surrounds them is timed."""

from typing import Any

from auditor.attack import Attack, AttackContext, Parameters, attack
from auditor.core.records import Record
from auditor.models.model import AuditedModel
from auditor.store.folder_store import FolderStore


@attack("benchmark/empty")
class Empty(Attack[Parameters]):
    """Measures nothing."""

    summary = "Measures nothing."

    def measure(self, model: AuditedModel, context: AttackContext) -> Record:
        """Measure nothing."""
        return Record()


class Loaded(FolderStore):
    """Store of this module, so that workers know its attack."""


class Finished(Loaded):
    """Store that holds no job for whoever asks, and every job for the workers it is sent to."""

    sent = False

    def has(self, key: str) -> bool:
        """Whether it was sent."""
        return self.sent

    def __getstate__(self) -> dict[str, Any]:
        """Send it as one that holds every job."""
        return {**self.__dict__, "sent": True}
