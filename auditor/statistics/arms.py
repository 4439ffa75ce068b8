"""Arms of one attack, with their knowledge of each fact.

They are the unlearned, the original and the retrained models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """Differences of knowledge against the baseline, per unit [n].

    A unit is a fact in census scope and an entity in sampled scope.

    Attributes:
        d: K_unlearned - K_baseline.
        g: K_original - K_baseline; the gap.
        apart: whether d and g have baselines of their own: those of the model itself on other
            facts. Both are then [m, n], in as many ways to pair the facts.
    """

    d: FloatArray
    g: FloatArray
    apart: bool = False

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.d.shape[-1])

    def against(self, delta: float) -> FloatArray:
        """Returns d - delta * g [n].

        Its mean is below 0 iff the residual is below delta. With baselines apart it is brought
        back into [-1, 1].
        """
        contrast = self.d - delta * self.g
        return contrast / (1.0 + delta) if self.apart else contrast

    def over_forgetting(self, delta: float) -> FloatArray:
        """Returns (d + delta g) / (1 + delta) [n].

        It is d + delta g brought back into [-1, 1].
        """
        return (self.d + delta * self.g) / (1.0 + delta)


PAIRINGS = 20
"""Ways to pair facts with facts that stand for what is not known, over which e-values are averaged
(a mean of e-values is one, arXiv 1912.06116)."""


@dataclass(frozen=True, eq=False)
class Null:
    """Knowledge of facts that stand for what is not known.

    Attributes:
        unlearned: the model under audit [m].
        original: the model before unlearning [m].
        entities: the entity of each such fact [m].
        paired: whether its facts stand in the order of the facts to forget, each beside the one
            whose prompt it shares; otherwise they are paired at random, within forms.
        forms: form of each fact to forget [n].
        null_forms: form of each fact that stands for what is not known [m].
        level: mean K of such facts for a model that does not know them; None where there is none.
        advantage: mean K by which facts to forget are easier to guess than those, seen where
            neither are known; None where that was not measured.

    Raises:
        ValueError: a value that is not finite or leaves [0, 1], or lengths that differ.
    """

    unlearned: FloatArray
    original: FloatArray
    entities: tuple[str, ...]
    paired: bool
    forms: tuple[str, ...]
    null_forms: tuple[str, ...]
    level: float | None = None
    advantage: float | None = None

    def __post_init__(self) -> None:
        for name in ("unlearned", "original"):
            object.__setattr__(self, name, knowledge(getattr(self, name), f"null {name}", 1))
        sizes = {self.unlearned.size, self.original.size, len(self.entities), len(self.null_forms)}
        if len(sizes) > 1:
            raise ValueError(f"the null's parts have {sorted(sizes)} facts")

    @property
    def ignorant(self) -> FloatArray:
        """Knowledge against which the original is held [m].

        An original that knows the true answers gives others no probability. Held against its own
        exchanged answers, its gap would hold what anybody guesses, and what is left in the
        unlearned model would be a smaller share of it than it is.
        """
        return self.unlearned if self.paired else self.original

    def pairings(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield places of facts to forget and of their partners.

        Within a form as many are paired as both sides have, each once; forms that one side lacks
        are taken together.
        """
        if self.paired:
            places = np.arange(len(self.forms))
            yield places, places
            return
        shared = set(self.forms) & set(self.null_forms)
        sides = [
            np.array([form if form in shared else "" for form in forms])
            for forms in (self.forms, self.null_forms)
        ]
        common = sorted(set(sides[0].tolist()) & set(sides[1].tolist()))
        yield from _random_pairs([[np.flatnonzero(s == form) for s in sides] for form in common])


def _random_pairs(
    groups: Sequence[Sequence[NDArray[np.intp]]],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield random pairs of places of two sides, within groups."""
    random = np.random.default_rng(0)
    for _ in range(PAIRINGS):
        drawn = [[random.permutation(side) for side in sides] for sides in groups]
        pairs = [(ours[: theirs.size], theirs[: ours.size]) for ours, theirs in drawn]
        yield tuple(np.concatenate(side) for side in zip(*pairs, strict=True))  # type: ignore[misc]


@dataclass(frozen=True, eq=False)
class Arms:
    """Knowledge K in [0, 1] of each model under one attack.

    The facts are the same, in one order.

    Paraphrases, sampled answers and restarts are averaged within a fact beforehand.

    Attributes:
        unlearned: the model under audit [n].
        original: the model before unlearning [n].
        retrained: models that never saw the forget set, one row a training seed [S, n]; none
            where the models' own knowledge of other facts is the baseline.
        entities: the person, book or concept that each fact belongs to [n]; needed in
            sampled scope only.
        blocks: what facts share beside their entity [n], where they were placed among others;
            they are averaged within it in either scope. None where each fact was asked alone.
        null: the models' own knowledge of facts that stand for what is not known; None where
            there are other models.

    Raises:
        ValueError: a value that is not finite or leaves [0, 1], or lengths that differ.
    """

    unlearned: FloatArray
    original: FloatArray
    retrained: FloatArray
    entities: tuple[str, ...] | None = None
    blocks: tuple[str, ...] | None = None
    null: Null | None = None

    def __post_init__(self) -> None:
        unlearned = knowledge(self.unlearned, "unlearned", 1)
        original = knowledge(self.original, "original", 1)
        if self.null is None:
            retrained = knowledge(self.retrained, "retrained", 2)
        else:
            retrained = np.empty((0, unlearned.size))
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

    @property
    def baseline_mean(self) -> float:
        """Mean K of what stands for a model that forgot."""
        if self.null is None:
            return float(self.retrained.mean(axis=1).mean())
        return float(self.null.ignorant.mean())

    def fact_contrast(self) -> Contrast:
        """Returns d and g per fact, whatever the scope.

        Against the models' own knowledge of other facts, each is held against its mean (in its
        form, where there are any of it), or against the fact that it is paired with.
        """
        if self.null is None:
            baseline = self.retrained.mean(axis=0)
            return Contrast(self.unlearned - baseline, self.original - baseline)
        own, original = self._expected(self.null.unlearned), self._expected(self.null.ignorant)
        return Contrast(self.unlearned - own, self.original - original, not self.null.paired)

    def _expected(self, known: FloatArray) -> FloatArray:
        """Mean K of the null for each fact [n]."""
        null = self.null
        if null is None or null.paired:
            return known
        found: FloatArray = np.full(self.facts, known.mean())
        for form in set(null.forms) & set(null.null_forms):
            of_form = known[[each == form for each in null.null_forms]]
            found[[each == form for each in null.forms]] = of_form.mean()
        return found

    def contrast(self, scope: Scope) -> Contrast:
        """Returns d and g per unit.

        Units are facts (census), or means over entities (sampled) or blocks.

        Raises:
            ValueError: sampled scope without entities, or an unknown scope.
        """
        return self.observed(scope) if self.null is None else self._paired(self.null, scope)

    def observed(self, scope: Scope) -> Contrast:
        """Returns d and g per unit [n], once each.

        Against the models' own knowledge of other facts it is no test, since the facts share their
        baseline; it plays further facts.
        """
        facts = self.fact_contrast()
        entities = self.clusters(scope)
        if entities is None:
            return facts
        d, g = entity_means(facts.d, entities), entity_means(facts.g, entities)
        return Contrast(d, g, facts.apart)

    def _paired(self, null: Null, scope: Scope) -> Contrast:
        """Returns d and g in every pairing [m, n].

        Facts are paired in a census, and whole entities where they are the units.
        """
        clusters = self.clusters(scope)
        sides = [self.unlearned, self.original, null.unlearned, null.ignorant]
        pairs = null.pairings()
        if clusters is not None and null.paired:
            sides = [entity_means(side, clusters) for side in sides]
            places = np.arange(sides[0].size)
            pairs = iter([(places, places)])
        elif clusters is not None:
            sides = [entity_means(side, clusters) for side in sides[:2]]
            sides += [entity_means(k, null.entities) for k in (null.unlearned, null.ignorant)]
            pairs = _random_pairs([[np.arange(sides[0].size), np.arange(sides[2].size)]])
        found = [(sides[0][f] - sides[2][c], sides[1][f] - sides[3][c]) for f, c in pairs]
        d, g = (np.array(rows) for rows in zip(*found, strict=True))
        return Contrast(d, g, not null.paired)

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
