"""Guesses of answers from prompts alone, by whoever never saw a fact.

Each guesser learns from the facts of some entities and is asked about the others
(cross-validation by entity), so that what it gets right no model needs to have learned.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from scipy.sparse import csr_array
from scipy.stats import beta

from auditor.core.facts import Fact
from auditor.data.builders.built import normal

FOLDS = 5
"""Parts into which entities are split, each guessed from the others."""
SAID = 0.8
"""Share of an answer's letter triples from which a guess gives it away."""
CONFIDENCE = 0.95
_WORDS = r"\w+|[^\w\s]"
_LETTERS = 3
_FEWEST = 2


@dataclass(frozen=True)
class BlindGuess:
    """Facts that the best guesser answers without having seen them."""

    facts: int
    guessed: tuple[str, ...]
    """Ids of the facts that it answers."""
    by: str
    """Name of the guesser: ``most-frequent``, ``classifier`` or ``neighbour``."""
    upper: float
    """Upper bound of the share of such facts that can be guessed, at 95 % (Clopper and Pearson,
    for the best of all guessers)."""

    @property
    def share(self) -> float:
        """Share of the facts that it answers."""
        return len(self.guessed) / self.facts


def blind_guess(facts: Sequence[Fact]) -> BlindGuess | None:
    """Guess each answer from its prompt and facts of other entities.

    Three guessers try: the most frequent answer; a naive Bayes classifier of words and pairs of
    words in the prompt; and the answer to the nearest other prompt, whose letters, with those of
    the prompt itself, may hold most of the answer (``ada.quill@example.com``).

    Args:
        facts: Facts of one set.

    Returns:
        None where all facts are about one entity, so that nothing can be learned from others.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(f.entity for f in facts))}
    if len(order) < _FEWEST:
        return None
    count = min(FOLDS, len(order))
    right: dict[str, list[str]] = {name: [] for name in _GUESSERS}
    for part in range(count):
        asked = [fact for fact in facts if order[fact.entity] % count == part]
        given = [fact for fact in facts if order[fact.entity] % count != part]
        words = _vectors(given, asked)
        for name, guesser in _GUESSERS.items():
            right[name] += [fact.id for fact in guesser(given, asked, *words)]
    by = max(right, key=lambda name: len(right[name]))
    guessed = {*right[by]}
    missed = len(facts) - len(guessed)
    alpha = (1 - CONFIDENCE) / len(right)
    return BlindGuess(
        facts=len(facts),
        guessed=tuple(fact.id for fact in facts if fact.id in guessed),
        by=by,
        upper=float(beta.ppf(1 - alpha, len(guessed) + 1, missed)) if missed else 1.0,
    )


def _vectors(given: Sequence[Fact], asked: Sequence[Fact]) -> tuple[csr_array, csr_array]:
    """Weights of words and pairs of words, learned from given prompts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), analyzer="word", token_pattern=_WORDS)
    taught = vectorizer.fit_transform([fact.prompt for fact in given])
    return taught, vectorizer.transform([fact.prompt for fact in asked])


def _most_frequent(
    given: Sequence[Fact], asked: Sequence[Fact], taught: csr_array, words: csr_array
) -> list[Fact]:
    """Facts whose answer is the one that most entities have."""
    pairs = dict.fromkeys((fact.entity, normal(fact.answer)) for fact in given)
    guess, _ = Counter(answer for _, answer in pairs).most_common(1)[0]
    return [fact for fact in asked if normal(fact.answer) == guess]


def _classified(
    given: Sequence[Fact], asked: Sequence[Fact], taught: csr_array, words: csr_array
) -> list[Fact]:
    """Facts whose answer naive Bayes predicts, among repeated ones."""
    from sklearn.naive_bayes import MultinomialNB

    answers = [normal(fact.answer) for fact in given]
    counts = Counter(answers)
    rows = [row for row, answer in enumerate(answers) if counts[answer] > 1]
    if not rows:
        return []
    classifier = MultinomialNB(alpha=0.1).fit(taught[rows], [answers[row] for row in rows])
    guesses = classifier.predict(words)
    return [
        fact for fact, guess in zip(asked, guesses, strict=True) if normal(fact.answer) == guess
    ]


def _pieced(
    given: Sequence[Fact], asked: Sequence[Fact], taught: csr_array, words: csr_array
) -> list[Fact]:
    """Facts whose answer the prompt and a neighbour's answer mostly hold."""
    likeness = (words @ taught.T).tocsr()
    found = []
    for row, fact in enumerate(asked):
        pieces = _triples(fact.prompt)
        line = slice(likeness.indptr[row], likeness.indptr[row + 1])
        if (data := likeness.data[line]).size:
            pieces |= _triples(given[int(likeness.indices[line][data.argmax()])].answer)
        wanted = _triples(fact.answer)
        if wanted and len(wanted & pieces) >= SAID * len(wanted):
            found.append(fact)
    return found


_GUESSERS = MappingProxyType(
    {"most-frequent": _most_frequent, "classifier": _classified, "neighbour": _pieced}
)


def _triples(text: str) -> set[str]:
    """Runs of three letters or digits, whatever stands between them."""
    letters = re.sub(r"[\W_]+", "", normal(text))
    if len(letters) < _LETTERS:
        return {letters} if letters else set()
    return {letters[place : place + _LETTERS] for place in range(len(letters) - _LETTERS + 1)}
