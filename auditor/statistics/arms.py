"""Arms of one attack, with their knowledge of each fact.

They are the unlearned, the original and the retrained models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from auditor.statistics.betting import FloatArray

Scope = Literal["census", "sampled"]
"""Scope of a claim. `census`: the audited facts are the whole forget set. `sampled`: their entities
are a sample."""


def check_scope(scope: str) -> None:
    """Raises ValueError unless `scope` is one of `Scope`."""
    if scope not in get_args(Scope):
        raise ValueError(f"scope must be one of {get_args(Scope)}, not {scope!r}")


def knowledge(values: ArrayLike, name: str, dimensions: int) -> FloatArray:
    """Returns knowledge K as a read-only float64 array.

    Raises:
        ValueError: another number of dimensions, no facts, NaN, or a value outside [0, 1].
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimension(s), not shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: no fact was measured")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or an infinity; a missing measurement is no number")
    if array.min() < 0.0 or array.max() > 1.0:
        raise ValueError(f"{name} must lie in [0, 1], not in [{array.min()}, {array.max()}]")
    array.setflags(write=False)
    return array


def entity_means(values: FloatArray, entities: Sequence[str]) -> FloatArray:
    """Returns the mean of `values` [n] within each entity [m].

    Entities are in sorted order.
    """
    _, index = np.unique(np.asarray(entities, dtype=str), return_inverse=True)
    means: FloatArray = np.bincount(index, weights=values) / np.bincount(index)
    return means


@dataclass(frozen=True, eq=False)
class Contrast:
    """Differences of knowledge against the mean retrained model, per unit [n].

    A unit is a fact in census scope and an entity in sampled scope.

    Attributes:
        d: K_unlearned - K_retrained.
        g: K_original - K_retrained; the gap.
    """

    d: FloatArray
    g: FloatArray

    @property
    def units(self) -> int:
        """Number of units."""
        return self.d.size

    def against(self, delta: float) -> FloatArray:
        """Returns d - delta * g [n].

        Its mean is below 0 iff the residual is below delta.
        """
        return self.d - delta * self.g

    def over_forgetting(self, delta: float) -> FloatArray:
        """Returns (d + delta g) / (1 + delta) [n].

        It is d + delta g brought back into [-1, 1].
        """
        return (self.d + delta * self.g) / (1.0 + delta)


@dataclass(frozen=True, eq=False)
class Arms:
    """Knowledge K in [0, 1] of each model under one attack.

    The facts are the same, in one order.

    Paraphrases, sampled answers and restarts are averaged within a fact beforehand.

    Attributes:
        unlearned: the model under audit [n].
        original: the model before unlearning [n].
        retrained: models that never saw the forget set, one row a training seed [S, n].
        entities: the person, book or concept that each fact belongs to [n]; needed in
            sampled scope only.
        blocks: what facts share beside their entity [n], where they were placed among others;
            they are averaged within it in either scope. None where each fact was asked alone.

    Raises:
        ValueError: a value that is not finite or leaves [0, 1], or lengths that differ.
    """

    unlearned: FloatArray
    original: FloatArray
    retrained: FloatArray
    entities: tuple[str, ...] | None = None
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unlearned = knowledge(self.unlearned, "unlearned", 1)
        original = knowledge(self.original, "original", 1)
        retrained = knowledge(self.retrained, "retrained", 2)
        if not unlearned.size == original.size == retrained.shape[1]:
            raise ValueError(
                "the arms must hold the same facts: unlearned has "
                f"{unlearned.size}, original {original.size}, retrained {retrained.shape[1]}"
            )
        for name in ("entities", "blocks"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, tuple(given))
                if len(given) != unlearned.size:
                    raise ValueError(f"{len(given)} {name} for {unlearned.size} facts")
        object.__setattr__(self, "unlearned", unlearned)
        object.__setattr__(self, "original", original)
        object.__setattr__(self, "retrained", retrained)

    @property
    def facts(self) -> int:
        """Number of facts n."""
        return self.unlearned.size

    @property
    def seeds(self) -> int:
        """Number of retrained models S."""
        return int(self.retrained.shape[0])

    def fact_contrast(self) -> Contrast:
        """Returns d and g per fact, whatever the scope."""
        baseline = self.retrained.mean(axis=0)
        return Contrast(self.unlearned - baseline, self.original - baseline)

    def contrast(self, scope: Scope) -> Contrast:
        """Returns d and g per unit.

        Units are facts (census), or means over entities (sampled) or blocks.

        Raises:
            ValueError: sampled scope without entities, or an unknown scope.
        """
        facts = self.fact_contrast()
        entities = self.clusters(scope)
        if entities is None:
            return facts
        return Contrast(entity_means(facts.d, entities), entity_means(facts.g, entities))

    def clusters(self, scope: Scope) -> tuple[str, ...] | None:
        """Returns what facts are averaged within, or None."""
        check_scope(scope)
        if self.blocks is not None:
            return self.blocks
        if scope == "census":
            return None
        if self.entities is None:
            raise ValueError("sampled scope needs the entity of every fact")
        return self.entities

    def with_seed_as_unlearned(self, seed: int) -> "Arms":
        """Returns the arms with retrained model `seed` as unlearned.

        The other retrained models stay as the baseline, so at least two are needed.
        """
        if self.seeds < 2:
            raise ValueError("one retrained model alone has nothing to be compared with")
        others = np.delete(self.retrained, seed, axis=0)
        return Arms(self.retrained[seed], self.original, others, self.entities, self.blocks)
