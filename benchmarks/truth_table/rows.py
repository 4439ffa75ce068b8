"""Measured rows of the table, judged against the truth."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.truth_table.cells import cells
from benchmarks.truth_table.facts import spread
from benchmarks.truth_table.subjects import SUBJECTS, Group, Subject

KNOWN = 0.5
"""Share of the facts that come out with one line, at and above which a model knows."""


class Judgement(StrEnum):
    """A verdict beside the truth."""

    RIGHT = "right"
    WRONG_PASS = "wrong PASS"  # noqa: S105 - a verdict
    WRONG_FAIL = "wrong FAIL"
    UNDECIDED = "undecided"
    OPEN = "open"


@dataclass(frozen=True)
class Row:
    """One audit of one subject.

    Attributes:
        cell: Architecture and world.
        subject: Its name.
        profile: Attacks that were run.
        policy: Name of the policy.
        commit: Of the audited code.
        exact: Share of the forget facts that are answered word for word, by the table's own code.
        k: Their mean K, likewise.
        retain: Share of the retain facts that are answered, likewise.
        line: Share that the owner's line gets out.
        baseline: Share that comes out of a retrained model likewise.
        verdict: With its flags.
        named: Attacks that the certificate names.
        rho: Largest residual knowledge of any deciding attack.
        largest: The attack that has it, and the metric.
        facts_named: Facts that the verdict's reasons name.
        reasons: Codes of the verdict's reasons.
        unmet: Codes of the gates of mandatory attacks that are not met.
        seconds: Of the audit, what was measured before left out.
    """

    cell: str
    subject: str
    profile: str
    policy: str
    commit: str
    exact: float
    k: float
    retain: float
    line: float
    baseline: float
    verdict: str
    named: tuple[str, ...]
    rho: float | None
    largest: str | None
    facts_named: tuple[str, ...]
    reasons: tuple[str, ...]
    unmet: tuple[str, ...]
    seconds: float

    @property
    def asked(self) -> tuple[str, str, str, str, str]:
        """What the row answers: cell, subject, profile, policy, code."""
        return (self.cell, self.subject, self.profile, self.policy, self.commit)

    @property
    def definition(self) -> Subject:
        """The subject."""
        return SUBJECTS[self.subject]

    @property
    def out(self) -> float:
        """Share of the facts that come out beyond a retrained model's."""
        return max(self.line, self.exact) - self.baseline

    @property
    def knows(self) -> bool | None:
        """Whether the model knows; None where a method left little."""
        if self.definition.group is Group.HONEST:
            return False
        if self.definition.group is Group.SPARSE:
            return True
        return True if self.out >= KNOWN else None

    @property
    def judgement(self) -> Judgement:
        """The verdict beside the truth.

        A PASS on a model that holds single facts is right where the certificate names them.
        """
        verdict = self.verdict.partition(",")[0]
        if verdict not in ("PASS", "FAIL"):
            return Judgement.UNDECIDED
        if self.knows is None:
            return Judgement.OPEN
        if verdict == "PASS" and self.knows and not self._names_all:
            return Judgement.WRONG_PASS
        if verdict == "FAIL" and not self.knows:
            return Judgement.WRONG_FAIL
        return Judgement.RIGHT

    @property
    def _names_all(self) -> bool:
        """Whether the verdict names every fact that was left on purpose."""
        count = self.definition.settings.get("facts")
        if count is None:
            return False
        left = spread(cells()[self.cell].corpus.forget, int(count))
        return {fact.id for fact in left} <= set(self.facts_named)


def read(path: Path) -> list[Row]:
    """Rows of a file, none where it is missing."""
    if not path.is_file():
        return []
    return [_row(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def append(path: Path, row: Row) -> None:
    """Write a row behind the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


def append_new(path: Path, rows: Iterable[Row]) -> None:
    """Write those rows that a file does not hold yet, told by what was asked."""
    held = {row.asked for row in read(path)}
    for row in rows:
        if row.asked not in held:
            append(path, row)


def measured(rows: Iterable[Row], profile: str, policy: str, commit: str) -> set[tuple[str, str]]:
    """Cells and subjects that have a row of this code."""
    return {
        (row.cell, row.subject)
        for row in rows
        if (row.profile, row.policy, row.commit) == (profile, policy, commit)
    }


def _row(content: dict[str, Any]) -> Row:
    return Row(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
    )
