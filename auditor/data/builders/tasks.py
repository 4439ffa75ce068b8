"""Facts from a task of lm-evaluation-harness: its templates, rendered over its data.

What a task's file says may have been written to break whoever reads it: templates are rendered in
jinja2's sandbox, tried within limits first, and a task that needs Python code is refused.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.limits import exceeded
from auditor.core.paths import close_names_beside
from auditor.core.reading import SETTINGS, read_regular
from auditor.core.reading_yaml import parse_yaml
from auditor.core.text_safety import quoted
from auditor.data.builders.built import Built, normal, once
from auditor.data.layouts import is_hazardous
from auditor.data.rows import read_rows
from auditor.data.source import DataSource

_MOST_INCLUDED = 8
_SPLITS = ("test_split", "validation_split", "training_split")
"""Keys of the splits that a task names, the one that is asked first."""
_FILES = ("json", "jsonl", "csv", "parquet")
"""Names of loaders that read the files of ``dataset_kwargs``."""
_LETTER = re.compile(r"\(?[A-Za-z][.)]?|[0-9]")
"""Form of a choice that names a choice and says nothing itself."""

_FAULTS = (
    *(TemplateError, ValueError, TypeError, ArithmeticError, LookupError),
    *(SyntaxError, RecursionError),
)
"""Errors of templates that do not fit a row, and of choices that are no list."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Templates:
    """How a row becomes a prompt, an answer and wrong answers."""

    text: str
    target: str | int
    choice: str | Sequence[str] | None
    entity: str | None = None


def facts_from_task(
    task: str | PathLike[str],
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    text: str | None = None,
    target: str | None = None,
    choice: str | None = None,
    entity: str | None = None,
) -> Built:
    """Render a task's templates over its data set.

    Where the task has choices, the right one is the answer and the others are distractors.

    Args:
        task: File of the task (YAML).
        data: File with the data set; by default the one that the task names, on the hub.
        split: Split of the data set; by default the one that the task asks.
        text: Template or column of the prompt, instead of the task's.
        target: Template or column of the answer, instead of the task's.
        choice: Template or column of the choices, instead of the task's.
        entity: Template or column of what a fact is about; by default each is its own.

    Raises:
        AuditorError: The task cannot be read, needs Python code, or does not fit its data.
    """
    task = Path(task)
    content = _read(task)
    templates = Templates(
        text=text or _key(content, "doc_to_text", task),
        target=target or _key(content, "doc_to_target", task),
        choice=choice or content.get("doc_to_choice"),
        entity=entity,
    )
    if content.get("process_docs") is not None:
        raise AuditorError(f"{task}: process_docs is Python code; {_BY_HAND}")
    source = _source(content, task, data, split)
    rows = [_row(line, row, source) for line, row in read_rows(source)]
    if not rows:
        raise AuditorError(f"{source.name} holds no rows.")
    work = partial(_facts, rows, templates, task)
    if limit := exceeded(work):
        raise AuditorError(f"the templates of {task} take more {limit} than any task's should.")
    left_out: Counter[str] = Counter()
    facts = once(
        work(),
        lambda fact: (normal(fact.prompt), normal(fact.answer)),
        left_out,
        "rows that repeat another",
    )
    return Built(
        facts=tuple(facts),
        left_out=dict(left_out),
        personal=source.hazardous or is_hazardous(task.name),
        advice=_advice(facts),
    )


_BY_HAND = (
    "no code of a task is run here. Give its data as a file, and say with --text, --target and "
    "--choice how its rows are asked."
)


def _read(task: Path, depth: int = 0) -> dict[str, Any]:
    """A task's settings, with those that it includes."""
    if not task.exists():
        raise AuditorError(f"{task}: no such file{close_names_beside(task)}.")
    if depth > _MOST_INCLUDED:
        raise AuditorError(f"{task}: its includes lead to more than {_MOST_INCLUDED} files.")
    try:
        content = parse_yaml(read_regular(task, SETTINGS))
    except OSError as error:
        raise AuditorError(f"the task {task} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        if "!function" in str(error):
            raise AuditorError(f"{task} names Python code (!function); {_BY_HAND}") from error
        raise AuditorError(f"the task {task} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise AuditorError(f"{task} holds no settings by name, so it is no task.")
    included = content.pop("include", None)
    if included is None:
        return content
    return _read(task.parent / str(included), depth + 1) | content


def _key(content: Row, name: str, task: Path) -> Any:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise AuditorError(
            f"{task} has no `{name}`, a template of text; give one with "
            f"--{name.removeprefix('doc_to_')}."
        )
    return value


def _source(
    content: Row, task: Path, data: str | PathLike[str] | None, split: str | None
) -> DataSource:
    if data is not None:
        return DataSource(path=str(data))
    path, kwargs = content.get("dataset_path"), content.get("dataset_kwargs")
    asked = split or next((content[key] for key in _SPLITS if content.get(key)), "test")
    if path in _FILES and isinstance(kwargs, Mapping):
        files = kwargs.get("data_files")
        named = files.get(asked) if isinstance(files, Mapping) else files
        file = named[0] if isinstance(named, list) and len(named) == 1 else named
        if not isinstance(file, str):
            raise AuditorError(f"{task} names no single file of the split {asked}; give --data.")
        return DataSource(path=str(task.parent / file))
    if not isinstance(path, str):
        raise AuditorError(f"{task} names no data set (`dataset_path`); give it with --data.")
    name = content.get("dataset_name")
    revision = kwargs.get("revision") if isinstance(kwargs, Mapping) else None
    return DataSource(
        dataset=path,
        config=None if name is None else str(name),
        split=str(asked),
        revision=None if revision is None else str(revision),
    )


def _row(line: int, row: Row | str, source: DataSource) -> tuple[int, Row]:
    if isinstance(row, str):
        raise AuditorError(f"{source.name}:{line}: {row}.")
    return line, row


def _facts(rows: Sequence[tuple[int, Row]], templates: Templates, task: Path) -> list[Fact]:
    render = _renderer()
    stem = task.stem
    found = []
    for line, row in rows:
        try:
            found.append(_fact(f"{stem}-{line:05d}", row, templates, render))
        except _FAULTS as error:
            said = quoted(str(error).splitlines()[0] if str(error) else type(error).__name__, 300)
            raise AuditorError(
                f"{task}: row {line} of its data does not become a fact: {said}. The columns are "
                f"{', '.join(f'`{name}`' for name in list(row)[:20])}."
            ) from error
    return found


Render = Callable[[str, Row], str]


def _renderer() -> Render:
    """Return what renders a template over a row, as the harness does."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["regex_replace"] = _regex_replace
    compiled: dict[str, Any] = {}

    def render(template: str, row: Row) -> str:
        if template not in compiled:
            compiled[template] = environment.from_string(template)
        return str(compiled[template].render(dict(row)))

    return render


def _regex_replace(text: str, pattern: str, by: str = "", count: int = 0) -> str:
    """The one filter that the harness adds to jinja2's."""
    return re.sub(pattern, by, text, count=count)


def _fact(name: str, row: Row, templates: Templates, render: Render) -> Fact:
    prompt = _value(templates.text, row, render)
    if not isinstance(prompt, str):
        raise ValueError("doc_to_text gives no text")  # noqa: TRY004 - told as a bad row
    choices = _choices(templates.choice, row, render)
    target = _value(templates.target, row, render)
    if choices:
        place = _place(target, choices)
        answer = choices[place]
        others = [text for index, text in enumerate(choices) if index != place and text != answer]
    else:
        if isinstance(target, list):  # several texts are right
            target, *accepted = target
            return _named(name, row, templates, render, prompt, target, accepted=tuple(accepted))
        answer, others = target, []
    return _named(name, row, templates, render, prompt, answer, distractors=tuple(others))


def _named(
    name: str,
    row: Row,
    templates: Templates,
    render: Render,
    prompt: str,
    answer: Any,
    **further: tuple[str, ...],
) -> Fact:
    entity = None if templates.entity is None else _value(templates.entity, row, render)
    return Fact(
        id=name,
        entity=name if entity in (None, "") else str(entity),
        prompt=prompt.strip(),
        answer=str(answer).strip(),
        **further,
    )


def _value(template: str | int, row: Row, render: Render) -> Any:
    """What a column holds, or a template gives."""
    if isinstance(template, int):
        return template
    return row[template] if template in row else render(template, row)


def _choices(template: str | Sequence[str] | None, row: Row, render: Render) -> list[str]:
    if template is None:
        return []
    if isinstance(template, list):
        return [render(str(part), row) for part in template]
    found = _value(template, row, render)  # type: ignore[arg-type]
    if isinstance(found, str):
        found = ast.literal_eval(found)
    if isinstance(found, Mapping):
        found = list(found.values())
    if not isinstance(found, list | tuple) or len(found) < 2:
        raise ValueError("doc_to_choice gives no list of choices")
    return [str(part).strip() for part in found]


def _place(target: Any, choices: Sequence[str]) -> int:
    """Position of the right choice: an index, or the choice itself."""
    if isinstance(target, str) and target.strip() in choices:
        return choices.index(target.strip())
    if isinstance(target, str) and target.strip().isdecimal():
        target = int(target)
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < len(choices):
        raise ValueError(f"the target is none of {len(choices)} choices")
    return target


def _advice(facts: Sequence[Fact]) -> tuple[str, ...]:
    if not all(_LETTER.fullmatch(fact.answer) and fact.distractors for fact in facts):
        return ()
    return (
        "the answers are letters of choices that the prompt lists, which one can guess; to ask for "
        "the texts, give the columns of question and choices, for example --text question --choice "
        "choices.",
    )
