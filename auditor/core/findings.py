"""What attacks find, and what they report beside K."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.core.records import Record


@dataclass(frozen=True)
class Explanation:
    """A figure of the weights or layers that says why knowledge comes back."""

    measure: str
    """What is measured, for example ``code-flip share``."""
    overall: float
    layers: Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """What the search stage left on one arm, for every arm to be measured with."""

    arm: str
    """unlearned, original, retrained-0, retrained-1 and so on."""
    own: bool
    """Whether it was found on the arm that is being measured."""
    record: Record


@dataclass(frozen=True)
class Control:
    """A check of an attack on its own evidence."""

    name: str
    passed: bool
    sentence: str
    """What was checked, and what it means if it did not pass."""


@dataclass(frozen=True)
class SideFigure:
    """A number that an attack reports beside K, of one arm or of one arm against another."""

    name: str
    """What it is, for example ``AUC against the holdout``."""
    of: str
    """An arm, or ``unlearned against retrained-0``."""
    value: float
    lower: float | None = None
    """Bounds at 95 % unless ``remark`` says otherwise; None where there are none."""
    upper: float | None = None
    remark: str | None = None
    """What limits it or how it is to be read."""


@dataclass(frozen=True)
class Curve:
    """A curve of one arm that an attack reports beside K."""

    name: str
    """What it is (``learning curve``, ``ROC``); curves of one name are drawn together."""
    of: str
    """The arm."""
    x: str
    """What is along, with its unit."""
    y: str
    points: Sequence[tuple[float, float]]
    """In the order of x; at most 200."""
    remark: str | None = None
    """What limits it or how it is to be read."""
