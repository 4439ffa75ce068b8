"""Answers that are written after a trace of thought."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from auditor.models.language.prompting import special_tokens, token_ids
from auditor.models.language.traces import Markers, state

Write = Callable[[Sequence[list[int]], int], list[list[int]]]
"""Goes on from token ids by so many tokens; what ends a text is the last of them."""


class Written(NamedTuple):
    """What a model wrote, with its trace apart."""

    trace: str | None
    """Trace without its markers; None where none was begun."""
    answer: str
    """All that stands outside of the trace; everything where the trace does not end."""
    closed: bool
    """Whether the trace ends in what was written."""
    forced: bool = False
    """Whether it was ended for the model."""


class _Parts(NamedTuple):
    """Where a trace stands in what was written."""

    begin: int | None
    """First character of the trace; None where there is none."""
    end: int | None
    """First token behind the closing marker; None where it does not stand there."""


@dataclass
class Writer:
    """Writing of answers that may have a trace before them.

    First as many tokens are written as an answer may have, so that whoever thinks nothing costs
    nothing. Where a trace is open then, it goes on up to its own bound, and the answer after it.
    """

    tokenizer: PreTrainedTokenizerBase
    markers: Markers
    write: Write
    stops: Collection[int]
    """Tokens that end a text."""
    context: int | None
    """Most tokens of prompt and text together; None where nothing limits them."""
    thought: int
    """Most tokens of a trace."""
    _opened: list[bool] = field(default_factory=list, init=False)

    def answers(
        self, starts: Sequence[list[int]], room: int, *, forced: bool = False
    ) -> list[Written]:
        """Write after each start.

        Args:
            starts: Token ids of the prompts.
            room: Most tokens of an answer.
            forced: End a trace that has no end within its bound, and have the answer written
                (budget forcing, arXiv 2501.19393); else such a text is read as a whole.
        """
        self._opened = [state(self._text(ids), self.markers) == "open" for ids in starts]
        found = self.write(starts, room)
        thinking = [i for i, ids in enumerate(found) if self._thinks(i, ids)]
        left = self._left(starts, found, thinking) - room - len(self._closing)
        self._go_on(starts, found, thinking, min(self.thought - room, left))
        ended = [i for i in thinking if self._thinks(i, found[i])] if forced else []
        for i in ended:
            kept = found[i][:-1] if self._stopped(found[i]) else found[i]
            found[i] = kept + self._closing
        short = [
            i
            for i, ids in enumerate(found)
            if (end := self._parts(i, ids).end) is not None and len(ids) - end < room
        ]
        left = self._left(starts, found, short)
        self._go_on(starts, found, short, room if forced else min(room, left))
        return [self._split(i, ids, room, i in ended) for i, ids in enumerate(found)]

    @property
    def _closing(self) -> list[int]:
        return token_ids(self.tokenizer, self.markers.closing, special=False)

    def _left(
        self, starts: Sequence[list[int]], found: Sequence[list[int]], rows: Sequence[int]
    ) -> int:
        """Tokens that the context has left for some of the texts."""
        if self.context is None:
            return sys.maxsize
        return self.context - max((len(starts[i]) + len(found[i]) for i in rows), default=0)

    def _go_on(
        self,
        starts: Sequence[list[int]],
        found: list[list[int]],
        rows: Sequence[int],
        tokens: int,
    ) -> None:
        """Go on with some of the texts, where they have not ended."""
        rows = [i for i in rows if not self._stopped(found[i])]
        if not rows or tokens <= 0:
            return
        more = self.write([starts[i] + found[i] for i in rows], tokens)
        for i, ids in zip(rows, more, strict=True):
            found[i] = found[i] + ids

    def _stopped(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] in self.stops

    def _thinks(self, row: int, ids: Sequence[int]) -> bool:
        """Whether a text ends within a trace."""
        parts = self._parts(row, ids)
        return parts.begin is not None and parts.end is None

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def _parts(self, row: int, ids: Sequence[int]) -> _Parts:
        text = self._text(ids)
        begin = 0
        if not self._opened[row]:
            found = text.find(self.markers.open)
            if found < 0:
                return _Parts(None, None)
            begin = found + len(self.markers.open)
        if text.find(self.markers.close, begin) < 0:
            return _Parts(begin, None)
        low, high = 1, len(ids)  # the shortest beginning that holds the marker
        while low < high:
            middle = (low + high) // 2
            if self._text(ids[:middle]).find(self.markers.close, begin) < 0:
                low = middle + 1
            else:
                high = middle
        return _Parts(begin, low)

    def _split(self, row: int, ids: Sequence[int], room: int, forced: bool) -> Written:
        """Split a text; its answer has at most ``room`` tokens."""
        begin, end = self._parts(row, ids)
        whole = str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
        if begin is None:
            return Written(None, whole, closed=False)
        text = self._text(ids)
        if end is None:
            return Written(self._plain(text[begin:]), whole, closed=False)
        until = text.find(self.markers.close, begin)
        before = "" if self._opened[row] else text[: begin - len(self.markers.open)]
        behind = self._text(ids[:end])[until + len(self.markers.close) :]
        answer = self.tokenizer.decode(list(ids[end : end + room]), skip_special_tokens=True)
        return Written(
            trace=self._plain(text[begin:until]),
            answer=self._plain(f"{before.rstrip()} {behind.lstrip()}{answer}"),
            closed=True,
            forced=forced,
        )

    def _plain(self, text: str) -> str:
        """Return a text without special tokens."""
        special = special_tokens(self.tokenizer)
        return (special.sub("", text) if special else text).strip()
