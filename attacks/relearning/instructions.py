"""Instruction data: prompts with answers, from the rows of a file."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.text_safety import quoted
from auditor.data.layouts import published_columns
from auditor.data.rows import read_rows
from auditor.data.source import DataSource

_CONVERSATIONS = ("messages", "conversations")
"""Columns that hold a list of turns."""
_SPEAKERS = ("role", "from")
_SAID = ("content", "value")
_ANSWERING = frozenset({"assistant", "gpt"})
"""Who gives the answers in a list of turns, by the names that data sets use."""
_BESIDE = ("input", "context")
"""Columns of a text that stands beside an instruction and may be empty."""
_SHOWN = 5
"""Most faults that a message names."""

Pair = tuple[str, str]
"""Prompt and answer; a text without a question has an empty prompt."""


def read_instructions(path: str) -> list[Pair]:
    """Read prompts with answers from a file.

    A row is a list of turns (``messages``, ``conversations``), of which the first answer and what
    was said to the assistant before it count; an instruction with an answer, and with a text beside
    it where there is one; or a plain ``text``.

    Args:
        path: JSON Lines, JSON, CSV or Parquet.

    Raises:
        AuditorError: It cannot be read, has no rows, or some rows are none of these.
    """
    pairs: list[Pair] = []
    faults: list[str] = []
    for number, row in read_rows(DataSource(path=path)):
        pair = None if isinstance(row, str) else _pair(row)
        if pair is None:
            faults.append(f"row {number} {_wrong(row)}")
        else:
            pairs.append(pair)
    if faults:
        more = f"; {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise AuditorError(
            f"{path} is no instruction data: {'; '.join(faults[:_SHOWN])}{more}. Give rows with "
            "`prompt` and `answer`, with `messages`, or with `text`."
        )
    if not pairs:
        raise AuditorError(f"{path} holds no rows; give instruction data, one example a row.")
    return pairs


def _wrong(row: Mapping[str, Any] | str) -> str:
    if isinstance(row, str):
        return row
    names = ", ".join(quoted(str(name)) for name in islice(row, _SHOWN)) or "none"
    return f"has no prompt with an answer (columns: {names})"


def _pair(row: Mapping[str, Any]) -> Pair | None:
    """The prompt and answer of a row, or None."""
    for name in _CONVERSATIONS:
        if isinstance(row.get(name), list):
            return _first_answered(row[name])
    prompt = next(_texts(row, published_columns("prompt")), None)
    answer = next(_texts(row, published_columns("answer")), None)
    if answer is None:
        text = next(_texts(row, ("text",)), None)
        return None if text is None or prompt is not None else ("", text[1])
    if prompt is None:
        return None
    beside = [text for name, text in _texts(row, _BESIDE) if name != prompt[0]]
    return "\n\n".join([prompt[1], *beside]), answer[1]


def _texts(row: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the named columns that hold text, in the given order."""
    for name in names:
        text = row.get(name)
        if isinstance(text, str) and text.strip():
            yield name, text.strip()


def _first_answered(turns: list[Any]) -> Pair | None:
    said: list[str] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            return None
        speaker = next(_texts(turn, _SPEAKERS), None)
        text = next(_texts(turn, _SAID), None)
        if speaker is None or text is None:
            return None
        if speaker[1] in _ANSWERING:
            return ("\n\n".join(said), text[1]) if said else None
        said.append(text[1])
    return None
