"""Facts that were built, and the file they are written to."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.files import write_whole


@dataclass(frozen=True)
class Built:
    """Facts built from a source, and what was left out of them."""

    facts: tuple[Fact, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    """Number of passages, rows or files that became no fact, by the reason."""
    plan: str = ""
    """Lines of a plan that suit the facts, beside the name of their file."""
    personal: bool = False
    """Whether they may be personal or hazardous, so that an audit should be redacted."""
    advice: tuple[str, ...] = ()
    """Sentences on what whoever asked for them may want to change."""

    @property
    def entities(self) -> int:
        """Number of entities that the facts are about."""
        return len({fact.entity for fact in self.facts})


def write_facts(built: Built, file: str | PathLike[str], *, force: bool = False) -> None:
    """Write facts as JSON Lines.

    Args:
        built: The facts.
        file: Where they go; folders above it are made.
        force: Write over what is there.

    Raises:
        AuditorError: The file exists, or has another ending than ``.jsonl``.
    """
    file = Path(file)
    if file.suffix.lower() != ".jsonl":
        raise AuditorError(f"{file}: facts are written as JSON Lines; give a name in .jsonl.")
    if file.exists() and not force:
        raise AuditorError(f"{file} exists already; choose another name, or pass --force.")
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps(fact.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        for fact in built.facts
    )
    write_whole(file, "".join(f"{line}\n" for line in lines).encode())


def normal(text: str) -> str:
    """Return a text without the differences of case, width and blanks."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


def once(
    facts: Iterable[Fact], key: Callable[[Fact], Hashable], left_out: Counter[str], reason: str
) -> list[Fact]:
    """Keep the first fact of each key, and count the others.

    Args:
        facts: The facts, in the order in which they are kept.
        key: What two facts must not share.
        left_out: Counts by reason; the others are added to it.
        reason: What they are counted as.
    """
    first: dict[Hashable, Fact] = {}
    for fact in facts:
        if first.setdefault(key(fact), fact) is not fact:
            left_out[reason] += 1
    return list(first.values())


def spread(facts: list[Fact], most: int | None, left_out: Counter[str]) -> list[Fact]:
    """Keep so many facts at most, evenly spread over all."""
    if most is None or len(facts) <= most:
        return facts
    left_out[f"beyond the {most:,} asked for"] += len(facts) - most
    return [facts[index * len(facts) // most] for index in range(most)]
