"""Logs of RWKU (`eval_forget.py` and `eval_neighbor.py`, arXiv 2406.10890).

A model that forgot one subject has `forget.json`, questions about it, and `neighbor.json`,
questions about what is near it and stays. Each holds a mean by level, and in `results` the
questions with what the model said.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.facts import SetName
from auditor.data.logs.log import Faults, LoggedFact, ReadLog, Tasks, parsed, tables

_FILES: Mapping[str, SetName] = {"forget.json": "forget", "neighbor.json": "retain"}
_NOTHING = "NOANSWER"
"""What the tool writes where a model said nothing."""


class RwkuLayout:
    """Layout of RWKU's logs."""

    def files(self, path: Path, tasks: Tasks) -> dict[str, Path]:
        """Return the files of the model's two parts."""
        if not path.is_dir():
            raise AuditorError(
                f"{path} is no folder; give the one of one model, with {' and '.join(_FILES)}."
            )
        found = {name: path / name for name in _FILES if (path / name).exists()}
        if "forget.json" not in found:
            below = sorted(path.rglob("forget.json"))
            there = f"; there is {below[0]}" if below else ""
            raise AuditorError(
                f"{path} holds no forget.json{there}. Give the folder of one model that forgot one "
                "subject."
            )
        return found

    def read(self, files: Mapping[str, Path], tasks: Tasks) -> ReadLog:
        """Read the parts."""
        facts = [fact for name, file in files.items() for fact in _facts(_FILES[name], file)]
        return ReadLog(tuple(facts), lacking=tuple(name for name in _FILES if name not in files))


def _facts(name: SetName, file: Path) -> list[LoggedFact]:
    rows = tables(parsed(file), file, "it").get("results")
    if not isinstance(rows, list) or not rows:
        raise AuditorError(f"{file} has no list `results`; give the log as RWKU wrote it.")
    faults = Faults(file)
    facts = [
        _fact(name, place, row if isinstance(row, dict) else {}, faults)
        for place, row in enumerate(rows)
    ]
    faults.check()
    return facts


def _fact(name: SetName, place: int, row: Mapping[str, Any], faults: Faults) -> LoggedFact:
    said = row.get("prediction")
    if not isinstance(said, str):
        faults.add(f"results {place}: prediction is missing")
    asked = faults.text(row.get("query"), f"results {place}: query")
    return LoggedFact(
        set=name,
        id=f"{name}-{place:04d}",
        entity=faults.text(row.get("subject"), f"results {place}: subject"),
        prompt=asked,
        answer=faults.text(row.get("answer"), f"results {place}: answer"),
        said="" if said == _NOTHING else said,
        wording=asked,
    )
