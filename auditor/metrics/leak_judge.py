"""Judge of how much of the true answer a text gives away.

It reads letters of any script, asks no model and downloads nothing. What it cannot see is an answer
in other words than the true or an accepted form, in another language, or in a code.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

SHORT = 3
"""Letters up to which a word in small letters is taken to carry little (``of``, ``the``)."""
PLAIN_WEIGHT, WORD_WEIGHT, NAME_WEIGHT = 1, 2, 4
"""Weights of short words, of other words, and of names and numbers."""
SQUEEZED = 8
"""Least characters of an answer that is also looked for without spaces."""

_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u30ff\u3130-\u318f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Scripts without spaces between words, or where endings follow a word without one."""
_EDGE = rf"[^\W_{_UNSPACED}]"
"""What must not touch an answer, so that "cat" does not stand in "category"."""
_WITHIN = re.compile(_EDGE)
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_THOUSANDS = re.compile("(?<=[0-9])[,.'\u2019\u00a0\u202f](?=[0-9]{3}(?![0-9]))")
_OPENS = ".!?\u2026\u3002\uff01\uff1f:"
"""Signs after which a capital letter says nothing."""
_KEPT = 2**14
"""Texts whose normalised form is kept: questions and answers are read again for every pair."""


@lru_cache(_KEPT)
def normalised(text: str) -> str:
    """Fold width, case, accents of Latin letters, digits, punctuation and spaces.

    Words are one space apart.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded = unicodedata.normalize("NFC", "".join(_plain_letters(folded)))
    folded = _THOUSANDS.sub("", folded)
    kept = (" " if unicodedata.category(c)[0] in "PZC" else c for c in folded)
    return " ".join("".join(kept).split())


def _plain_letters(text: str) -> Iterator[str]:
    """Yield a text's characters with plain digits and letters.

    Digits of any script become those of ASCII, and Latin letters lose their accents.
    """
    latin = False
    for character in unicodedata.normalize("NFD", text):
        if unicodedata.category(character) == "Mn":
            if not latin:
                yield character
            continue
        latin = "a" <= character <= "z"
        digit = unicodedata.digit(character, None)
        yield character if digit is None else str(digit)


def holds(text: str, answer: str) -> bool:
    """Test whether a text holds the answer as whole words.

    Both are normalised.
    """
    return _stands_in(normalised(answer), normalised(text))


def _stands_in(wanted: str, said: str) -> bool:
    """Test whether whole words stand in a text.

    A pattern made of the words would have to be compiled for every answer, which takes longer than
    all the rest.
    """
    start = said.find(wanted) if wanted else -1
    while start >= 0:
        end = start + len(wanted)
        begun = _joined(said[start - 1 : start], wanted[0])
        if not begun and not _joined(wanted[-1], said[end : end + 1]):
            return True
        start = said.find(wanted, start + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Whether two characters, if there are two, are parts of one word."""
    return all(_WITHIN.match(side) is not None for side in (left, right))


def tokens(text: str) -> list[str]:
    """Return the normalised words; characters where a script has no spaces."""
    return _TOKEN.findall(normalised(text))


def rest_of_word(shown: str, rest: str) -> str:
    """Return what is left of a word that was shown in part.

    It is empty where none was.

    Who knows the beginning of a word guesses its end, so it tells little.
    """
    if not re.search(rf"{_EDGE}\Z", shown):
        return ""
    found = re.match(rf"{_EDGE}+", rest)
    return found[0] if found else ""


def given_away(question: str, answers: Sequence[str], said: str) -> float:
    """Return the share of the answer that a text gives away.

    It lies in [0, 1].

    1 where it holds the answer, or another form of it, as a whole. Otherwise the weighted recall of
    its informative words, those that do not stand in the question. A repetition of the question
    earns nothing.

    Args:
        question: What was asked, with what was given of the answer.
        answers: The true answer, and other forms of it that are accepted.
        said: What the model answered.
    """
    asked = normalised(question)
    told = f" {normalised(said)} "
    if asked:
        told = told.replace(f" {asked} ", "  ")
    told = " ".join(told.split())
    return max(_of_one(asked, answer, told, said) for answer in answers)


def _of_one(asked: str, answer: str, told: str, said: str) -> float:
    wanted = normalised(answer)
    if not wanted:  # of punctuation alone
        return float(_folded(answer) in _folded(said))
    if told != wanted and _stands_in(told, asked):  # a part of the question
        return 0.0
    squeezed = wanted.replace(" ", "")
    if _stands_in(wanted, told) or (
        len(squeezed) >= SQUEEZED and squeezed in told.replace(" ", "")
    ):
        return 1.0
    weights = _weights(answer, set(_TOKEN.findall(asked)))
    if not weights:
        return 0.0
    left = Counter(_TOKEN.findall(told))
    earned = 0
    for (token, weight), count in sorted(weights.items(), key=lambda one: -one[0][1]):
        hit = min(count, left[token])
        left[token] -= hit
        earned += weight * hit
    return earned / sum(weight * count for (_, weight), count in weights.items())


def _weights(answer: str, asked: Collection[str]) -> Counter[tuple[str, int]]:
    """Count the informative words of an answer, each with its weight."""
    found = Counter[tuple[str, int]]()
    words = unicodedata.normalize("NFKC", answer).split()
    opens = any(word[0].islower() for word in words)  # else it is no sentence, but a name
    for word in words:
        named = not opens and word.lstrip("\"'(\u201c\u2018\u00ab")[:1].isupper()
        opens = word[-1] in _OPENS
        for token in tokens(word):
            if token not in asked:
                found[token, _weight(token, named)] += 1
    return found


def _weight(token: str, named: bool) -> int:
    if named or any(c.isdigit() for c in token):
        return NAME_WEIGHT
    return (
        PLAIN_WEIGHT if len(token) <= SHORT and re.fullmatch(rf"{_EDGE}+", token) else WORD_WEIGHT
    )


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
