"""Units of the unlearned model that never act, against a PASS.

A unit of an MLP that acts on no text gives out nothing and gets no gradient, so that nothing which
is measured of a model shows what it holds. Retrained models show how many such units there are by
nature. More of them block a PASS; they fail no model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.core.arms import Arm
from auditor.core.messages import Message, message

NOTE = "dormant_units"
"""Name under which a measurement notes them."""

MARGIN = 0.1
"""Share of a layer's units, or of the norm of what they feed, by which the unlearned model may
exceed every other arm. Trained with GELU, none of 512 units of a layer is dormant on honest,
retrained and original models alike, and of those that hide facts a third to a half is. With ReLU
many are by nature, on all arms."""


def dormant_note(layers: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return what a measurement notes of dormant units, under its name.

    Args:
        layers: name of a layer to its number of ``units``, how many of them are ``dormant``, and
            the share of the squared ``norm`` of what all units feed that is behind these.
    """
    return {NOTE: {name: dict(layer) for name, layer in layers.items()}}


def dormant_share(layer: Mapping[str, float]) -> float:
    """The greater share of a layer: of its units or the norm.

    A norm can be moved from one side of a unit to the other, so neither stands for both.
    """
    return max(float(layer["dormant"]) / max(float(layer["units"]), 1.0), float(layer["norm"]))


def more_dormant(attack: str, notes: Mapping[str, Sequence[Mapping[str, Any]]]) -> Message | None:
    """Say that the unlearned model has the most dormant units.

    Layers are compared by name; one that another arm lacks is compared with that arm's greatest.

    Args:
        attack: label of the attack that looked.
        notes: arm to what its measurements noted; only arms that were asked the forget set count.

    Returns:
        None where not, or where nothing was noted on the unlearned or on any other arm.
    """
    found = {
        Arm(arm): noted[0][NOTE]
        for arm, noted in notes.items()
        if not Arm(arm).world and noted and noted[0].get(NOTE)
    }
    own = found.pop(Arm.UNLEARNED, None)
    if own is None or not found:
        return None
    others = {name: max(_share_of(layers, name) for layers in found.values()) for name in own}
    worst = max(own, key=lambda name: dormant_share(own[name]) - others[name])
    if dormant_share(own[worst]) - others[worst] <= MARGIN:
        return None
    return message(
        "units_dormant",
        quoted=("layer",),
        attack=attack,
        layer=worst,
        dormant=int(own[worst]["dormant"]),
        units=int(own[worst]["units"]),
        norm=float(own[worst]["norm"]),
        others=others[worst],
        allowed=MARGIN,
    )


def _share_of(layers: Mapping[str, Mapping[str, float]], name: str) -> float:
    """Dormant share of an arm's layer of a name, or its greatest."""
    if name in layers:
        return dormant_share(layers[name])
    return max(dormant_share(layer) for layer in layers.values())
