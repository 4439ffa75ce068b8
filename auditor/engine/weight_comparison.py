"""The weights of an audit's models, compared and kept as evidence."""

import platform
import time
from dataclasses import asdict, dataclass
from typing import Any

from auditor.core.arms import Arm
from auditor.core.hashing import digest
from auditor.core.packages import installed_version
from auditor.core.progress import Progress
from auditor.core.records import Cost, Record
from auditor.engine.fingerprint import fingerprint
from auditor.engine.preparation import Prepared
from auditor.models.weight_distances import BUDGET, WeightDistance, weight_distances
from auditor.store.base import EvidenceStore
from auditor.store.environment import CPU, Environment

STAGE = "compare weights"
"""Stage of the job, by which its identity is told from those of attacks."""
_PAIRS = "pairs"


@dataclass(frozen=True)
class ComparedWeights:
    """Distances between the weights of an audit's models.

    Attributes:
        job: key of the evidence.
        seal: digest of the evidence.
        budget: numbers of each pair that are read at most.
        pairs: distance of each pair of models.
    """

    job: str
    seal: str
    budget: int
    pairs: tuple[WeightDistance, ...]


def compare_weights(
    prepared: Prepared, store: EvidenceStore, progress: Progress
) -> ComparedWeights | None:
    """Compare the weights of all arms, unless the store holds the result.

    Args:
        prepared: the audit.
        store: where the result is kept, by the digests of the models.
        progress: is told how far it has come.

    Returns:
        None where the models' files hold no weights.
    """
    if not prepared.plan.kind.weighed:
        return None
    arms = sorted(prepared.locations, key=lambda arm: Arm(arm).place)
    locations = {arm: prepared.locations[arm] for arm in arms}
    identity = {
        "stage": STAGE,
        "models": {arm: location.manifest.digest for arm, location in locations.items()},
        "budget": BUDGET,
        "code": fingerprint([weight_distances.__module__]),
    }
    key = digest(identity)
    if not store.has(key):
        began = time.monotonic()
        seed = locations[Arm.UNLEARNED].manifest.digest
        pairs = weight_distances(locations, seed, progress)
        notes = {_PAIRS: [asdict(pair) for pair in pairs]}
        here = Environment(
            device=CPU,
            python=platform.python_version(),
            packages={"numpy": installed_version("numpy")},
        )
        store.write(key, identity, Record(notes=notes), Cost(time.monotonic() - began, 0), here)
    return ComparedWeights(key, store.seal(key), BUDGET, kept_distances(store, key))


def kept_distances(store: EvidenceStore, key: str) -> tuple[WeightDistance, ...]:
    """Read the distances that a job found.

    Raises:
        EvidenceChangedError: they were changed, or are not there.
    """
    pairs: list[dict[str, Any]] = store.notes(key)[_PAIRS]
    return tuple(WeightDistance(**pair) for pair in pairs)
