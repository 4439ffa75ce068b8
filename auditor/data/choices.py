"""Lists of texts in a cell, and answers that are their places."""

import ast
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.reading import parse_json
from auditor.data.columns import found
from auditor.data.source import DataSource

_CHOICES = ("choices", "options")
"""Columns that hold the choices of a question, whether or not a plan maps them."""
_LEAST = 2
"""Least choices of a question."""
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_LONGEST = 2_000_000
"""Most characters of a list in a cell that Python wrote."""


def texts(value: Any, column: str) -> tuple[str, ...]:
    """Return a list of texts.

    CSV holds it as a JSON list, or as Python writes a list or NumPy an array.

    Raises:
        ValueError: It is none.
    """
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return (value,)
        try:
            value = parse_json(value)
        except ValueError as error:
            written = _written_by_python(value)
            if written is None:
                raise ValueError(f"{column}: not a JSON list of texts ({error})") from error
            value = written
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{column}: expected a list of texts")
    return tuple(value)


def _written_by_python(text: str) -> list[str] | None:
    """Read a list of texts as pandas writes it into a cell.

    Returns:
        The texts; None where it is no such list.
    """
    inner = text.strip()
    if len(inner) > _LONGEST or not inner.endswith("]"):
        return None
    inner, place, read = inner[1:-1].strip(), 0, []
    while place < len(inner):
        match = _QUOTED.match(inner, place)
        if match is None:
            return None
        try:
            read.append(str(ast.literal_eval(match[0])))
        except (ValueError, SyntaxError):
            return None
        place = match.end()
        if place < len(inner):
            between = _SEPARATOR.match(inner, place)
            if between is None:
                return None
            place = between.end()
    return read


def place_of(answer: Any) -> int | None:
    """Return the place that an answer names, counted from 0.

    It is a whole number, or a letter from A on. None where it is neither.
    """
    if isinstance(answer, bool) or answer is None:
        return None
    if isinstance(answer, int):
        return answer
    if isinstance(answer, float):
        return int(answer) if answer.is_integer() else None
    said = str(answer).strip().removesuffix(".0")
    if re.fullmatch(r"[0-9]{1,3}", said):
        return int(said)
    return string.ascii_uppercase.index(said) if re.fullmatch(r"[A-Z]", said) else None


def _is_label(choice: str) -> bool:
    """Whether a choice is a number or a letter itself."""
    return len(choice.strip()) == 1 or not any(map(str.isalpha, choice))


def chosen(answer: Any, choices: Sequence[str], column: str) -> tuple[str, tuple[str, ...]]:
    """Return the right one of the choices, and the others.

    Args:
        answer: Place of the right one, counted from 0, or a letter from A on.
        choices: All of them.
        column: Name of the answers' column.

    Raises:
        ValueError: There is no choice at that place.
    """
    place = place_of(answer)
    if place is None or not 0 <= place < len(choices):
        raise ValueError(f"{column}: names no place among the {len(choices)} choices")
    right = choices[place]
    return right, tuple(other for other in choices if other != right)


class PlacesAsAnswers:
    """Watches for answers that are all places among their own choices.

    Args:
        source: Says which column holds the answers, and which the distractors.
    """

    def __init__(self, source: DataSource) -> None:
        self._source = source
        columns = () if source.published.indexed else (source.column("distractors"), *_CHOICES)
        self._from: dict[str, set[int]] = {name: {0, 1} for name in columns}
        """Column to the places from which the answers may count; none where they do."""
        self._example: dict[str, tuple[int, Any, int]] = {}
        self._worded: Counter[str] = Counter()
        """Column to its choices that are texts, less those that are a number or a letter."""

    def see(self, number: int, row: Mapping[str, Any]) -> None:
        """Look at a row."""
        if not any(self._from.values()):
            return
        _, answer = found(row, self._source.column("answer"))
        place = place_of(answer)
        for column, begins in self._from.items():
            choices = self._choices(row, column) if begins and place is not None else ()
            if place is None or len(choices) < _LEAST:
                begins.clear()
                continue
            counted = begins & {begin for begin in begins if begin <= place < begin + len(choices)}
            if not str(answer).strip().removesuffix(".0").isdecimal():
                counted.discard(1)  # letters begin with A
            self._from[column] = counted
            self._example.setdefault(column, (number, answer, len(choices)))
            self._worded[column] += sum(-1 if _is_label(choice) else 1 for choice in choices)

    @staticmethod
    def _choices(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
        try:
            return texts(found(row, column)[1], column)
        except ValueError:
            return ()

    def check(self) -> None:
        """Refuse rows of which every answer is a place.

        Raises:
            AuditorError: Says how such a file is read.
        """
        for column, begins in self._from.items():
            if not begins or self._worded[column] <= 0:
                continue
            number, answer, count = self._example[column]
            answers = self._source.column("answer")
            raise AuditorError(
                f"{self._source.name}: every `{answers}` is a place among its `{column}` ({answer} "
                f"of {count} in line {number}), not the text of an answer. {self._way_out(column)}"
            )

    def _way_out(self, column: str) -> str:
        if 0 not in self._from[column]:
            return "They count from 1: write the text of the right choice in their stead."
        mapped = {field: self._source.column(field) for field in ("prompt", "answer")}
        usual = {"prompt": "question", "answer": "answer", "distractors": "choices"}
        other = {f: c for f, c in (mapped | {"distractors": column}).items() if usual[f] != c}
        fields = ", ".join(f"{field}: {name}" for field, name in other.items())
        return (
            f"Give `layout: wmdp`{f' with `fields: {{{fields}}}`' if fields else ''}, which takes "
            "the choice at that place as the answer and the others as distractors."
        )
