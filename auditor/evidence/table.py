"""The one flat table that statistics and reports read."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditor.data.fact import SetName
from auditor.evidence.record import Row


@dataclass(frozen=True)
class Evidence:
    """Rows of one job in the table: who measured whom, under what."""

    attack: str
    variant: str
    arm: str
    seed: int
    rows: tuple[Row, ...]


class EvidenceTable:
    """All evidence of an audit."""

    def __init__(self, evidence: Iterable[Evidence]) -> None:
        self._cells: dict[tuple[str, str, str], list[Evidence]] = defaultdict(list)
        for entry in evidence:
            self._cells[entry.attack, entry.variant, entry.arm].append(entry)

    def knowledge(
        self, attack: str, variant: str, arm: str, set_name: SetName, probe: str
    ) -> dict[str, float]:
        """K of each fact, averaged over the seeds; a fact that any seed lacks is absent."""
        seeds = [
            {row.fact: row.k for row in entry.rows if (row.set, row.probe) == (set_name, probe)}
            for entry in self._cells.get((attack, variant, arm), [])
        ]
        shared = [fact for fact in (seeds[0] if seeds else ()) if all(fact in k for k in seeds)]
        return {fact: float(np.mean([known[fact] for known in seeds])) for fact in shared}

    def matrix(
        self,
        attack: str,
        variant: str,
        arms: Sequence[str],
        set_name: SetName,
        probe: str,
        facts: Sequence[str],
    ) -> npt.NDArray[np.float64] | None:
        """K as [arms, facts], or None where any arm lacks any fact: nothing is filled in."""
        table = []
        for arm in arms:
            known = self.knowledge(attack, variant, arm, set_name, probe)
            if any(fact not in known for fact in facts):
                return None
            table.append([known[fact] for fact in facts])
        return np.array(table)

    def answers(self, attack: str, variant: str, arm: str, set_name: SetName) -> dict[str, str]:
        """What the arm said to each fact, where it was made to speak (first seed)."""
        said: dict[str, str] = {}
        for entry in self._cells.get((attack, variant, arm), []):
            for row in entry.rows:
                if row.set == set_name and row.answer is not None:
                    said.setdefault(row.fact, row.answer)
        return said
