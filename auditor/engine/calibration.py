"""Calibration of estimates by what finished jobs of a store took."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from auditor.attack import AnyAttack
from auditor.core.errors import AuditorError
from auditor.core.hashing import digest
from auditor.engine.capacity import Seconds, need, workload
from auditor.engine.expansion import instantiate
from auditor.engine.job import Job, Stage
from auditor.engine.machine import Machine
from auditor.engine.preparation import Prepared
from auditor.models.kind import Workload
from auditor.models.shape import Shape
from auditor.policy import AS_IS
from auditor.store.base import EvidenceStore

_MOST = 5_000
"""Finished jobs that are read at most."""
_LEAST = 1e-9
"""Seconds that are none."""
_NONE = digest({})
"""Digest of no parameters."""


class Timed(NamedTuple):
    """What a job asked, by which it is compared with others."""

    attack: str
    stage: Stage
    parameters: str
    """Digest of them."""
    metrics: tuple[str, ...]
    model: str
    """Digest of the model."""


class _Finished(NamedTuple):
    """A finished job, the seconds that it took and those expected."""

    job: Timed
    took: float
    expected: Seconds


class _Sum(NamedTuple):
    """What finished jobs that are alike took and were expected to take."""

    took: float
    expected: Seconds

    @property
    def ratio(self) -> float:
        """How many times as long as expected they took."""
        return self.took / max(self.expected.all, _LEAST)


class Calibration:
    """What jobs took beside what was expected of them.

    Args:
        finished: Finished jobs of the models and of the device that an estimate is for.
    """

    def __init__(self, finished: Sequence[_Finished] = ()) -> None:
        alike: dict[tuple[object, ...], list[_Finished]] = defaultdict(list)
        of_attacks: dict[str, list[_Finished]] = defaultdict(list)
        for one in finished:
            for place in _places(one.job):
                alike[place].append(one)
            of_attacks[one.job.attack].append(one)
        self._sums = {place: _sum(jobs) for place, jobs in alike.items()}
        usual = [_sum(jobs).ratio for jobs in of_attacks.values()]
        self._usual = statistics.median(usual) if usual else 1.0
        self.jobs = len(finished)
        """Number of finished jobs that it rests on."""

    def seconds(self, job: Timed, expected: Seconds) -> float:
        """Return the seconds that a job will take.

        The finished jobs that are most alike tell: those of the same model, level and metrics, of
        this level, of this attack, or the median of all attacks. An evaluation takes as long as one
        of the same model as it is; what they took beside is the attack's own, and does not grow
        with the facts.

        Args:
            job: The job.
            expected: What is expected of it.
        """
        alike = self._alike(job)
        if alike is None:
            return self._usual * expected.all
        plain = self._alike(job._replace(attack=AS_IS, stage="measure", parameters=_NONE))
        if job.attack != AS_IS and plain is not None and alike.expected.own > _LEAST:
            beside = alike.took - plain.ratio * alike.expected.asking
            if beside > 0:
                own = beside * expected.own / alike.expected.own
                return plain.ratio * expected.asking + own
        return alike.ratio * expected.all

    def _alike(self, job: Timed) -> _Sum | None:
        return next((self._sums[p] for p in _places(job) if p in self._sums), None)

    def knows(self, attack: AnyAttack) -> bool:
        """Whether jobs of an attack are among the finished ones."""
        return (attack.name, "measure") in self._sums


def timed(job: Job) -> Timed:
    """Return what a job asked."""
    return Timed(job.attack, job.stage, digest(job.parameters), tuple(job.metrics), job.model)


def _places(job: Timed) -> Iterator[tuple[object, ...]]:
    """Yield what jobs alike share with a job, the most first."""
    level = job.attack, job.stage, job.parameters
    yield *level, job.metrics, job.model
    yield *level, job.metrics
    yield level
    yield job.attack, job.stage


def _sum(jobs: Sequence[_Finished]) -> _Sum:
    asking = sum(job.expected.asking for job in jobs)
    own = sum(job.expected.own for job in jobs)
    return _Sum(sum(job.took for job in jobs), Seconds(asking, own))


def expected(attack: AnyAttack, seconds: Seconds) -> Seconds:
    """Return the seconds of one stage, given those of both."""
    return seconds.times(0.5) if attack.searches else seconds


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
            facts, metrics, everything = asked
            if asked not in works:
                works[asked] = workload(
                    prepared, everything=everything, sets=store.facts(facts), metrics=metrics
                )
            seconds = need(attack, shape, works[asked], machine).seconds
            took = store.cost(key).seconds
        except (AuditorError, KeyError, TypeError):  # what cannot be read tells nothing of cost
            continue
        asking = Timed(
            attack.name,
            identity["stage"],
            digest(identity["parameters"]),
            metrics,
            identity["model"],
        )
        yield _Finished(asking, took, expected(attack, seconds))
