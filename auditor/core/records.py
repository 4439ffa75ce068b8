"""Records of finished jobs."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from auditor.core.errors import MeasurementError
from auditor.core.facts import SetName
from auditor.core.hashing import canonical_json
from auditor.core.picture import fault

MOST_ROWS = 2_000_000
"""Most rows of a job."""
SPECIFICITY = "answer-specificity"
"""Name in the place of a metric's under which rows hold how specific a model's own answer is."""


class Row(NamedTuple):
    """Knowledge of one fact under one metric, as one job measured it."""

    set: SetName
    fact: str
    entity: str
    metric: str
    k: float
    """Knowledge in [0, 1]; higher is more."""
    answer: str | None
    """Answer of the model, where the metric had it generate one."""
    picture: bytes | None = None
    """Picture that the model drew, as a small PNG; None where it drew none."""
    prompt: str | None = None
    """Question that was put, with what was given of the answer; None where it was the fact's own,
    or no text says it."""


@dataclass(frozen=True)
class Record:
    """Evidence of one job: rows of knowledge, and what explains them."""

    rows: tuple[Row, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    """JSON values worth keeping, such as the recipe, the digest of a calibration set or the class
    of layers."""
    arrays: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    """Arrays for the attack's own later use (quantization codes, searched embeddings)."""


def notes_json(notes: Mapping[str, Any]) -> bytes:
    """Serialise notes with sorted keys.

    Floats stay floats, and keys that are numbers become strings.

    Raises:
        TypeError: a value is none of JSON's.
        ValueError: a number is not finite, or a text holds half a surrogate pair.
    """
    return json.dumps(notes, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def check_malformed(record: Record) -> None:
    """Refuse a record that is no evidence, before it is kept.

    Raises:
        MeasurementError: a K is not a number in [0, 1], a fact was measured twice, a picture is
            none, there are too many rows, or the notes cannot be said in JSON.
    """
    if len(record.rows) > MOST_ROWS:
        raise MeasurementError(f"{len(record.rows):,} rows; a job keeps {MOST_ROWS:,} at most")
    seen = set()
    for row in record.rows:
        if not (math.isfinite(row.k) and 0 <= row.k <= 1):
            raise MeasurementError(f"K of {row.fact} by {row.metric} is {row.k}, not in [0, 1]")
        if row.picture is not None and (wrong := fault(row.picture)):
            raise MeasurementError(f"the picture of {row.fact} {wrong}")
        place = (row.set, row.fact, row.metric)
        if place in seen:
            raise MeasurementError(f"{row.fact} was measured twice by {row.metric}")
        seen.add(place)
    try:
        canonical_json(json.loads(notes_json(record.notes)))
    except (TypeError, ValueError) as error:
        raise MeasurementError(f"the notes cannot be kept as JSON: {error}") from error


def strongest(readings: Iterable[Sequence[Row]]) -> tuple[Row, ...]:
    """Return the highest K of each fact and metric over several readings.

    An attacker keeps what works; what that adds by chance alone, it adds on every arm.
    """
    best: dict[tuple[SetName, str, str], Row] = {}
    for rows in readings:
        for row in rows:
            held = best.setdefault((row.set, row.fact, row.metric), row)
            if row.k > held.k:
                best[row.set, row.fact, row.metric] = row
    return tuple(best.values())


def most_telling(readings: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Return each metric's reading with the highest mean K.

    The mean is over the forget set, and the reading stands by its name.

    Of equal ones, the first. One reading is chosen for all facts, so that chance adds less than
    with the highest K of each fact by itself.
    """
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for name, rows in readings.items():
        known = defaultdict(list)
        for row in rows:
            if row.set == "forget":
                known[row.metric].append(row.k)
        for metric, ks in known.items():
            means[metric][name] = math.fsum(ks) / len(ks)
    return {metric: max(found, key=found.__getitem__) for metric, found in means.items()}


def averaged(readings: Sequence[Sequence[Row]]) -> tuple[Row, ...]:
    """Return the mean K of each fact and metric over several readings.

    The last answer is kept.

    A fact that any reading lacks is left out.
    """
    ks: dict[tuple[SetName, str, str], list[float]] = defaultdict(list)
    last: dict[tuple[SetName, str, str], Row] = {}
    for rows in readings:
        for row in rows:
            ks[row.set, row.fact, row.metric].append(row.k)
            last[row.set, row.fact, row.metric] = row
    return tuple(
        row._replace(k=math.fsum(ks[place]) / len(readings))
        for place, row in last.items()
        if len(ks[place]) == len(readings)
    )


@dataclass(frozen=True)
class Cost:
    """Cost of a job."""

    seconds: float
    """Wall-clock time. It differs from run to run, so no digest covers it."""
    forward_tokens: int
    """Tokens (padding included) that went through a model."""
