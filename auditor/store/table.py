"""The one flat table that statistics and reports read."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from auditor.core.attack_id import AttackId
from auditor.core.facts import SetName
from auditor.store import columns


@dataclass(frozen=True)
class Evidence:
    """Rows of one job in the table: who measured whom, under what."""

    attack: AttackId
    arm: str
    seed: int
    rows: pa.Table
    """Table with the columns of `columns.SCHEMA`; those that nobody asks for (answers, pictures)
    may be left out."""


class EvidenceTable:
    """Table of all evidence of an audit."""

    def __init__(self, evidence: Iterable[Evidence]) -> None:
        self._cells: dict[tuple[AttackId, str], list[Evidence]] = defaultdict(list)
        for entry in evidence:
            self._cells[entry.attack, entry.arm].append(entry)

    def knowledge(
        self, attack: AttackId, arm: str, set_name: SetName, metric: str
    ) -> dict[str, float]:
        """Return K of each fact, averaged over the seeds.

        A fact that any seed lacks is absent.
        """
        seeds = [
            columns.knowledge(entry.rows, set_name, metric)
            for entry in self._cells.get((attack, arm), [])
        ]
        if not seeds:
            return {}
        facts, first = seeds[0]
        if all(others == facts for others, _ in seeds[1:]):
            mean = first if len(seeds) == 1 else np.mean([k for _, k in seeds], axis=0)
            return dict(zip(facts, mean.tolist(), strict=True))
        known = [dict(zip(names, k.tolist(), strict=True)) for names, k in seeds]
        shared = [fact for fact in facts if all(fact in k for k in known)]
        return {fact: float(np.mean([k[fact] for k in known])) for fact in shared}

    def matrix(
        self,
        attack: AttackId,
        arms: Sequence[str],
        set_name: SetName,
        metric: str,
        facts: Sequence[str],
    ) -> npt.NDArray[np.float64] | None:
        """Return K as [arms, facts], or None if any is missing.

        Nothing is filled in where an arm lacks a fact.
        """
        table = []
        for arm in arms:
            known = self.knowledge(attack, arm, set_name, metric)
            try:
                table.append([known[fact] for fact in facts])
            except KeyError:
                return None
        return np.array(table)

    def answers(self, attack: AttackId, arm: str, set_name: SetName) -> dict[str, str]:
        """Return what the arm answered, by fact (first seed).

        Facts for which it was not made to answer are absent.
        """
        said: dict[str, str] = {}
        for entry in self._cells.get((attack, arm), []):
            said = columns.answers(entry.rows, set_name) | said
        return said

    def prompts(self, attack: AttackId, arm: str, set_name: SetName) -> dict[str, str]:
        """Return how the arm was asked, by fact (first seed).

        Facts that were asked by their own prompt are absent.
        """
        asked: dict[str, str] = {}
        for entry in self._cells.get((attack, arm), []):
            asked = columns.prompts(entry.rows, set_name) | asked
        return asked

    def pictures(self, attack: AttackId, arm: str, set_name: SetName) -> dict[str, bytes]:
        """Return what the arm drew, by fact (first seed).

        Facts for which it was not made to draw are absent.
        """
        drawn: dict[str, bytes] = {}
        for entry in self._cells.get((attack, arm), []):
            drawn = columns.pictures(entry.rows, set_name) | drawn
        return drawn
