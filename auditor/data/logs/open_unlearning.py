"""Logs of open-unlearning (`src/evals/base.py` and `src/evals/metrics`).

`TOFU_EVAL.json` and `MUSE_EVAL.json` hold, by the name of a metric, its aggregate and its value for
each question by place.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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

SUITES = ("TOFU_EVAL.json", "MUSE_EVAL.json")
QUESTIONS = 20
"""Questions about each author of TOFU."""
_VALUES, _WHOLE = "value_by_index", "agg_value"
_TOLERANCE = 0.02
"""Difference of two figures of a log that should be equal; half precision rounds."""
_NINE = tuple(
    f"{part}_{figure}"
    for part, known in (("retain", ""), ("ra", "_normalised"), ("wf", "_normalised"))
    for figure in (f"Q_A_Prob{known}", "Q_A_ROUGE", "Truth_Ratio")
)
"""Metrics whose harmonic mean is the model utility."""
_FIGURES = {
    "model_utility": "model_utility",
    "forget_truth_ratio": "truth_ratio",
    "forget_quality": "forget_quality",
    "privleak": "privleak",
    "extraction_strength": "extraction_strength",
    "exact_memorization": "exact_memorization",
}
"""Aggregates that are reported as the log has them, by the names of the log."""
_MEMBERSHIP = "mia_"

Values = dict[str, dict[str, Any]]


class _Source(NamedTuple):
    """Metrics of the log that hold a part's facts."""

    set: SetName
    name: str
    """Beginning of the ids of its facts."""
    texts: str
    known: str | None = None
    paraphrased: str | None = None
    perturbed: str | None = None
    each: int = 1
    """Questions about one entity."""


_OF_AUTHORS: tuple[SetName, ...] = ("forget", "retain")
_SOURCES = (
    *(
        _Source(
            name,
            name,
            f"{name}_Q_A_ROUGE",
            f"{name}_Q_A_Prob",
            f"{name}_Q_A_PARA_Prob",
            f"{name}_Q_A_PERT_Prob",
            QUESTIONS,
        )
        for name in _OF_AUTHORS
    ),
    _Source("forget", "forget-knowmem", "forget_knowmem_ROUGE"),
    _Source("forget", "forget-verbmem", "forget_verbmem_ROUGE"),
    _Source("retain", "retain-knowmem", "retain_knowmem_ROUGE"),
)


class OpenUnlearningLayout:
    """Layout of open-unlearning's logs."""

    def files(self, path: Path, tasks: Tasks) -> dict[str, Path]:
        """Return the one file of a log."""
        if not path.is_dir():
            if path.name.endswith("_SUMMARY.json"):
                raise AuditorError(
                    f"{path} holds aggregates only; give {' or '.join(SUITES)}, which has a value "
                    "for each question."
                )
            return {path.name: path}
        found = [path / name for name in SUITES if (path / name).exists()]
        if len(found) != 1:
            there = "both" if found else "neither"
            raise AuditorError(f"{path} holds {there} of {', '.join(SUITES)}; give the file.")
        return {found[0].name: found[0]}

    def read(self, files: Mapping[str, Path], tasks: Tasks) -> ReadLog:
        """Read the log."""
        ((_, file),) = files.items()
        content = {
            name: value
            for name, value in tables(parsed(file), file, "it").items()
            if isinstance(value, dict)
        }
        faults = Faults(file)
        used = [source for source in _SOURCES if source.texts in content]
        _check_sets(used, content, file)
        facts = [fact for source in used for fact in _facts(source, content, faults)]
        faults.check()
        wholes = {
            name: float(value[_WHOLE])
            for name, value in content.items()
            if _is_number(value.get(_WHOLE))
        }
        figures = {shown: wholes[name] for name, shown in _FIGURES.items() if name in wholes}
        if wholes.keys() >= {*_NINE}:
            figures["model_utility_of_nine"] = harmonic_mean([wholes[name] for name in _NINE])
        return ReadLog(tuple(facts), figures, dict(_areas(content)), tuple(_lacking(content)))


def _check_sets(used: Sequence[_Source], content: Mapping[str, Any], file: Path) -> None:
    """Refuse a log without questions to be forgotten."""
    if any(source.set == "forget" for source in used):
        return
    wanted = [source.texts for source in _SOURCES if source.set == "forget"]
    close = next((hint for key in content if (hint := did_you_mean(key, wanted))), "")
    raise AuditorError(
        f"{file} has none of {', '.join(wanted)}, from which questions and answers are read; it "
        f"has {', '.join(list(content)[:5]) or 'nothing'}. {close}".rstrip()
    )


def _facts(source: _Source, content: Mapping[str, Any], faults: Faults) -> list[LoggedFact]:
    """Return the facts of one part."""
    texts = _values(source.texts, content, faults)
    known = _values(source.known, content, faults)
    ratios = _ratios(source, content, faults)
    for name, values in ((source.known, known), (source.paraphrased, ratios)):
        if values and values.keys() != texts.keys():
            faults.add(
                f"{name} has {len(values)} values and {source.texts} {len(texts)}, or others"
            )
    faults.check()
    facts = []
    for place, index in enumerate(in_order(texts)):
        said_at, row = f"{source.texts} {index}", texts[index]
        k = {ROUGE: faults.share(row.get("rougeL_recall"), f"{said_at}: rougeL_recall")}
        if known:
            k[PROBABILITY] = _probability(known[index], f"{source.known} {index}", faults)
        if ratios:
            k[TRUTH_RATIO] = ratios[index]
        said = row.get("generation")
        if not isinstance(said, str):
            faults.add(f"{said_at}: generation is missing")
        name = f"{source.name}-{place:04d}"
        prompt = faults.text(row.get("input"), f"{said_at}: input")
        facts.append(
            LoggedFact(
                set=source.set,
                id=name,
                entity=f"{source.name} author {place // source.each:02d}"
                if source.each > 1
                else name,
                prompt=_question(prompt),
                answer=faults.text(row.get("ground_truth"), f"{said_at}: ground_truth"),
                k=k,
                said=said,
                wording=prompt,
            )
        )
    _check_mean(source.texts, [fact.k[ROUGE] for fact in facts], content, faults)
    return facts


def _question(prompt: str) -> str:
    """Return the last turn of a chat.

    The tool decodes it without its marks.
    """
    last = prompt.rpartition("user\n\n")[2]
    return trimmed(trimmed(last).removesuffix("assistant")) or prompt


def _values(name: str | None, content: Mapping[str, Any], faults: Faults) -> Values:
    """Return the values of a metric by place, if there are any."""
    if name is None or name not in content:
        return {}
    values = content[name].get(_VALUES)
    if not isinstance(values, dict) or not values:
        hint = did_you_mean(_VALUES, content[name].keys() - {_WHOLE})
        faults.add(f"{name} has no {_VALUES}{'; ' if hint else ''}{hint}")
        return {}
    bad = [index for index, value in values.items() if not isinstance(value, dict)]
    if bad:
        faults.add(f"{name} {bad[0]} is no object")
        return {}
    return values


def _probability(row: Mapping[str, Any], said_at: str, faults: Faults) -> float:
    """Return the probability of an answer, checked by its loss."""
    known = faults.share(row.get("prob"), f"{said_at}: prob")
    if "avg_loss" in row:
        loss = faults.loss(row["avg_loss"], f"{said_at}: avg_loss")
        if abs(math.exp(-loss) - known) > _TOLERANCE:
            faults.add(f"{said_at}: prob {known:.4g} is not that of avg_loss {loss:.4g}")
    return known


def _ratios(source: _Source, content: Mapping[str, Any], faults: Faults) -> dict[str, float]:
    """Return the bounded truth ratio of each question."""
    right = _values(source.paraphrased, content, faults)
    wrong = _values(source.perturbed, content, faults)
    if not right or right.keys() != wrong.keys():
        return {}
    found = {}
    for index, row in right.items():
        losses = [
            [faults.loss(loss, f"{name} {index}: avg_loss") for loss in _several(values)]
            for name, values in (
                (source.paraphrased, row.get("avg_loss")),
                (source.perturbed, wrong[index].get("avg_loss")),
            )
        ]
        if all(losses):
            found[index] = bounded_ratio(mean(losses[0]), losses[1])
        else:
            faults.add(f"{source.paraphrased} {index}: there is no loss")
    return found


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_mean(
    name: str, values: Sequence[float], content: Mapping[str, Any], faults: Faults
) -> None:
    """Check that an aggregate is the mean of its values."""
    whole = content[name].get(_WHOLE)
    if not _is_number(whole) or not values or not all(map(math.isfinite, values)):
        return
    alike = any(abs(whole - found) <= _TOLERANCE for found in _means(name, values, content))
    if not alike:
        faults.add(f"{name}: {_WHOLE} {whole:.4g} is not the mean of its values")


def _means(name: str, values: Sequence[float], content: Mapping[str, Any]) -> Iterator[float]:
    """Yield the means that an aggregate of texts may be.

    The tool's configuration says which.
    """
    yield mean(values)
    for column in ("rougeL_f1", "rouge1_recall"):
        found = [row.get(column) for row in content[name][_VALUES].values()]
        if all(map(_is_number, found)):
            yield mean(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _areas(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the area under the curve of each attack on membership."""
    for name, value in content.items():
        area = value.get("auc", value.get(_WHOLE))
        if name.startswith(_MEMBERSHIP) and _is_number(area) and 0 <= area <= 1:
            yield name, float(area)


def _lacking(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is null or absent of what the layout may hold."""
    for source in _SOURCES:
        if source.texts in content and source.known is not None and source.known not in content:
            yield source.known
    for name in _FIGURES:
        if name in content and not _is_number(content[name].get(_WHOLE)):
            yield name
