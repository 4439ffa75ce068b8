"""Passages of texts as facts: a prefix asks, its continuation answers.

They serve the metrics of verbatim memorisation (arXiv 2202.07646: a model is given a prefix of a
text that it was trained on, and asked for what follows). A cut lies at a blank, so that prompt,
separator and answer are the text itself, letter by letter.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.network import hub_in_reach, no_network
from auditor.core.paths import close_names_beside
from auditor.core.reading import DATA, UnfitFileError, read_regular
from auditor.data.builders.built import Built, normal, once, spread
from auditor.data.rows import READERS, read_rows
from auditor.data.source import DataSource

TEXTS = (".txt", ".text", ".md", ".rst")
"""Endings of files that are one document each."""
PREFIX_TOKENS, ANSWER_TOKENS = 64, 32
"""Tokens of a prefix and of a continuation, by default."""
_TOKENIZER = "tokenizer.json"
_BLANK = re.compile(r"(?<=\S) (?=\S)")
_SEAM = re.compile(r"(?<=\S)(?=\S)")
_WORDS_APART = 25
"""Most characters of a text for each of its blanks, where blanks part its words."""

Spans = Sequence[tuple[int, int]]
"""Where each token of a text begins and ends, in characters."""


@dataclass(frozen=True)
class Cut:
    """Lengths in which passages are cut, in tokens."""

    prefix: int = PREFIX_TOKENS
    answer: int = ANSWER_TOKENS
    stride: int | None = None
    """Tokens from the beginning of a passage to that of the next; by default, passages touch."""

    def check(self) -> None:
        """Refuse lengths that make no facts.

        Raises:
            AuditorError: One is not above 0, or answers would overlap.
        """
        if min(self.prefix, self.answer) < 1:
            raise AuditorError("prefix and answer need at least 1 token each.")
        if self.stride is not None and self.stride < self.answer:
            raise AuditorError(
                f"with a stride of {self.stride} tokens the answers, of {self.answer}, would "
                "overlap, and a text would count twice; give a stride of at least that."
            )


def facts_from_text(
    path: str | PathLike[str],
    *,
    tokenizer: str | None = None,
    cut: Cut | None = None,
    most: int | None = None,
    column: str = "text",
) -> Built:
    """Cut documents into passages.

    The prompt is a prefix, the answer what follows. Passages whose prefix or continuation
    occurred before are left out: a text that many documents quote counts once.

    Args:
        path: A text file, a folder of them, or a table with a document a row.
        tokenizer: Folder or hub name of a model, or a tokenizer.json, whose tokens are counted;
            None counts words.
        cut: Lengths of the passages.
        most: Most facts; they are spread evenly over all passages.
        column: Column of a table that holds the documents.

    Raises:
        AuditorError: Nothing can be read, or no document is long enough.
    """
    cut = cut or Cut()
    cut.check()
    path = Path(path)
    left_out: Counter[str] = Counter()
    documents = dict(_documents(path, column, left_out))
    separator = " " if _parts_words(documents.values()) else ""
    spans = _words(separator) if tokenizer is None else _token_spans(tokenizer)
    found: list[Fact] = []
    for name, text in documents.items():
        pairs = list(_passages(text, spans(text), cut, separator))
        if not pairs:
            left_out["documents shorter than a passage"] += 1
        found += (
            Fact(id=f"{name}-{number:04d}", entity=name, prompt=prompt, answer=answer)
            for number, (prompt, answer) in enumerate(pairs, 1)
        )
    if not found:
        raise AuditorError(
            f"{path} holds no document of {cut.prefix} + {cut.answer} tokens; give less with "
            "--prefix-tokens and --answer-tokens."
        )
    for key in (lambda fact: normal(fact.answer), lambda fact: normal(fact.prompt)):
        found = once(found, key, left_out, "passages that occurred before")
    return Built(
        facts=tuple(spread(found, most, left_out)),
        left_out=dict(left_out),
        plan=_PLAN.format(separator=separator),
        advice=() if tokenizer else (_WORDS,),
    )


_PLAN = """\
format:
  separator: "{separator}"   # prompt, this and answer are the text itself
metrics:                     # verbatim memorisation
  primary: exact-memorisation
  deciding: [extraction-strength, answer-recall]
  reported: [answer-probability, rouge-l-recall]
"""
_WORDS = (
    "passages were cut by words; with --tokenizer MODEL they are cut by the model's tokens, as "
    "published figures of memorisation are."
)


def _documents(path: Path, column: str, left_out: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield each document's name and text."""
    if path.is_dir():
        found = (file for file in path.rglob("*") if not _hidden(file, path))
        files = sorted(file for file in found if file.is_file())
        texts = [file for file in files if file.suffix.lower() in TEXTS]
        if len(texts) < len(files):
            left_out["files that are no text"] += len(files) - len(texts)
        if not texts:
            raise AuditorError(
                f"{path} holds no text ({', '.join(TEXTS)}); save documents of other formats as "
                "plain text in UTF-8."
            )
        for file in texts:
            yield file.relative_to(path).as_posix(), _text(file)
    elif not path.exists():
        raise AuditorError(f"{path}: no such file or folder{close_names_beside(path)}.")
    elif path.suffix.lower() in TEXTS:
        yield path.name, _text(path)
    elif path.suffix.lower() in READERS:
        yield from _rows(path, column)
    else:
        raise AuditorError(
            f"{path}: no text is read from {path.suffix or 'a file without an ending'}; known are "
            f"{', '.join((*TEXTS, *READERS))}. Save it as plain text in UTF-8."
        )


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _rows(path: Path, column: str) -> Iterator[tuple[str, str]]:
    for line, row in read_rows(DataSource(path=str(path))):
        if isinstance(row, str):
            raise AuditorError(f"{path}:{line}: {row}.")
        if column not in row:
            there = ", ".join(f"`{name}`" for name in list(row)[:20])
            raise AuditorError(
                f"{path}:{line}: no column `{column}`; the columns are {there}. Say with --column "
                "which holds the documents."
            )
        if isinstance(row[column], str):
            yield f"{path.stem}-{line:05d}", row[column]


def _text(file: Path) -> str:
    try:
        text = read_regular(file, DATA).decode("utf-8-sig")
    except UnfitFileError as error:
        raise AuditorError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AuditorError(f"{file} is not in UTF-8; save it as plain text in UTF-8.") from error
    if "\0" in text:
        raise AuditorError(f"{file} holds NUL characters, so it is no text; save it as one.")
    return text.replace("\r\n", "\n")


def _parts_words(texts: Iterable[str]) -> bool:
    """Whether blanks part words, as in Latin script and not in Chinese."""
    letters = blanks = 0
    for text in texts:
        letters += len(text)
        blanks += text.count(" ")
    return letters <= _WORDS_APART * blanks


def _words(separator: str) -> Callable[[str], Spans]:
    pattern = re.compile(r"\S+" if separator else r"\S")
    return lambda text: [found.span() for found in pattern.finditer(text)]


def _passages(text: str, spans: Spans, cut: Cut, separator: str) -> Iterator[tuple[str, str]]:
    """Yield prefix and continuation of each passage.

    They are as long as asked for, and longer by what is left of the words that tokens end in.
    """
    seam = _BLANK if separator else _SEAM
    ends = [end for _, end in spans]

    def last(place: int, count: int) -> int | None:
        """End of so many tokens; None where there are fewer."""
        token = bisect_right(ends, place) + count - 1
        return ends[token] if token < len(ends) else None

    token = end = 0
    while token < len(spans):
        begin = _word_start(text, spans[token][0], separator)
        asked = last(begin, cut.prefix)
        middle = None if asked is None else seam.search(text, max(begin + 1, asked, end))
        answered = None if middle is None else last(middle.end(), cut.answer)
        if middle is None or answered is None:
            return
        end = _word_end(text, answered, separator)
        yield text[begin : middle.start()], text[middle.end() : end].rstrip()
        token = bisect_right(ends, begin if cut.stride else end) + (cut.stride or 0)


def _word_start(text: str, place: int, separator: str) -> int:
    """First character of a word at a place or after it."""
    if separator and place > 0 and not text[place - 1].isspace():
        while place < len(text) and not text[place].isspace():
            place += 1
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _word_end(text: str, place: int, separator: str) -> int:
    """End of the word that a place lies in."""
    while separator and place < len(text) and not text[place].isspace():
        place += 1
    return place


def _token_spans(name: str) -> Callable[[str], Spans]:
    """Return what finds the tokens of a text.

    Args:
        name: A tokenizer.json, a folder that holds one, or a model on the hub.

    Raises:
        AuditorError: There is no tokenizer, or none that says where its tokens lie.
    """
    path = Path(name).expanduser()
    file = path / _TOKENIZER if path.is_dir() else path
    return _of_file(file) if file.is_file() else _of_model(name)


def _of_file(file: Path) -> Callable[[str], Spans]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain exceptions
        raise AuditorError(f"{file} is no tokenizer that loads ({str(error)[:200]}).") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


def _of_model(name: str) -> Callable[[str], Spans]:
    from transformers import AutoTokenizer

    reached = Path(name).is_dir() or hub_in_reach()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        if not reached:
            raise AuditorError(
                f"the tokenizer of {name} cannot be had: there is no such folder, and "
                f"{no_network()}"
            ) from error
        said = str(error).splitlines()[0][:200]
        raise AuditorError(f"{name} has no tokenizer that loads ({said}).") from error
    if not tokenizer.is_fast:
        raise AuditorError(
            f"the tokenizer of {name} does not say where its tokens lie in a text; leave "
            "--tokenizer out to cut by words."
        )

    def spans(text: str) -> Spans:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(found["offset_mapping"])

    return spans
