"""History of a model: all its audits that a store has seen.

The ledger asks whether a policy was chosen after its evidence was seen. Facts and seeds can be
chosen so, too: an owner can leave out the facts that leak, or draw again until nothing is found. So
every audit is noted by the unlearned model alone, before anything is measured. A store that is
thrown away takes its history along; what was audited elsewhere, nobody here knows.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from auditor.core.errors import AuditorError
from auditor.core.hashing import canonical_json, digest
from auditor.core.reading import parse_json
from auditor.store.base import EvidenceStore

HISTORY = "history"
"""Beginning of the names of the logs that hold histories."""


class PastAudit(BaseModel):
    """An audit of a model, as its plan has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    """Digest of the plan."""
    policy: str
    """Digest of the policy."""
    facts: str
    """Digest of the facts."""
    seeds: tuple[int, ...]
    """Seeds of the attacks that draw."""
    at: str
    """Time in UTC, ISO 8601."""

    @property
    def name(self) -> tuple[str, str]:
        """Plan and facts; a file that a plan names may change."""
        return self.plan, self.facts

    @property
    def asked(self) -> tuple[str, tuple[int, ...]]:
        """Facts and seeds: what makes it another draw, rather than more attacks."""
        return self.facts, self.seeds


class History:
    """All audits of one unlearned model.

    Args:
        store: Where the evidence is.
        model: Digest of the model's files.
    """

    def __init__(self, store: EvidenceStore, model: str) -> None:
        self._store = store
        self._log = HISTORY + digest(model)

    def note(self, audit: PastAudit) -> None:
        """Note an audit that begins, once for each plan and facts."""
        if not self.holds(audit):
            self._store.append(self._log, canonical_json(audit.model_dump(mode="json")))

    def holds(self, audit: PastAudit) -> bool:
        """Whether an audit of that plan and those facts was noted."""
        return any(audit.name == known.name for known in self.audits())

    def before(self, audit: PastAudit) -> tuple[PastAudit, ...]:
        """Return earlier audits, the first of each other facts or seeds.

        Of two audits that begin together, the one that is noted later finds the other.

        Args:
            audit: An audit; one of its plan and facts that was noted earlier stands for it.

        Raises:
            AuditorError: A note cannot be read.
        """
        found: dict[tuple[str, tuple[int, ...]], PastAudit] = {}
        for known in self.audits():
            if known.name == audit.name:
                break
            found.setdefault(known.asked, known)
        found.pop(audit.asked, None)
        return tuple(found.values())

    def audits(self) -> Iterator[PastAudit]:
        """Yield all audits that were noted, the first first.

        Raises:
            AuditorError: A note cannot be read.
        """
        for name, content in self._store.events(self._log):
            try:
                yield PastAudit.model_validate(parse_json(content))
            except ValueError as error:
                raise AuditorError(
                    f"the history {name} cannot be read ({type(error).__name__}). It says what of "
                    "this model was audited before; use another evidence store if it is lost."
                ) from error
