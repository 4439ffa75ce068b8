"""Calibration texts: from a file, or generated without any fact."""

import json
import random
from pathlib import Path

from auditor.core.errors import AuditorError

_PLACES = [
    "garden",
    "kitchen",
    "harbour",
    "market",
    "library",
    "station",
    "valley",
    "office",
    "workshop",
    "school",
]
_PEOPLE = [
    "teacher",
    "neighbour",
    "farmer",
    "child",
    "driver",
    "visitor",
    "painter",
    "nurse",
    "baker",
    "student",
]
_THINGS = [
    "letter",
    "basket",
    "window",
    "lamp",
    "ladder",
    "notebook",
    "chair",
    "bicycle",
    "blanket",
    "bottle",
]
_VERBS = [
    "carried",
    "found",
    "repaired",
    "painted",
    "forgot",
    "borrowed",
    "cleaned",
    "moved",
    "noticed",
    "sold",
]
_TIMES = ["yesterday", "this morning", "last week", "before noon", "at night", "in spring"]
_MOODS = [
    "quiet",
    "bright",
    "old",
    "small",
    "heavy",
    "careful",
    "warm",
    "simple",
    "distant",
    "early",
]

_SENTENCES = (
    "The {mood} {person} {verb} a {thing} in the {place} {time}.",
    "Why was the {thing} in the {place}? The {person} {verb} it {time}.",
    "A {person} and a {person2} walked to the {place}, and it was {mood} there.",
    "{Time}, somebody {verb} the {mood} {thing} near the {place}.",
    "When the {place} is {mood}, the {person} never needs a {thing}.",
)


def generic_texts(count: int, sentences: int = 6) -> list[str]:
    """Everyday sentences from a small grammar.

    They are always the same for the same arguments.
    """
    rng = random.Random(0)  # noqa: S311 - not for secrets
    return [" ".join(_sentence(rng) for _ in range(sentences)) for _ in range(count)]


def read_texts(path: Path) -> list[str]:
    """Texts of a calibration file.

    It is JSON Lines with a ``text`` column, or one text a line.

    Raises:
        AuditorError: the file cannot be read or holds no text.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        texts = [json.loads(line)["text"] for line in lines] if path.suffix == ".jsonl" else lines
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise AuditorError(
            f"the calibration file {path} cannot be read ({type(error).__name__}: {error}); "
            'expected plain text, or JSON Lines with {"text": "…"} (.jsonl).'
        ) from error
    if not texts or not all(isinstance(text, str) for text in texts):
        raise AuditorError(f"the calibration file {path} holds no texts.")
    return texts


def _sentence(rng: random.Random) -> str:
    time = rng.choice(_TIMES)
    return rng.choice(_SENTENCES).format(
        mood=rng.choice(_MOODS),
        person=rng.choice(_PEOPLE),
        person2=rng.choice(_PEOPLE),
        verb=rng.choice(_VERBS),
        thing=rng.choice(_THINGS),
        place=rng.choice(_PLACES),
        time=time,
        Time=time.capitalize(),
    )
