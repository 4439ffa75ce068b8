"""Log-probabilities of the tokens of texts, where an attack kept them.

An attack that scores texts keeps two arrays for each way in which it did: ``NAME/tokens``, the
number of tokens of each text of the forget set and then the holdout set, and
``NAME/log_probability``, the natural logarithm of each token's probability, of all texts in a row.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from auditor.core.facts import FactSets, SetName
from auditor.store.base import EvidenceStore

MOST = 200
"""Most tokens of a text that are shown."""
_COUNTS, _LOGS = "/tokens", "/log_probability"
_SCORED: tuple[SetName, ...] = ("forget", "holdout")


def token_log_probabilities(
    store: EvidenceStore, key: str, sets: FactSets, name: SetName
) -> dict[str, dict[str, list[float]]]:
    """Return the log-probability of each token of each fact's text.

    They are of the job itself, or of the search of the same model whose finding it measured.

    Args:
        store: The evidence.
        key: Key of the job.
        sets: The facts that it is about.
        name: The set whose facts are wanted.

    Returns:
        Name of each way of scoring to fact to log-probabilities; empty where none were kept.

    Raises:
        EvidenceChangedError: Evidence was changed after it was written.
    """
    facts = [(of, fact.id) for of in _SCORED for fact in sets.named(of)]
    found: dict[str, dict[str, list[float]]] = {}
    for arrays in _kept(store, key):
        for way in (n.removesuffix(_COUNTS) for n in arrays if n.endswith(_COUNTS)):
            counts, logs = arrays[way + _COUNTS], arrays.get(way + _LOGS)
            if logs is None or len(counts) != len(facts) or counts.sum() != len(logs):
                continue
            parts = np.split(logs, np.cumsum(counts)[:-1])
            found[way] = {
                fact: [round(float(log), 4) for log in part[:MOST]]
                for (of, fact), part in zip(facts, parts, strict=True)
                if of == name
            }
    return found


def _kept(store: EvidenceStore, key: str) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """Yield arrays of a job, then of searches on its own model."""
    yield store.arrays(key)
    for pooled in store.identity(key).get("pool", ()):
        if pooled.get("own") and store.has(pooled["key"]):
            yield store.arrays(pooled["key"])
