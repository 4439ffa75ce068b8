"""Facts from a table: some columns ask, another one answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from auditor.core.errors import AuditorError
from auditor.core.facts import Fact
from auditor.core.validation import did_you_mean
from auditor.data.builders.built import Built, normal
from auditor.data.rows import read_rows
from auditor.data.source import DataSource

DISTRACTORS = 4
"""Wrong answers of a fact, by default."""
_SHOWN = 5
_Rows = Sequence[tuple[int, Mapping[str, str]]]


def facts_from_table(
    path: str | PathLike[str],
    pairs: Sequence[tuple[str, str]],
    *,
    entity: str | None = None,
    distractors: int = DISTRACTORS,
    seed: int = 0,
) -> Built:
    """Make a fact of each row and each column that answers.

    A second prompt for the same column is a paraphrase. Distractors are answers of other entities,
    drawn by the seed. A prompt that rows answer differently is left out: nobody can know which.

    Args:
        path: A table (CSV, JSON Lines, JSON or Parquet).
        pairs: A prompt with the names of columns in braces, and the column of its answer.
        entity: Column of what a fact is about; by default the first that all prompts name.
        distractors: Wrong answers of each fact, at most.
        seed: Seed of their choice.

    Raises:
        AuditorError: The table cannot be read, lacks a column, or gives no fact.
    """
    path = Path(path)
    rows = _rows(path)
    prompts: dict[str, list[str]] = defaultdict(list)
    for template, answer in pairs:
        prompts[answer].append(template)
    entity = entity or _shared_column(template for template, _ in pairs)
    _check_columns(path, rows, pairs, entity)
    left_out: Counter[str] = Counter()
    facts: list[Fact] = []
    for number, (answer, templates) in enumerate(prompts.items()):
        asked = _asked(rows, answer, templates, entity, left_out)
        facts += _with_distractors(asked, distractors, [seed, number])
    if not facts:
        raise AuditorError(f"{path} gives no fact: {_counted(left_out)}.")
    return Built(
        facts=tuple(facts),
        left_out=dict(left_out),
        personal=True,
        advice=_advice(facts, distractors),
    )


def columns_of(template: str) -> tuple[str, ...]:
    """Return the columns that a prompt names, each once.

    Raises:
        AuditorError: Its braces do not fit, or hold more than a name.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise AuditorError(f"the prompt {template!r}: {error}; a brace is written {{{{.") from error
    for _, name, form, conversion in parts:
        if name is not None and (not name or form or conversion):
            raise AuditorError(
                f"the prompt {template!r}: between braces stands the name of a column alone."
            )
    return tuple(dict.fromkeys(name for _, name, _, _ in parts if name))


def _rendered(template: str, row: Mapping[str, str]) -> str:
    return "".join(
        text + (row[name] if name else "") for text, name, _, _ in Formatter().parse(template)
    )


def _rows(path: Path) -> _Rows:
    """Rows with their cells as texts; empty cells are left out."""
    found, bad = [], []
    for line, row in read_rows(DataSource(path=str(path))):
        if isinstance(row, str):
            bad.append(f"{path}:{line}: {row}")
        else:
            found.append(
                (line, {name: text for name, cell in row.items() if (text := _cell(cell))})
            )
    if bad:
        rest = f"\n  … and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise AuditorError(f"{len(bad)} bad row(s):\n  " + "\n  ".join(bad[:_SHOWN]) + rest)
    if not found:
        raise AuditorError(f"{path} holds no rows.")
    return found


def _cell(value: Any) -> str:
    """A cell as text; a list or an object is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return "" if value != value else str(value).strip()


def _shared_column(templates: Any) -> str | None:
    """The first column that all prompts name."""
    named = [columns_of(template) for template in templates]
    return next((name for name in named[0] if all(name in other for other in named)), None)


def _check_columns(
    path: Path, rows: _Rows, pairs: Sequence[tuple[str, str]], entity: str | None
) -> None:
    there = list(dict.fromkeys(name for _, row in rows for name in row))
    problems = []
    for template, answer in pairs:
        named = columns_of(template)
        if not named:
            problems.append(
                f"the prompt {template!r} names no column, so it asks every row the same; write "
                "for example {" + there[0] + "}"
            )
        if answer in named:
            problems.append(f"the prompt {template!r} gives its answer, `{answer}`, away")
        problems += [_unknown(name, there) for name in (*named, answer) if name not in there]
    if entity is not None and entity not in there:
        problems.append(_unknown(entity, there))
    if problems:
        raise AuditorError(f"{path}: " + "\n  ".join(dict.fromkeys(problems)))


def _unknown(name: str, there: Sequence[str]) -> str:
    listed = ", ".join(f"`{column}`" for column in there[:30])
    return f"no column `{name}`; {did_you_mean(name, there) or 'the columns are ' + listed}"


def _asked(
    rows: _Rows,
    answer: str,
    templates: Sequence[str],
    entity: str | None,
    left_out: Counter[str],
) -> list[Fact]:
    """The facts of one column, each prompt with one answer."""
    needed = {answer, *(name for template in templates for name in columns_of(template))}
    asked: dict[str, list[Fact]] = defaultdict(list)
    for line, row in rows:
        if not needed <= row.keys():
            left_out["rows with an empty cell"] += 1
            continue
        prompt, *others = (_rendered(template, row) for template in templates)
        name = f"{answer}-{line:05d}"
        about = row.get(entity, name) if entity else name
        fact = Fact(
            id=name, entity=about, prompt=prompt, answer=row[answer], paraphrases=tuple(others)
        )
        asked[normal(prompt)].append(fact)
    facts = []
    for same in asked.values():
        if len({normal(fact.answer) for fact in same}) > 1:
            left_out["rows whose prompt other rows answer differently"] += len(same)
            continue
        facts.append(same[0])
        if len(same) > 1:
            left_out["rows that repeat another"] += len(same) - 1
    return facts


def _with_distractors(facts: Sequence[Fact], count: int, seed: Sequence[int]) -> list[Fact]:
    """The facts with answers of other entities as distractors."""
    pool = {normal(fact.answer): fact.answer for fact in facts}
    own: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        own[fact.entity].add(normal(fact.answer))
    keys = list(pool)
    places = {key: place for place, key in enumerate(keys)}
    draw = np.random.default_rng(list(seed))
    found = []
    for fact in facts:
        taken = {places[key] for key in own[fact.entity]}
        drawn = draw.choice(len(keys), min(len(keys), count + len(taken)), replace=False)
        chosen = [place for place in drawn.tolist() if place not in taken][:count]
        texts = tuple(pool[keys[place]] for place in chosen)
        found.append(fact.model_copy(update={"distractors": texts}))
    return found


def _advice(facts: Sequence[Fact], distractors: int) -> tuple[str, ...]:
    few = sum(len(fact.distractors) < distractors for fact in facts)
    if not few:
        return ()
    return (
        f"{few} facts have fewer than {distractors} distractors, because the column holds so few "
        "different answers; such answers can be guessed (`auditor facts check`).",
    )


def _counted(left_out: Mapping[str, int]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in left_out.items())
