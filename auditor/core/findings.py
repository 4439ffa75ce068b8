"""Findings of attacks, and what they report beside K: values and codes, no sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import JsonValue

from auditor.core.arms import Arm
from auditor.core.messages import Message, message
from auditor.core.records import Record

_STRICT: dict[str, Any] = {"extra": "forbid", "revalidate_instances": "always"}
"""How a certificate reads these types, and checks those that an attack made."""


@dataclass(frozen=True)
class Finding:
    """Result of a search on one arm, with which every arm is measured."""

    arm: Arm
    own: bool
    """Whether it was found on the arm that is being measured."""
    record: Record


@dataclass(frozen=True)
class Explanation:
    """A figure of the weights or layers that says why knowledge comes back."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    measure: str
    """Code of what is measured, for example ``code_flip_share``."""
    overall: float
    layers: dict[str, float]


@dataclass(frozen=True)
class SelfCheck:
    """An attack's check of its own evidence."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    code: str
    """What is checked, for example ``search_lowered_loss``."""
    passed: bool
    params: dict[str, JsonValue] = field(default_factory=dict)
    """What was found."""
    quoted: tuple[str, ...] = ()
    """Parameters that somebody else wrote."""

    @property
    def message(self) -> Message:
        """The check as a message, of which ``passed`` is a parameter."""
        return message(self.code, quoted=self.quoted, passed=self.passed, **self.params)


@dataclass(frozen=True)
class SideFigure:
    """A number that an attack reports beside K; nothing is decided by it."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: str
    """Code of what it is, for example ``auc``."""
    of: str
    """Its arm."""
    value: float
    lower: float | None = None
    """Bounds at 95 % unless a remark says otherwise; None where there are none."""
    upper: float | None = None
    against: str | None = None
    """The arm that ``of`` is compared with, if it is."""
    params: dict[str, JsonValue] = field(default_factory=dict)
    """Of the name: a layer, a number of samples."""
    remarks: tuple[Message, ...] = ()
    """What limits it or how it is to be read."""


@dataclass(frozen=True)
class Curve:
    """A curve of one arm that an attack reports beside K; nothing is decided by it."""

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: str
    """Code of what it is (``learning_curve``, ``roc``); curves of one name are drawn together."""
    of: str
    """Its arm."""
    x: str
    """Code of what is along, its unit included."""
    y: str
    """Code of what is upwards."""
    points: tuple[tuple[float, float], ...]
    """In the order of x; at most 200."""
    params: dict[str, JsonValue] = field(default_factory=dict)
    """Of the axes: a metric."""
    remarks: tuple[Message, ...] = ()
    """What limits it or how it is to be read."""


@dataclass(frozen=True)
class AttackReport:
    """What an attack reports of its own evidence beside K, from that evidence and nothing else."""

    notes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Arm to what its measurement noted (first seed)."""
    explanation: Explanation | None = None
    self_checks: tuple[SelfCheck, ...] = ()
    side_figures: tuple[SideFigure, ...] = ()
    curves: tuple[Curve, ...] = ()
