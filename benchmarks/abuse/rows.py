"""Rows of the two tables, kept as JSON lines."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tried:
    """Outcome of one way to a PASS.

    Attributes:
        name: Of the way.
        commit: Of the code.
        verdict: Of the gate under the policy of a release, or ``refused``.
        code: Exit code of what refused it, or of the verdict.
        by: What held it back: the sentence of a refusal, or the verdict's reasons.
        warnings: Codes of the warnings of the audit.
        seconds: Time that it took.
    """

    name: str
    commit: str
    verdict: str
    code: int
    by: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the model got its PASS."""
        return self.verdict == "PASS"


@dataclass(frozen=True)
class Honest:
    """Whether honest models or files are refused.

    Attributes:
        name: What they are.
        commit: Of the code.
        refused: Sentence of the refusal; None where there is none.
        warnings: Codes of the plan's warnings.
    """

    name: str
    commit: str
    refused: str | None
    warnings: tuple[str, ...]


Row = Tried | Honest


def read(file: Path) -> list[Row]:
    """Read the rows of earlier runs."""
    if not file.exists():
        return []
    return [_row(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def append(file: Path, row: Row) -> None:
    """Append a row."""
    with file.open("a", encoding="utf-8") as kept:
        kept.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


def _row(content: Mapping[str, Any]) -> Row:
    given = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return Tried(**given) if "verdict" in given else Honest(**given)
