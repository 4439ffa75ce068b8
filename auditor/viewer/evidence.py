"""Evidence of an audit: facts by attacks by arms, as data files.

The page gets an index and, piece by piece, what it asks for: the facts of a set, K of all its facts
under all attacks by one metric, and the answers to a few facts under one attack. All of it is read
from the evidence store. What is not there is absent, and is never a number.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from auditor.core.arms import Arm
from auditor.core.errors import AuditorError, EvidenceChangedError
from auditor.core.facts import SET_NAMES, Fact, SetName
from auditor.core.picture import fault, pixelated
from auditor.core.records import SPECIFICITY
from auditor.core.roles import Role
from auditor.core.text_safety import inline, visible
from auditor.statistics.holdout_blocks import BLOCK
from auditor.statistics.leak_rate import leaks
from auditor.statistics.margins import Margins
from auditor.store.columns import DECIDING
from auditor.store.gathering import NullFacts, measured_evidence, null_of
from auditor.store.table import Evidence, EvidenceTable
from auditor.viewer.evidence_source import EvidenceSource, MeasuredAttack
from auditor.viewer.token_scores import token_log_probabilities

LEADING = "leading"
"""Name in the place of a metric's: each attack by the metric that leads on it."""
ABSENT = 65_535
"""Code of a K that was not measured; the others are K in parts of `FINEST`."""
FINEST = 65_000
NO_LEAK, LEAK, NOT_TOLD = 0, 1, 255
"""Codes of a fact under an attack: it did not leak, it leaked, it cannot be told."""
ID, TEXT, ANSWER, NOTES = 200, 2_000, 4_000, 8_000
"""Most characters of an id, a text of a fact, an answer, and the notes of a job."""
ANSWERED = 16
"""Models under attacks whose answers are kept while others are read."""
FACTS_AT_ONCE, PICTURED_AT_ONCE = 250, 20
"""Facts of one file of answers, and of one that may hold pictures."""

_NOT_METRICS = frozenset({SPECIFICITY, BLOCK})
"""Names in the place of a metric's under which rows hold something else than K."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Evidence that cannot be shown, and why."""

    attack: str
    arm: str
    why: str


@dataclass(frozen=True)
class EvidenceIndex:
    """What a page of evidence shows before it asks for anything."""

    model: str | None
    verdict: str | None
    redacted: bool
    facts: Mapping[SetName, int]
    """Number of facts of each set that has any."""
    attacks: tuple[str, ...]
    """Label of each attack."""
    arms: tuple[Arm, ...]
    """Models that have evidence, in their order."""
    metrics: tuple[str, ...]
    leading: tuple[str | None, ...]
    """Leading metric of each attack; None where it has no evidence that can be read."""
    absent: tuple[str, ...]
    """Attacks without any evidence."""
    problems: tuple[Problem, ...]
    at_once: int
    """Facts of one file of answers."""
    leak_gap: float
    """Least gap between original and baseline of a fact that can leak."""


class EvidenceView:
    """The data files of a page, by their names.

    Args:
        source: The evidence.
    """

    def __init__(self, source: EvidenceSource) -> None:
        self.source = source
        self._last: dict[tuple[SetName, int, Arm], _Answered] = {}
        self._lock = Lock()

    @cached_property
    def index(self) -> EvidenceIndex:
        """What the page shows first."""
        source = self.source
        with_rows = {arm for measured in self._rows for arm in measured.jobs}
        return EvidenceIndex(
            model=source.model,
            verdict=source.verdict,
            redacted=source.redacted is not None,
            facts={name: len(self._facts(name)) for name in SET_NAMES if self._facts(name)},
            attacks=tuple(attack.id.label for attack in source.attacks),
            arms=tuple(arm for arm in source.arms if arm in with_rows),
            metrics=self._metrics,
            leading=tuple(measured.metric for measured in self._rows),
            absent=source.absent,
            problems=tuple(p for measured in self._rows for p in measured.problems),
            at_once=PICTURED_AT_ONCE if self._pictured else FACTS_AT_ONCE,
            leak_gap=Margins.leak_gap_floor,
        )

    def names(self) -> Iterator[str]:
        """Yield the name of every file."""
        for name, count in self.index.facts.items():
            yield f"facts-{name}"
            for metric in range(-1, len(self._metrics)):
                yield f"k-{name}-{metric + 1}"
            for attack in range(len(self.source.attacks)):
                for first in range(-(-count // self.index.at_once)):
                    yield f"answers-{name}-{attack}-{first}"

    def file(self, name: str) -> bytes | None:
        """Return a file as ASCII JSON, or None if there is none."""
        match name.split("-"):
            case ["facts", set_name] if set_name in self.index.facts:
                content = self._facts_file(set_name)  # type: ignore[arg-type]
            case ["k", set_name, metric] if set_name in self.index.facts:
                place = _place(metric, len(self._metrics) + 1)
                if place is None:
                    return None
                content = self._knowledge_file(
                    set_name,  # type: ignore[arg-type]
                    None if place == 0 else self._metrics[place - 1],
                )
            case ["answers", set_name, attack, part] if set_name in self.index.facts:
                which = _place(attack, len(self.source.attacks))
                count = self.index.facts[set_name]  # type: ignore[index]
                first = _place(part, -(-count // self.index.at_once))
                if which is None or first is None:
                    return None
                content = self._answers_file(
                    set_name,  # type: ignore[arg-type]
                    which,
                    first * self.index.at_once,
                )
            case _:
                return None
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()

    def _facts(self, name: SetName) -> tuple[Fact, ...]:
        return self.source.facts.named(name)

    def _said(self, text: str, limit: int) -> str:
        """A foreign text, fit to be shown."""
        own = text if self.source.redacted is None else self.source.redacted(text)
        if len(own) <= limit and own.isascii() and own.isprintable():
            return own  # as most are, and the long way takes a while for each letter
        return inline(own, limit)

    def _facts_file(self, name: SetName) -> dict[str, Any]:
        facts = self._facts(name)
        return {
            "id": [self._said(fact.id, ID) for fact in facts],
            "entity": [self._said(fact.entity, ID) for fact in facts],
            "prompt": [self._said(fact.prompt, TEXT) for fact in facts],
            "answer": [self._said(fact.answer, TEXT) for fact in facts],
        }

    def _knowledge_file(self, name: SetName, metric: str | None) -> dict[str, Any]:
        known = [
            {arm: self._known(place, arm, name, metric) for arm in self.index.arms}
            for place in self._places
        ]
        told = [self._leaked(place, name, metric, known[place]) for place in self._places]
        return {
            "arms": {str(arm): _packed([own[arm] for own in known]) for arm in self.index.arms},
            "baseline": _packed([base for base, _ in told]),
            "leaks": base64.b64encode(b"".join(codes.tobytes() for _, codes in told)).decode(),
        }

    def _answers_file(self, name: SetName, place: int, first: int) -> dict[str, Any]:
        facts = self._facts(name)[first : first + self.index.at_once]
        read = [self._read(name, fact) for fact in facts]
        kept = self.source.prompts.kept
        return {
            "first": first,
            "read": [None if text is None else self._said(text, TEXT) for text in read],
            "rebuilt": [not self._pictured and fact.id not in kept for fact in facts],
            "arms": {
                str(arm): self._of_arm(self._answered(name, place, arm), facts, first)
                for arm in self.index.arms
                if arm in self._rows[place].jobs
            },
        }

    def _read(self, name: SetName, fact: Fact) -> str | None:
        """Return what is read of a prompt without attack.

        Pictures are drawn of it as it stands.
        """
        return fact.prompt if self._pictured else self.source.prompts.read(name, fact)

    def _of_arm(self, found: "_Answered", facts: Sequence[Fact], first: int) -> dict[str, Any]:
        part = slice(first, first + len(facts))
        return {
            "said": [
                self._said(found.said[fact.id], ANSWER) if fact.id in found.said else None
                for fact in facts
            ],
            "asked": [
                self._said(found.asked[fact.id], ANSWER) if fact.id in found.asked else None
                for fact in facts
            ],
            "pictures": [self._picture(found.drawn.get(fact.id)) for fact in facts],
            "k": {
                metric: [None if np.isnan(k) else round(float(k), 6) for k in known[part]]
                for metric, known in found.known.items()
            },
            "tokens": {
                way: [by_fact.get(fact.id) for fact in facts]
                for way, by_fact in found.tokens.items()
            },
            "seeds": found.seeds,
            "notes": found.notes,
        }

    def _answered(self, name: SetName, place: int, arm: Arm) -> "_Answered":
        """Answers of a model to a set under an attack, kept awhile."""
        key = (name, place, arm)
        with self._lock:
            if key in self._last:
                return self._last[key]
        attack, jobs = self.source.attacks[place].id, self._rows[place].jobs[arm]
        table = EvidenceTable(
            Evidence(attack, arm, seed, self.source.store.rows(job))
            for seed, job in enumerate(jobs)
        )
        known = {metric: self._by_fact(place, arm, name, metric) for metric in self._metrics}
        found = _Answered(
            said=table.answers(attack, arm, name),
            drawn=table.pictures(attack, arm, name),
            asked=table.prompts(attack, arm, name),
            known={metric: ks for metric, ks in known.items() if ks is not None},
            tokens=token_log_probabilities(self.source.store, jobs[0], self.source.facts, name),
            notes=self._notes(jobs[0]),
            seeds=len(jobs),
        )
        with self._lock:
            self._last[key] = found
            while len(self._last) > ANSWERED:
                del self._last[next(iter(self._last))]
        return found

    def _picture(self, content: bytes | None) -> str | None:
        """A picture as a data URI, if it may be shown."""
        if content is None or fault(content) is not None:
            return None
        shown = pixelated(content) if self.source.redacted else content
        return f"data:image/png;base64,{base64.b64encode(shown).decode()}"

    def _notes(self, key: str) -> str | None:
        """What a job noted, as JSON; nothing where texts are redacted."""
        if self.source.redacted:
            return None
        noted = self.source.store.notes(key)
        if not noted:
            return None
        written = json.dumps(noted, indent=1, ensure_ascii=False, sort_keys=True)
        lines = "\n".join(visible(line) for line in written[:NOTES].split("\n"))
        cut = f"\n… [cut: {NOTES:,} of {len(written):,} characters]" if len(written) > NOTES else ""
        return lines + cut

    @property
    def _places(self) -> range:
        return range(len(self.source.attacks))

    @cached_property
    def _rows(self) -> tuple["_Measured", ...]:
        return tuple(_measured(self.source, attack) for attack in self.source.attacks)

    @cached_property
    def _pictured(self) -> bool:
        """Whether the first job that could be read holds pictures."""
        for measured in self._rows:
            for key in (key for keys in measured.jobs.values() for key in keys):
                rows = self.source.store.rows(key)
                return "picture" in rows.column_names and rows["picture"].null_count < len(rows)
        return False

    @cached_property
    def _metrics(self) -> tuple[str, ...]:
        found = {m: None for measured in self._rows for m in measured.metrics}
        return tuple(found)

    @cached_property
    def _by_id(self) -> Mapping[SetName, Mapping[str, int]]:
        return {
            name: {fact.id: number for number, fact in enumerate(self._facts(name))}
            for name in SET_NAMES
        }

    def _by_fact(self, place: int, arm: Arm, name: SetName, metric: str) -> FloatArray | None:
        """K of each fact [facts], NaN where absent; None if none was."""
        measured = self._rows[place]
        known = measured.table.knowledge(self.source.attacks[place].id, arm, name, metric)
        if not known:
            return None
        numbers = self._by_id[name]
        found = np.full(len(numbers), np.nan)
        for fact, k in known.items():
            if fact in numbers:
                found[numbers[fact]] = k
        return found

    def _known(self, place: int, arm: Arm, name: SetName, metric: str | None) -> FloatArray:
        """K of each fact [facts], NaN where it was not measured."""
        wanted = self._rows[place].metric if metric is None else metric
        found = None if wanted is None else self._by_fact(place, arm, name, wanted)
        return np.full(len(self._facts(name)), np.nan) if found is None else found

    def _leaked(
        self, place: int, name: SetName, metric: str | None, known: Mapping[Arm, FloatArray]
    ) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        """Return the baseline's K and whether it leaked, for each fact.

        It is told as the leak rate tells it, of facts to be forgotten alone.
        """
        null = self._null
        nothing = np.full(len(self._facts(name)), np.nan)
        unlearned = known.get(Arm.UNLEARNED, nothing)
        original = known.get(Arm.ORIGINAL, nothing)
        codes = np.full(len(nothing), NOT_TOLD, dtype=np.uint8)
        if null is None or name != "forget":
            others = [k for arm, k in known.items() if arm.is_retrained]
            base = np.mean(others, axis=0) if others else nothing
            d, g = unlearned - base, original - base
        else:
            wanted = self._rows[place].metric if metric is None else metric
            contrast = self._contrast(place, wanted, null)
            if contrast is None:
                return nothing, codes
            d, g = contrast
            base = unlearned - d
        told = np.isfinite(d) & np.isfinite(g)
        if name == "forget" and told.any():
            leaked, _ = leaks(d[told], g[told], Margins.leak_gap_floor)
            codes[told] = np.where(leaked, LEAK, NO_LEAK)
        return base, codes

    @cached_property
    def _null(self) -> NullFacts | None:
        baseline = self.source.baseline
        return None if baseline is None else null_of(self.source.facts, baseline)

    def _contrast(
        self, place: int, metric: str | None, null: NullFacts
    ) -> tuple[FloatArray, FloatArray] | None:
        """Return d and g of each fact against the models' own null."""
        if metric is None:
            return None
        attack = self.source.attacks[place]
        models = [arm for arm in self.source.arms if not arm.world]
        evidence = measured_evidence(
            self._rows[place].table,
            attack.id,
            Role.REPORTED,
            [metric],
            attack.jobs,
            models,
            self._facts("forget"),
            baseline=False,
            null=null,
        )
        arms = evidence.readings[0].arms
        if arms is None:
            return None
        contrast = arms.fact_contrast()
        return contrast.d, contrast.g


@dataclass(frozen=True)
class _Answered:
    """What one model answered to a set under one attack."""

    said: Mapping[str, str]
    drawn: Mapping[str, bytes]
    asked: Mapping[str, str]
    """What was asked, where it was not the fact's prompt."""
    known: Mapping[str, FloatArray]
    """Metric to K [facts]."""
    tokens: Mapping[str, Mapping[str, Sequence[float]]]
    notes: str | None
    seeds: int


@dataclass(frozen=True)
class _Measured:
    """The rows of an attack that could be read, by arm."""

    jobs: Mapping[str, tuple[str, ...]]
    """Arm to its jobs, where all of them could be read."""
    table: EvidenceTable
    metrics: tuple[str, ...]
    metric: str | None
    problems: tuple[Problem, ...]


def _measured(source: EvidenceSource, attack: MeasuredAttack) -> _Measured:
    """Read the rows of an attack.

    An arm of which a job is missing, or is not what the certificate lists, has none.
    """
    entries: list[Evidence] = []
    jobs: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    metrics: dict[str, None] = {}
    for arm, keys in attack.jobs.items():
        try:
            own = [
                Evidence(attack.id, arm, seed, source.store.rows(_listed(source, key), DECIDING))
                for seed, key in enumerate(keys)
            ]
        except (AuditorError, OSError) as error:
            problems.append(Problem(attack.id.label, str(arm), inline(str(error), 600)))
            continue
        if own:
            jobs[arm] = keys
            entries += own
            for entry in own:
                metrics |= dict.fromkeys(entry.rows["metric"].unique().to_pylist())
    found = tuple(metric for metric in metrics if metric not in _NOT_METRICS)
    leading = attack.metric if attack.metric in found else next(iter(found), None)
    if attack.metric is not None and attack.metric not in found:
        leading = None  # what leads in the certificate was not measured: nothing stands for it
    return _Measured(jobs, EvidenceTable(entries), found, leading, tuple(problems))


def _listed(source: EvidenceSource, key: str) -> str:
    """Return a job's key, if its evidence is what the certificate lists.

    Raises:
        EvidenceChangedError: It does not.
    """
    if source.listed is not None and source.store.claimed_seal(key) != source.listed.get(key):
        raise EvidenceChangedError(f"the evidence of job {key} is not what the certificate lists.")
    return key


def _packed(columns: Sequence[FloatArray]) -> str:
    """K [attacks, facts] as 16-bit numbers, little end first, in base64."""
    known = np.array(columns)
    codes = np.where(np.isnan(known), ABSENT, np.rint(np.clip(known, 0, 1) * FINEST))
    return base64.b64encode(codes.astype("<u2").tobytes()).decode()


def _place(text: str, count: int) -> int | None:
    """The number that a name says, if it is below ``count``."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return None
    number = int(text)
    return number if number < count and str(number) == text else None
