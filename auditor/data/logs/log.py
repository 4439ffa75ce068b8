"""Content of a log, whatever tool wrote it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from auditor.core.errors import AuditorError
from auditor.core.facts import SetName
from auditor.core.paths import close_names_beside
from auditor.core.reading import DATA, parse_json, read_regular
from auditor.core.text_safety import escape_unprintable
from auditor.data.edges import trimmed

PROBABILITY = "answer-probability"
ROUGE = "rouge-l-recall"
TRUTH_RATIO = "truth-ratio"
CHOICE = "multiple-choice"
OPTION = "option-probability"
"""Metrics of this package whose definition the columns of logs share."""

_SHOWN = 3
"""Most faults that an error lists."""
_LONGEST = 400
"""Most characters of a fault."""
_QUOTED = 60
"""Most characters of a value that are quoted."""


@dataclass(frozen=True)
class LoggedFact:
    """What a log says of one fact.

    Attributes:
        set: set that the fact belongs to.
        id: its name, from its place in the log.
        entity: what it is about, as far as the layout tells.
        prompt: what the model was asked.
        answer: the true answer.
        distractors: wrong answers that the log names.
        k: knowledge in [0, 1] by metric.
        said: what the model answered; None where the log does not hold it.
        wording: the whole text that the model was given, template included.
    """

    set: SetName
    id: str
    entity: str
    prompt: str
    answer: str
    distractors: tuple[str, ...] = ()
    k: Mapping[str, float] = field(default_factory=dict)
    said: str | None = None
    wording: str = ""

    @property
    def asked(self) -> tuple[str, ...]:
        """Question, answer and options, which all models must have in common."""
        return self.id, self.prompt, self.answer, *self.distractors


@dataclass(frozen=True)
class ReadLog:
    """Log of one model.

    Attributes:
        facts: what it says of each fact.
        figures: published figures of the whole log, by name.
        auc: area under the curve of forget against holdout, by attack on membership.
        lacking: names of what the layout may hold and this log does not.
        hazardous: whether it holds texts that may do harm.
    """

    facts: tuple[LoggedFact, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    auc: Mapping[str, float] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()
    hazardous: bool = False

    def of(self, name: SetName) -> tuple[LoggedFact, ...]:
        """Return the facts of one set."""
        return tuple(fact for fact in self.facts if fact.set == name)


class Tasks(NamedTuple):
    """Names of the tasks of each set.

    They are for layouts that do not say it.
    """

    forget: tuple[str, ...] = ()
    retain: tuple[str, ...] = ()


class Layout(Protocol):
    """Way in which a tool lays out its logs."""

    def files(self, path: Path, tasks: Tasks) -> dict[str, Path]:
        """Return the files of a log by their names below its folder.

        Raises:
            AuditorError: It is not there, or not one log of this layout.
        """

    def read(self, files: Mapping[str, Path], tasks: Tasks) -> ReadLog:
        """Read the files of a log.

        Raises:
            AuditorError: They do not hold what this layout has.
        """


class Faults:
    """Faults of one file, of which the first are named.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._found: list[str] = []

    def add(self, fault: str) -> None:
        """Note a fault; names in it may come from the file."""
        self._found.append(escape_unprintable(fault[:_LONGEST]))

    def number(self, value: Any, place: str) -> float:
        """Return a finite number, or note a fault and return NaN."""
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        self.add(f"{place} is {'null' if value is None else repr(value)[:_QUOTED]}")
        return math.nan

    def loss(self, value: Any, place: str) -> float:
        """Return a mean loss, or note a fault and return NaN."""
        number = self.number(value, place)
        if number < 0:
            self.add(f"{place} is {number:g}, below 0")
            return math.nan
        return number

    def share(self, value: Any, place: str) -> float:
        """Return a number in [0, 1]; what is none is a fault."""
        number = self.number(value, place)
        if math.isfinite(number) and not 0 <= number <= 1:
            self.add(f"{place} is {number:g}, not in [0, 1]")
        return number

    def text(self, value: Any, place: str) -> str:
        """Return a text that is not empty, or note a fault."""
        if isinstance(value, str) and (text := trimmed(value)):
            return text
        self.add(f"{place} is {'missing' if value is None else 'empty or no text'}")
        return ""

    def check(self) -> None:
        """Refuse the file if a fault was found.

        Raises:
            AuditorError: Names the first faults, and counts the others.
        """
        if not self._found:
            return
        more = len(self._found) - _SHOWN
        others = f" and {more} more" if more > 0 else ""
        raise AuditorError(
            f"{self.file}: {'; '.join(self._found[:_SHOWN])}{others}. Nothing takes the place of a "
            "missing figure: evaluate the model again, or leave these facts out of every log."
        )


def parsed(file: Path) -> Any:
    """Parse a file of JSON.

    NaN and infinities are kept, to be named.

    Raises:
        AuditorError: It is missing, or no JSON.
    """
    try:
        return parse_json(content_of(file), finite=False)
    except ValueError as error:
        raise AuditorError(f"{file} is no JSON: {error}.") from error


def content_of(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        AuditorError: It cannot be read.
    """
    try:
        return read_regular(file, DATA)
    except OSError as error:
        hint = close_names_beside(file) if isinstance(error, FileNotFoundError) else ""
        raise AuditorError(f"{file} cannot be read: {error.strerror}{hint}.") from error


def tables(value: Any, file: Path, place: str) -> dict[str, Any]:
    """Return a value that must be an object.

    Raises:
        AuditorError: It is none.
    """
    if isinstance(value, dict):
        return value
    said = escape_unprintable(place[:_QUOTED])
    raise AuditorError(f"{file}: {said} is no object; give the log as the tool wrote it.")


def in_order(indices: Iterable[str]) -> list[str]:
    """Return indices in the order of their numbers."""
    return sorted(indices, key=lambda index: (not index.isdecimal(), index.zfill(20)))


def bounded_ratio(right: float, wrong: Sequence[float]) -> float:
    """Return c / (c + w) of mean losses.

    c is the probability of the true answer, w the geometric mean of the wrong ones'
    (arXiv 2401.06121).

    Args:
        right: Mean loss a token of the true answer.
        wrong: Mean losses a token of the wrong answers.
    """
    return 0.5 * (1 + math.tanh((math.fsum(wrong) / len(wrong) - right) / 2))


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return math.fsum(values) / len(values)


def harmonic_mean(values: Sequence[float]) -> float:
    """Return the harmonic mean, which is 0 where a value is."""
    if min(values) <= 0:
        return 0.0
    return len(values) / math.fsum(1 / value for value in values)
