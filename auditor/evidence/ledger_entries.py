"""What the ledger of an evidence store says: which audits it has seen, under which policies.

Here it is only read, without the engine that writes it: whoever looks at a store needs no model.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from auditor.core.errors import AuditorError

FOLDER = "audits"
"""Of a store, in which its entries are."""


class Undertaking(BaseModel):
    """An audit under one policy."""

    model_config = ConfigDict(frozen=True)

    policy: str
    """Digest."""
    name: str
    """Of the policy."""
    begun: str
    """UTC, ISO 8601."""
    finished: str | None = None
    jobs: dict[str, dict[str, tuple[str, ...]]]
    """Label of each attack to arm to keys of its jobs."""


class Entry(BaseModel):
    """All audits of one unlearned model on one set of facts."""

    model_config = ConfigDict(frozen=True)

    unlearned: str
    """Where the model lay when it was first audited."""
    undertakings: tuple[Undertaking, ...] = ()


def read_entry(file: Path) -> Entry:
    """An entry of a store.

    Raises:
        AuditorError: it cannot be read.
    """
    try:
        return Entry.model_validate(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise AuditorError(
            f"the ledger {file} cannot be read ({type(error).__name__}). It says under which "
            "policies this model was audited; use another evidence store if it is lost."
        ) from error
