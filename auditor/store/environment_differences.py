"""Differences of the environments in which arms were measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from auditor.store.base import EvidenceStore
from auditor.store.environment import Environment

DEVICE = "device"
"""Name of the difference of devices; other differences have the name of a package."""


@dataclass(frozen=True)
class EnvironmentDifference:
    """Something in which the environments of an attack's arms differ."""

    what: str
    """Thing that differs: ``device``, or the name of a distribution."""
    values: Mapping[str, str]
    """Device or version by arm."""


def environment_differences(
    store: EvidenceStore, jobs: Mapping[str, Sequence[str]]
) -> tuple[EnvironmentDifference, ...]:
    """Compare the environments in which the arms of one attack were measured.

    Arms are compared seed by seed, and so are the searches whose findings were pooled. Versions of
    a package that only some of them needed are not compared.

    Args:
        store: Where the evidence is.
        jobs: Arm to the keys of its measurements, one a seed.

    Returns:
        One difference for the device and for each package, sorted by name.

    Raises:
        EvidenceChangedError: Evidence was changed after it was measured, or is not there.
    """
    found: dict[str, EnvironmentDifference] = {}
    for compared in _compared(store, jobs):
        environments = {
            arm: environment
            for arm, key in compared.items()
            if (environment := store.environment(key)) is not None
        }
        for difference in _differences(environments):
            found.setdefault(difference.what, difference)
    return tuple(found[what] for what in sorted(found))


def _compared(store: EvidenceStore, jobs: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield arm to key of jobs that should have been done alike."""
    for index in range(max(map(len, jobs.values()), default=0)):
        measured = {arm: keys[index] for arm, keys in jobs.items() if index < len(keys)}
        yield measured
        # every arm is measured with the same pool, so one of them says what is in it
        pool = store.identity(next(iter(measured.values()))).get("pool", [])
        yield {entry["arm"]: entry["key"] for entry in pool}


def _differences(environments: Mapping[str, Environment]) -> Iterator[EnvironmentDifference]:
    devices = {arm: environment.device for arm, environment in environments.items()}
    if len(set(devices.values())) > 1:
        yield EnvironmentDifference(DEVICE, devices)
    if not environments:
        return
    for name in set.intersection(*(set(e.packages) for e in environments.values())):
        versions = {arm: e.packages[name] for arm, e in environments.items()}
        if len(set(versions.values())) > 1:
            yield EnvironmentDifference(name, versions)
