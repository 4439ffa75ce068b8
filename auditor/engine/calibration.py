"""Calibration of estimates by what finished jobs of a store took."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from auditor.attack import AnyAttack
from auditor.core.errors import AuditorError
from auditor.core.hashing import digest
from auditor.engine.capacity import need, workload
from auditor.engine.expansion import instantiate
from auditor.engine.job import Stage
from auditor.engine.machine import Machine
from auditor.engine.preparation import Prepared
from auditor.models.kind import Workload
from auditor.models.shape import Shape
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore

_MOST = 5_000
"""Finished jobs that are read at most."""


class _Finished(NamedTuple):
    """A finished job, and the ratio of its time to the expected."""

    attack: str
    parameters: str
    """Digest of them."""
    stage: Stage
    ratio: float


class Calibration:
    """Ratios of what jobs took to what was expected of them.

    Args:
        finished: Finished jobs of the models and of the device that an estimate is for.
    """

    def __init__(self, finished: Sequence[_Finished] = ()) -> None:
        self._ratios: dict[tuple[str, ...], list[float]] = defaultdict(list)
        of_attacks: dict[str, list[float]] = defaultdict(list)
        for one in finished:
            for place in ((one.attack, one.stage, one.parameters), (one.attack, one.stage)):
                self._ratios[place].append(one.ratio)
            of_attacks[one.attack].append(one.ratio)
        self._usual = [statistics.median(ratios) for ratios in of_attacks.values()]
        self.jobs = len(finished)
        """Number of finished jobs that it rests on."""

    def ratio(self, attack: AnyAttack, stage: Stage) -> float:
        """Return how many times as long as expected such a job takes.

        It is the median of jobs at this level, or of this attack, or of all attacks.
        """
        searching = stage == "search"
        asked = attack.search_parameters() if searching else _parameters(attack)
        places = (attack.name, stage, digest(asked)), (attack.name, stage)
        known = (self._ratios[place] for place in places if place in self._ratios)
        found = next(known, self._usual)
        return statistics.median(found) if found else 1.0

    def knows(self, attack: AnyAttack) -> bool:
        """Whether jobs of an attack are among the finished ones."""
        return (attack.name, "measure") in self._ratios


def expected(attack: AnyAttack, seconds: float) -> float:
    """Return the seconds of one stage, given those of both."""
    return seconds / 2 if attack.searches else seconds


def calibrate(
    prepared: Prepared, store: EvidenceStore, machine: Machine, shapes: Mapping[str, Shape]
) -> Calibration:
    """Compare what finished jobs took with what was expected of them.

    Args:
        prepared: The plan and its checked inputs.
        store: The store, whose other audits count, too.
        machine: The machine; of a stated one nothing is known.
        shapes: Shape of each arm's model.
    """
    if machine.stated:
        return Calibration()
    return Calibration(tuple(_finished(prepared, store, machine, shapes)))


def _finished(
    prepared: Prepared, store: EvidenceStore, machine: Machine, shapes: Mapping[str, Shape]
) -> Iterator[_Finished]:
    """Yield the finished jobs that can be compared."""
    known = {location.manifest.digest: shapes[arm] for arm, location in prepared.locations.items()}
    works: dict[tuple[str, tuple[str, ...], bool], Workload] = {}
    for key in islice(store.keys(), _MOST):
        try:
            identity, environment = store.identity(key), store.environment(key)
            shape = known.get(identity["model"])
            if shape is None or environment is None or environment.device != machine.name:
                continue
            attack = instantiate(identity["attack"], identity["parameters"])
            asked = identity["facts"], tuple(identity["metrics"]), attack.name == AS_IS
            if asked not in works:
                facts, metrics, everything = asked
                works[asked] = workload(
                    prepared, everything=everything, sets=store.facts(facts), metrics=metrics
                )
            seconds = need(attack, shape, works[asked], machine).seconds
            ratio = store.cost(key).seconds / max(expected(attack, seconds), 1e-9)
        except (AuditorError, KeyError, TypeError):  # what cannot be read tells nothing of cost
            continue
        yield _Finished(attack.name, digest(identity["parameters"]), identity["stage"], ratio)


def _parameters(attack: AnyAttack) -> dict[str, Any]:
    parameters: dict[str, Any] = attack.parameters.model_dump(mode="json")
    return parameters
