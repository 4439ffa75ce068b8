"""Logs of MUSE (arXiv 2407.06460), of its first and its present layout.

The first: `{knowmem,verbmem}/out/<corpus>/<algorithm>/…/{forget,retain}/history.json`. The present:
`temp/<name>/{knowmem_f,verbmem_f,knowmem_r}/log.json`, with `privleak/auc.json` beside them. All
are lists of questions with what was said.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.facts import SetName
from auditor.data.logs.log import ROUGE, Faults, LoggedFact, ReadLog, Tasks, in_order, parsed

_PRESENT = {
    "knowmem_f": "forget-knowmem",
    "verbmem_f": "forget-verbmem",
    "knowmem_r": "retain-knowmem",
}
"""Folders of the present layout, and the parts that they hold."""
_FIRST = {
    ("knowmem", "forget"): "forget-knowmem",
    ("verbmem", "forget"): "forget-verbmem",
    ("knowmem", "retain"): "retain-knowmem",
}
_AREAS = "privleak/auc.json"
_AREA = "forget_holdout_"
_PARTS = tuple(_PRESENT.values())


class MuseLayout:
    """Layout of MUSE's logs."""

    def files(self, path: Path, tasks: Tasks) -> dict[str, Path]:
        """Return the files of the model's parts."""
        if not path.is_dir():
            kind = "means only" if path.suffix == ".csv" else "one part"
            raise AuditorError(
                f"{path} is no folder: it would hold {kind}. Give the folder of one model, with "
                f"{', '.join(_PRESENT)} in it (or knowmem and verbmem)."
            )
        held: dict[str, list[Path]] = {}
        for file in sorted((*path.rglob("log.json"), *path.rglob("history.json"))):
            if part := _part(file):
                held.setdefault(part, []).append(file)
        several = {part: found for part, found in held.items() if len(found) > 1}
        if several:
            part, found = next(iter(several.items()))
            raise AuditorError(
                f"{path} holds several logs of {part} ({', '.join(map(str, found[:3]))}); give the "
                "folder of one model at one step."
            )
        if not any(part.startswith("forget") for part in held):
            raise AuditorError(
                f"{path} holds no log of the forget set (knowmem_f/log.json, verbmem_f/log.json, "
                "or knowmem/…/forget/history.json)."
            )
        files = {part: held[part][0] for part in _PARTS if part in held}
        areas = sorted(path.rglob(_AREAS))
        return files | ({_AREAS: areas[0]} if len(areas) == 1 else {})

    def read(self, files: Mapping[str, Path], tasks: Tasks) -> ReadLog:
        """Read the parts."""
        facts = [
            fact for part, file in files.items() if part in _PARTS for fact in _facts(part, file)
        ]
        areas = parsed(files[_AREAS]) if _AREAS in files else {}
        auc = {
            name: float(value)
            for name, value in (areas.items() if isinstance(areas, dict) else ())
            if name.startswith(_AREA) and isinstance(value, int | float) and 0 <= value <= 1
        }
        absent = [part for part in (*_PARTS, _AREAS) if part not in files]
        return ReadLog(tuple(facts), auc=auc, lacking=tuple(absent))


def _part(file: Path) -> str | None:
    """Return the part that a file holds, by its folders."""
    folders = file.resolve().parent.parts[::-1]
    if file.name == "log.json":
        return _PRESENT.get(folders[0])
    about = next((name for name in folders if name in ("knowmem", "verbmem")), "")
    return _FIRST.get((about, folders[0]))


def _facts(part: str, file: Path) -> list[LoggedFact]:
    rows = parsed(file)
    if isinstance(rows, dict):
        rows = [rows[index] for index in in_order(rows)]
    if not isinstance(rows, list) or not rows:
        raise AuditorError(f"{file} is no list of questions; give the log as MUSE wrote it.")
    faults = Faults(file)
    name: SetName = "retain" if part.startswith("retain") else "forget"
    facts = [
        _fact(part, name, place, row if isinstance(row, dict) else {}, faults)
        for place, row in enumerate(rows)
    ]
    faults.check()
    return facts


def _fact(
    part: str, name: SetName, place: int, row: Mapping[str, Any], faults: Faults
) -> LoggedFact:
    said = row.get("response")
    if not isinstance(said, str):
        faults.add(f"{place}: response is missing")
    prompt = faults.text(row.get("prompt", row.get("question")), f"{place}: prompt")
    question = row.get("question")
    return LoggedFact(
        set=name,
        id=f"{part}-{place:04d}",
        entity=f"{part}-{place:04d}",
        prompt=faults.text(question, f"{place}: question") if question is not None else prompt,
        answer=faults.text(row.get("gt"), f"{place}: gt"),
        k={ROUGE: faults.share(row.get("rougeL_recall"), f"{place}: rougeL_recall")},
        said=said,
        wording=prompt,
    )
