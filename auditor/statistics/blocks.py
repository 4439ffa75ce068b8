"""Blocks of a PASS, the most telling first, each said once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from auditor.core.messages import Message, message
from auditor.statistics.assessment import AttackAssessment
from auditor.statistics.gates import Gate
from auditor.statistics.readings import AssessedReading

_TELLING = (
    "as_is",
    "leak_rate",
    "residual",
    "effect",
    "weights",
    "dormant_units",
    "tokenization",
    "metrics_agree",
    "measured",
    "positive_control",
    "sensitivity",
    "placements",
    "null",
    "baseline_noise",
)
"""Gates, the most telling first; others follow, then what concerns no attack."""
_ALIKE = frozenset(
    {"gap_too_small", "residual_not_below_margin", "leaks_above_limit", "left_out_of_fail"}
    | {"null_raised", "null_easier_to_guess", "null_not_checked", "null_too_small"}
    | {"leak_rate_not_within_limit", "leaks_not_countable", "no_margin_left", "over_forgotten"}
)
"""Messages that are said once for several attacks, whatever their figures."""
_NAMES = ("attack", "metric")


@dataclass(frozen=True)
class Block:
    """Thing that blocks a PASS, or is known beside a verdict.

    Attributes:
        message: what it is.
        gate: name of the gate; None where it belongs to no attack.
        attack: label of the attack; None likewise.
        strength: how much it tells among others of its gate.
    """

    message: Message
    gate: str | None = None
    attack: str | None = None
    strength: float = field(default=0.0)


def attack_blocks(attack: AttackAssessment) -> Iterator[Block]:
    """Yields what blocks a PASS in one attack."""
    for reading in attack.readings:
        yield from (
            _block(attack, gate, _strength(reading, gate)) for gate in _unmet(reading.gates)
        )
    yield from (_block(attack, gate, 0.0) for gate in _unmet(attack.shared_gates))


def _unmet(gates: Sequence[Gate]) -> list[Gate]:
    return [gate for gate in gates if gate.message is not None]


def _block(attack: AttackAssessment, gate: Gate, strength: float) -> Block:
    if gate.message is None:  # pragma: no cover - unmet gates have one
        raise ValueError(f"the gate {gate.name} is met")
    return Block(gate.message, gate.name, attack.label, strength)


def _strength(reading: AssessedReading, gate: Gate) -> float:
    if reading.figures is None:
        return 0.0
    if gate.name == "leak_rate":
        return float(reading.figures.leak.leaked)
    return reading.figures.log_e_fail if gate.name == "residual" else 0.0


def said_once(blocks: Sequence[Block]) -> tuple[Message, ...]:
    """Returns the messages of blocks, the most telling first.

    What is said of several attacks is said of the one that tells most, and names the others.
    """
    groups: dict[str, list[Block]] = {}
    for block in sorted(blocks, key=_order):
        groups.setdefault(_kind(block.message), []).append(block)
    return tuple(_merged(group) for group in groups.values())


def _order(block: Block) -> tuple[float, float, str, str]:
    ranks = {gate: float(rank) for rank, gate in enumerate(_TELLING)}
    rank = math.inf if block.gate is None else ranks.get(block.gate, len(_TELLING))
    return rank, -block.strength, block.attack or "", str(block.message.params.get("metric", ""))


def _kind(said: Message) -> str:
    """Return what a message says, whatever the attack."""
    kept = {name: value for name, value in said.params.items() if name not in _NAMES}
    return said.code if said.code in _ALIKE else f"{said.code} {kept}"


def _merged(group: Sequence[Block]) -> Message:
    first, *others = dict.fromkeys(block.message for block in group)
    if not others:
        return first
    named = [{n: said.params[n] for n in _NAMES if n in said.params} for said in others]
    return message("likewise", about=first, others=named)
