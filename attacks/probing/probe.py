"""Linear probe from hidden states to output embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact
from auditor.models.causal_lm.hidden_states import States, hidden_states
from auditor.models.causal_lm.model import CausalLM

Vectors = npt.NDArray[np.floating[Any]]

PENALTIES = tuple(10.0**power for power in range(-1, 6))
"""Penalties of the ridge regression; the best by leave-one-out error is taken."""
OTHERS = 8
"""Answers of other facts that stand in where a fact has no distractors."""


class Taught:
    """Answers to retain facts in all phrasings, for fitting the probe."""

    def __init__(
        self,
        model: CausalLM,
        facts: Sequence[Fact],
        layers: Sequence[int],
        embeddings: States,
    ) -> None:
        pairs = [(p, fact.answer) for fact in facts for p in (fact.prompt, *fact.paraphrases)]
        items = model.encode(pairs)
        self._states = hidden_states(model, items, layers)
        self._wanted = [embeddings[[item.ids[place] for place in item.answer]] for item in items]
        self._phrasings = [1 + len(fact.paraphrases) for fact in facts]
        self.positions = sum(map(len, self._wanted))

    def probe(self, layer: int, most: int, facts: int) -> Any:
        """Fit the probe of one layer on the first ``facts``.

        It maps states [n, width] to embeddings.
        """
        from sklearn.linear_model import RidgeCV  # brings in scipy.stats, which takes a second
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        items = sum(self._phrasings[:facts])
        states = np.concatenate([found[layer] for found in self._states[:items]])
        wanted = np.concatenate(self._wanted[:items])
        thinned = slice(None, None, -(-len(states) // most))
        network = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        return network.fit(states[thinned].astype(np.float64), wanted[thinned].astype(np.float64))


class Asked:
    """Facts with their true and wrong answers, each teacher-forced."""

    def __init__(self, model: CausalLM, facts: Sequence[Fact], layers: Sequence[int]) -> None:
        wrong = [wrong_answers(facts, index) for index in range(len(facts))]
        pairs = [
            (fact.prompt, answer)
            for fact, others in zip(facts, wrong, strict=True)
            for answer in (fact.answer, *others)
        ]
        self._wrong = [len(others) for others in wrong]
        self._items = model.encode(pairs)
        self._states = hidden_states(model, self._items, layers)

    def ranks(
        self, probe: Any, layer: int, embeddings: States, tokens: int | None = None
    ) -> Vectors:
        """K of every fact: share of wrong answers below the true one.

        Args:
            probe: The fitted probe.
            layer: that it reads.
            embeddings: that it maps to.
            tokens: of each answer that are scored, by default all.
        """
        given = probe.predict(
            np.concatenate([states[layer] for states in self._states]).astype(np.float64)
        )
        ids = [item.ids[place] for item in self._items for place in item.answer]
        cosines = _cosines(given, embeddings[ids].astype(np.float64))
        answers = np.cumsum([len(item.answer) for item in self._items])[:-1]
        scores = np.array([part[:tokens].mean() for part in np.split(cosines, answers)])
        ends = np.cumsum([1 + count for count in self._wrong])[:-1]
        return np.array([beaten(part[0], part[1:]) for part in np.split(scores, ends)])


def wrong_answers(facts: Sequence[Fact], index: int) -> tuple[str, ...]:
    """Distractors of a fact, or answers of the next facts that differ.

    Raises:
        UnavailableError: there is none.
    """
    fact = facts[index]
    if fact.distractors:
        return fact.distractors
    following = (*facts[index + 1 :], *facts[:index])
    others = tuple(dict.fromkeys(f.answer for f in following if f.answer != fact.answer))[:OTHERS]
    if not others:
        raise UnavailableError(
            f"{fact.id} has no distractors, and no other fact has another answer"
        )
    return others


def beaten(true: float, wrong: Vectors) -> float:
    """Share of ``wrong`` scores below ``true``; a tie counts half."""
    return float(np.mean(wrong < true) + 0.5 * np.mean(wrong == true))


def output_embeddings(model: CausalLM) -> States:
    """The rows of the output head, centred over the vocabulary, [vocabulary, width]."""
    weight = model.network.get_output_embeddings().weight.detach().float().cpu().numpy()
    return np.asarray(weight - weight.mean(0), dtype=np.float32)


def _cosines(first: Vectors, second: Vectors) -> Vectors:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products: Vectors = (first * second).sum(axis=1)
    return np.asarray(products / np.maximum(lengths, np.finfo(float).tiny))
