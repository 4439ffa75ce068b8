"""Samples of lm-evaluation-harness, `samples_<task>_<time>.jsonl`, a question a line.

A line holds what was asked (`doc`, `arguments`), the responses (`resps`, `filtered_resps`) and the
true answer (`target`). Of a choice, the responses are the log-likelihoods of the options; of a
generation, they are texts.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auditor.core.errors import AuditorError
from auditor.core.facts import SetName
from auditor.core.reading import parse_json
from auditor.core.validation import did_you_mean
from auditor.data.layouts import is_hazardous
from auditor.data.logs.log import (
    CHOICE,
    OPTION,
    Faults,
    LoggedFact,
    ReadLog,
    Tasks,
    content_of,
)

_NAME = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl")
_LEAST = 2
"""Options of a choice at least."""


class LmEvalLayout:
    """Layout of the harness's samples."""

    def files(self, path: Path, tasks: Tasks) -> dict[str, Path]:
        """Return the file of each task that is asked for."""
        found = sorted(path.rglob("samples_*.jsonl")) if path.is_dir() else [path]
        held: dict[str, list[Path]] = {}
        for file in found:
            held.setdefault(_task(file), []).append(file)
        wanted = (*tasks.forget, *tasks.retain) or tuple(held)
        if not tasks.forget and len(held) != 1:
            raise AuditorError(
                f"{path} holds the samples of {len(held)} tasks ({', '.join(sorted(held)[:5])}); "
                "say with --forget-task which are the forget set, and with --retain-task which are "
                "the retain set."
            )
        for task in wanted:
            if task not in held:
                hint = did_you_mean(task, held) or f"there is {', '.join(sorted(held)[:5])}."
                raise AuditorError(f"{path} holds no samples of the task {task}; {hint}")
            if len(held[task]) > 1:
                names = ", ".join(file.name for file in held[task][:3])
                raise AuditorError(
                    f"{path} holds several samples of the task {task} ({names}); give a folder "
                    "with one run."
                )
        return {held[task][0].name: held[task][0] for task in wanted}

    def read(self, files: Mapping[str, Path], tasks: Tasks) -> ReadLog:
        """Read the samples."""
        facts: list[LoggedFact] = []
        for file in files.values():
            task = _task(file)
            name: SetName = "retain" if task in tasks.retain else "forget"
            facts += _facts(task, name, file)
        tasks_read = map(_task, files.values())
        return ReadLog(tuple(facts), hazardous=any(map(is_hazardous, tasks_read)))


def _task(file: Path) -> str:
    found = _NAME.fullmatch(file.name)
    return found["task"] if found else file.stem


def _facts(task: str, name: SetName, file: Path) -> list[LoggedFact]:
    faults = Faults(file)
    rows: dict[int, dict[str, Any]] = {}
    for line, row in _lines(file, faults):
        number = row.get("doc_id")
        if not isinstance(number, int) or isinstance(number, bool):
            faults.add(f"line {line}: doc_id is missing")
        elif number not in rows:
            rows[number] = row
        elif row.get("filter") in (None, rows[number].get("filter")):
            faults.add(f"line {line}: doc_id {number} is there twice")
    if not rows:
        faults.add("there is no sample")
    faults.check()
    facts = [_fact(f"{task}-{number:04d}", name, rows[number], faults) for number in sorted(rows)]
    faults.check()
    return facts


def _lines(file: Path, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(content_of(file).splitlines(), 1):
        if not text.strip():
            continue
        try:
            row = parse_json(text, finite=False)
        except ValueError as error:
            faults.add(f"line {line} is no JSON ({error})")
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            faults.add(f"line {line} is no object")


def _fact(name: str, part: SetName, row: Mapping[str, Any], faults: Faults) -> LoggedFact:
    asked = _asked(row)
    context = faults.text(asked[0][0] if asked else None, f"{name}: the prompt in arguments")
    held = row.get("doc")
    doc = held if isinstance(held, dict) else {}
    question = doc.get("question")
    prompt = question if isinstance(question, str) and question.strip() else context
    responses = row.get("filtered_resps", row.get("resps"))
    answers = responses if isinstance(responses, list) else []
    likelihoods = [_likelihood(answer) for answer in answers]
    if len(answers) >= _LEAST and None not in likelihoods:
        return _choice(name, part, row, doc, context, prompt, asked, likelihoods, faults)
    said = _first(answers)
    if not isinstance(said, str) or len(answers) != 1:
        faults.add(
            f"{name}: filtered_resps holds neither the likelihoods of options nor one text; other "
            "kinds of request say nothing of knowledge here"
        )
    return LoggedFact(
        set=part,
        id=name,
        entity=name,
        prompt=faults.text(prompt, f"{name}: the question"),
        answer=faults.text(_plain(row.get("target")), f"{name}: target"),
        said=said if isinstance(said, str) else None,
        wording=context,
    )


def _choice(
    name: str,
    part: SetName,
    row: Mapping[str, Any],
    doc: Mapping[str, Any],
    context: str,
    prompt: str,
    asked: list[list[str]],
    likelihoods: list[float | None],
    faults: Faults,
) -> LoggedFact:
    """Return the fact of a choice."""
    said = [text[1] if len(text) > 1 else "" for text in asked]
    options = _options(doc, said)
    if len(options) != len(likelihoods):
        faults.add(f"{name}: {len(options)} options and {len(likelihoods)} likelihoods")
    right = _place(row.get("target"), options, said)
    numbers = [faults.number(value, f"{name}: a likelihood") for value in likelihoods]
    if right is None or right >= len(options):
        faults.add(f"{name}: target is none of the options")
        right = 0
    faults.check()
    best = max(numbers)
    weights = [math.exp(number - best) for number in numbers]
    k = {OPTION: weights[right] / math.fsum(weights)}
    if all(len(option.strip()) == 1 for option in said):  # letters, each a token
        k[CHOICE] = 0.0 if numbers[right] < best else 1 / numbers.count(best)
    return LoggedFact(
        set=part,
        id=name,
        entity=name,
        prompt=faults.text(prompt, f"{name}: the question"),
        answer=faults.text(options[right], f"{name}: the true option"),
        distractors=tuple(
            faults.text(option, f"{name}: an option")
            for place, option in enumerate(options)
            if place != right
        ),
        k=k,
        wording="\n".join([context, *said]),
    )


def _asked(row: Mapping[str, Any]) -> list[list[str]]:
    """Return the arguments of each request: a context, then perhaps a continuation."""
    given = row.get("arguments")
    requests = list(given.values()) if isinstance(given, dict) else given
    found = []
    for request in requests if isinstance(requests, list) else []:
        parts = list(request.values()) if isinstance(request, dict) else request
        found.append([p for p in parts if isinstance(p, str)] if isinstance(parts, list) else [])
    return found if all(found) else []


def _options(doc: Mapping[str, Any], said: list[str]) -> list[str]:
    """Return the texts of the options."""
    choices = doc.get("choices")
    if isinstance(choices, dict):
        choices = choices.get("text")
    if isinstance(choices, list) and len(choices) == len(said):
        return [str(choice) for choice in choices]
    return said


def _place(target: Any, options: list[str], said: list[str]) -> int | None:
    """Return the place of the true option."""
    text = _plain(target)
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    for texts in (options, said):
        stripped = [option.strip() for option in texts]
        if stripped.count(text.strip()) == 1:
            return stripped.index(text.strip())
    return None


def _plain(target: Any) -> str | None:
    """Return a target, or the first of several, as a text."""
    if isinstance(target, list):
        target = target[0] if target else None
    return None if target is None or isinstance(target, bool) else str(target)


def _first(value: Any) -> Any:
    while isinstance(value, list) and value:
        value = value[0]
    return value


def _likelihood(answer: Any) -> float | None:
    """Return the log-likelihood of a response, or None for a text."""
    found = _first(answer)
    if not isinstance(answer, list):
        return None
    try:
        return float(found)
    except (TypeError, ValueError):
        return None
