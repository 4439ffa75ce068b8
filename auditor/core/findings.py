"""Findings of attacks, and what they report beside K.

They are values and codes, not sentences.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import JsonValue

from auditor.core.arms import Arm
from auditor.core.messages import Message, message
from auditor.core.records import Record

_STRICT: dict[str, Any] = {"extra": "forbid", "revalidate_instances": "always"}
"""Configuration by which a certificate reads these types and checks those that an attack made."""


@dataclass(frozen=True)
class Finding:
    """Result of a search on one arm.

    Every arm is measured with it.
    """

    arm: Arm
    own: bool
    """Whether it was found on the arm that is being measured."""
    record: Record


@dataclass(frozen=True)
class Explanation:
    """Figure of the weights or layers that explains returning knowledge."""

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
    """Code of what is checked, for example ``sets_alike_without_model``."""
    passed: bool
    params: dict[str, JsonValue] = field(default_factory=dict)
    """Figures that the check found."""
    quoted: tuple[str, ...] = ()
    """Names of the parameters that somebody else wrote."""

    @property
    def message(self) -> Message:
        """The check as a message, of which ``passed`` is a parameter."""
        return message(self.code, quoted=self.quoted, passed=self.passed, **self.params)


@dataclass(frozen=True)
class SideFigure:
    """Number that an attack reports beside K.

    Nothing is decided by it.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: str
    """Code of the figure, for example ``auc``."""
    of: str
    """Arm that the figure is of."""
    value: float
    lower: float | None = None
    """Bounds at 95 % unless a remark says otherwise; None where there are none."""
    upper: float | None = None
    against: str | None = None
    """The arm that ``of`` is compared with, if it is."""
    params: dict[str, JsonValue] = field(default_factory=dict)
    """Parameters of the name, such as a layer or a number of samples."""
    remarks: tuple[Message, ...] = ()
    """Limits of the figure, and how it is to be read."""


@dataclass(frozen=True)
class Curve:
    """Curve of one arm that an attack reports beside K.

    Nothing is decided by it.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: str
    """Code of the curve (``learning_curve``, ``roc``); curves of one name are drawn together."""
    of: str
    """Arm that the curve is of."""
    x: str
    """Code of the horizontal axis, with its unit."""
    y: str
    """Code of the vertical axis."""
    points: tuple[tuple[float, float], ...]
    """Points in the order of x; at most 200."""
    params: dict[str, JsonValue] = field(default_factory=dict)
    """Parameters of the axes, such as a metric."""
    remarks: tuple[Message, ...] = ()
    """Limits of the curve, and how it is to be read."""


@dataclass(frozen=True)
class AttackReport:
    """Report of an attack on its own evidence, beside K.

    It follows from that evidence and nothing else.
    """

    notes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Notes of the measurement by arm (first seed)."""
    explanation: Explanation | None = None
    self_checks: tuple[SelfCheck, ...] = ()
    side_figures: tuple[SideFigure, ...] = ()
    curves: tuple[Curve, ...] = ()
