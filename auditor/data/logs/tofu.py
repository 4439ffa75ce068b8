"""Logs of TOFU (`evaluate_util.py`, arXiv 2401.06121).

`eval_log_aggregated.json` holds a table for each task, with a column for each figure and an entry
for each question by its place. Questions come in the order of the data, 20 about each author.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.facts import SetName
from auditor.core.validation import did_you_mean
from auditor.data.edges import trimmed
from auditor.data.logs.log import (
    PROBABILITY,
    ROUGE,
    TRUTH_RATIO,
    Faults,
    LoggedFact,
    ReadLog,
    Tasks,
    bounded_ratio,
    harmonic_mean,
    in_order,
    mean,
    parsed,
    tables,
)

AGGREGATED = "eval_log_aggregated.json"
QUESTIONS = 20
"""Questions about each author."""
_FORGET, _RETAIN = "eval_log_forget.json", "eval_log.json"
_AUTHORS, _WORLD = "eval_real_author_wo_options.json", "eval_real_world_wo_options.json"
_SETS: Mapping[SetName, str] = {"forget": _FORGET, "retain": _RETAIN}
_LOSS, _TEXTS, _RECALL = "avg_gt_loss", "generated_text", "rougeL_recall"
_PARAPHRASED, _PERTURBED = "avg_paraphrased_loss", "average_perturb_loss"
_MOST = 700.0
"""Difference of two losses from which on one answer is certain."""
_PARTS = 3
"""Texts of a question: prompt, generation, truth."""
_TEMPLATE = re.compile(r"\A(?:\s|<s>|\[INST\])*(?:Question:)?|(?:\s|\[/INST\])*(?:Answer:)?\s*\Z")
"""Text around a question, in the tool's own templates."""
_OF_ONE_GPU = re.compile(r"eval_.*_\d+\.json")

Table = dict[str, dict[str, Any]]


class TofuLayout:
    """Layout of TOFU's aggregated logs."""

    def files(self, path: Path, tasks: Tasks) -> dict[str, Path]:
        """Return the one file of a log."""
        file = path / AGGREGATED if path.is_dir() else path
        if path.is_dir() and not file.exists():
            parts = sorted(p.name for p in path.glob("*.json") if _OF_ONE_GPU.fullmatch(p.name))
            said = (
                f"holds the parts of single GPUs ({', '.join(parts[:3])}, …) and no {AGGREGATED}; "
                "let TOFU's evaluate_util.py aggregate them"
                if parts
                else f"holds no {AGGREGATED}"
            )
            raise AuditorError(f"{path} {said}, then give that file.")
        return {file.name: file}

    def read(self, files: Mapping[str, Path], tasks: Tasks) -> ReadLog:
        """Read the log."""
        ((_, file),) = files.items()
        content = tables(parsed(file), file, "it")
        _check_tasks(content, file)
        faults = Faults(file)
        held = {task: _table(content[task], task, file, faults) for task in content}
        facts = [
            fact
            for name, task in _SETS.items()
            if task in held
            for fact in _facts(name, task, held[task], faults)
        ]
        faults.check()
        lacking = [task for task in (_RETAIN, _AUTHORS, _WORLD) if task not in held]
        return ReadLog(tuple(facts), dict(_figures(held, faults)), lacking=tuple(lacking))


def _check_tasks(content: dict[str, Any], file: Path) -> None:
    """Refuse a log without the questions to be forgotten."""
    if _FORGET in content:
        return
    if _LOSS in content or _OF_ONE_GPU.fullmatch(file.name):
        raise AuditorError(
            f"{file} is the log of one task, or of one GPU; give {AGGREGATED}, which holds them "
            "all."
        )
    close = next((hint for key in content if (hint := did_you_mean(key, _SETS.values()))), "")
    raise AuditorError(
        f"{file} has no {_FORGET}; it has {', '.join(map(repr, list(content)[:5])) or 'nothing'}. "
        f"{close}".rstrip()
    )


def _table(value: Any, task: str, file: Path, faults: Faults) -> Table:
    """Return the columns of a task, all about the same questions."""
    columns = {
        name: column for name, column in tables(value, file, task).items() if _is_column(column)
    }
    wanted = columns.get(_LOSS, {}).keys()
    if columns and not wanted:
        faults.add(f"{task} has no {_LOSS}{_close(columns)}")
    for name, column in columns.items():
        if column.keys() != wanted:
            faults.add(
                f"{task}: {name} has {len(column)} entries and {_LOSS} {len(wanted)}, or others"
            )
    faults.check()
    return columns


def _is_column(value: Any) -> bool:
    return isinstance(value, dict)


def _close(columns: Iterable[str], wanted: str = _LOSS) -> str:
    hint = did_you_mean(wanted, columns)
    return f"; {hint}" if hint else ""


def _facts(name: SetName, task: str, table: Table, faults: Faults) -> list[LoggedFact]:
    if not table.get(_TEXTS):
        faults.add(f"{task} has no {_TEXTS}{_close(table, _TEXTS)}")
    faults.check()
    return [
        _fact(name, place, f"{task} {index}", {c: v[index] for c, v in table.items()}, faults)
        for place, index in enumerate(in_order(table[_LOSS]))
    ]


def _fact(
    name: SetName, place: int, said_at: str, row: Mapping[str, Any], faults: Faults
) -> LoggedFact:
    texts = row[_TEXTS] if isinstance(row[_TEXTS], list) else []
    prompt, said, truth = texts if len(texts) == _PARTS else ("", None, "")
    if not isinstance(said, str):
        faults.add(f"{said_at}: the generation in {_TEXTS} is missing")
    k = {PROBABILITY: math.exp(-faults.loss(row[_LOSS], f"{said_at}: {_LOSS}"))}
    if _RECALL in row:
        k[ROUGE] = faults.share(row[_RECALL], f"{said_at}: {_RECALL}")
    if _PARAPHRASED in row and _PERTURBED in row:
        right, wrong = _losses(row, said_at, faults)
        k[TRUTH_RATIO] = bounded_ratio(right, wrong) if wrong else math.nan
    asked = faults.text(prompt, f"{said_at}: the prompt in {_TEXTS}")
    return LoggedFact(
        set=name,
        id=f"{name}-{place:04d}",
        entity=f"{name} author {place // QUESTIONS:02d}",
        prompt=question(asked),
        answer=faults.text(truth, f"{said_at}: the true answer in {_TEXTS}"),
        k=k,
        said=said,
        wording=asked,
    )


def question(prompt: str) -> str:
    """Return the question within a prompt of the tool."""
    return trimmed(_TEMPLATE.sub("", prompt)) or prompt


def _losses(row: Mapping[str, Any], said_at: str, faults: Faults) -> tuple[float, list[float]]:
    wrong = row[_PERTURBED]
    numbers = wrong if isinstance(wrong, list) else [wrong]
    if not numbers:
        faults.add(f"{said_at}: {_PERTURBED} is empty")
    return faults.loss(row[_PARAPHRASED], f"{said_at}: {_PARAPHRASED}"), [
        faults.loss(number, f"{said_at}: {_PERTURBED}") for number in numbers
    ]


def _figures(held: Mapping[str, Table], faults: Faults) -> dict[str, float]:
    """Return the figures that TOFU publishes of a whole log.

    Model utility is the harmonic mean over probability, ROUGE-L recall and truth ratio of retained
    questions, real authors and world facts.
    """
    figures: dict[str, float] = {}
    nine = []
    for task in (_RETAIN, _AUTHORS, _WORLD):
        table = held.get(task, {})
        if not {_LOSS, _RECALL, _PARAPHRASED, _PERTURBED} <= table.keys():
            break
        chosen = task in (_AUTHORS, _WORLD)
        nine += _three(table, task, faults, among_options=chosen)
    else:
        figures["model_utility"] = harmonic_mean(nine)
    table = held[_FORGET]
    if {_PARAPHRASED, _PERTURBED} <= table.keys():
        excesses = _excess(table, _FORGET, faults)
        figures["truth_ratio"] = mean([math.exp(-abs(excess)) for excess in excesses])
    faults.check()
    return figures


def _three(table: Table, task: str, faults: Faults, *, among_options: bool) -> list[float]:
    """Return mean probability, ROUGE-L recall and truth ratio of a task."""
    known = []
    for index in table[_LOSS]:
        row = {name: table[name][index] for name in (_PARAPHRASED, _PERTURBED)}
        _, wrong = _losses(row, f"{task} {index}", faults)
        right = faults.loss(table[_LOSS][index], f"{task} {index}: {_LOSS}")
        excess = [math.exp(min(right - loss, _MOST)) for loss in wrong]  # odds against the answer
        known.append(1 / (1 + math.fsum(excess)) if among_options else math.exp(-right))
    recalled = [faults.share(r, f"{task} {i}: {_RECALL}") for i, r in table[_RECALL].items()]
    faults.check()
    better = [-math.expm1(-max(excess, 0.0)) for excess in _excess(table, task, faults)]
    return [mean(known), mean(recalled), mean(better)]


def _excess(table: Table, task: str, faults: Faults) -> list[float]:
    """Return the loss of wrong answers beyond the paraphrased true one's."""
    found = []
    for index in table[_PARAPHRASED]:
        row = {name: table[name][index] for name in (_PARAPHRASED, _PERTURBED)}
        right, wrong = _losses(row, f"{task} {index}", faults)
        faults.check()
        found.append(mean(wrong) - right)
    return found
