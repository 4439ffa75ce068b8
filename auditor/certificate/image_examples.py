"""Pictures of facts of which the unlearned model knows too much.

They come from the evidence.

A certificate cannot carry all of them. It carries, for the facts that matter most, what every model
drew without attack and under the attack that brings out most; then, attack by attack, the facts
that each brings out most. Whatever does not fit is counted.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from auditor.certificate.examples import Excess, by_arm, measured_excess
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.media import BUDGET, ImageExamplePart, ImageExamplesPart, ViewPart, text_of
from auditor.core.arms import Arm
from auditor.core.picture import fault

FACTS = 12
"""Most facts whose pictures a certificate carries."""
PER_ATTACK = 4
"""Most of these facts under each attack."""

_View = tuple[int, int]
"""Index of an attack, and index of a fact."""


def image_examples(inputs: DecisionInputs, budget: int = BUDGET) -> ImageExamplesPart | None:
    """Return a certificate's pictures, or None if there are none.

    Args:
        inputs: the evidence.
        budget: characters of all pictures together.
    """
    found = measured_excess(inputs, inputs.metrics[:1])
    if found is None:
        return None
    pictured = _pictured(inputs, found)
    if not pictured.any():
        return None
    seen = np.where(pictured, found.excess, -np.inf)
    facts = _facts(seen)
    views = _within(budget, _views(inputs, found, _order(found, seen, facts), facts))
    forget = inputs.sets["forget"]
    return ImageExamplesPart(
        facts=tuple(
            ImageExamplePart(
                fact=forget[index].id,
                entity=forget[index].entity,
                prompt=forget[index].prompt,
                answer=forget[index].answer,
                views=shown,
            )
            for index in facts
            if (shown := tuple(view for (_, about), view in views.items() if about == index))
        ),
        pictured=int(pictured.any(axis=0).sum()),
        left_out=int(pictured.sum()) - len(views),
    )


def _pictured(inputs: DecisionInputs, found: Excess) -> npt.NDArray[np.bool_]:
    """Return which facts the unlearned model drew, as [attacks, facts].

    A fact counts where the evidence has a picture of it.
    """
    drawn = [
        inputs.table.pictures(attack.id, Arm.UNLEARNED, "forget").keys() for attack in found.attacks
    ]
    return np.array([[fact.id in drew for fact in inputs.sets["forget"]] for drew in drawn])


def _facts(seen: npt.NDArray[np.float64]) -> list[int]:
    """Return the facts that are shown, worst first.

    Half of them are the worst whatever the attack, the next the worst of each attack: one that
    brings out other facts is not left without any.

    Args:
        seen: excess as [attacks, facts]; minus infinity where there is no picture.
    """
    worst = _falling(seen.max(axis=0))
    own = [int(seen[attack].argmax()) for attack in _falling(seen.max(axis=1))]
    chosen = list(dict.fromkeys([*worst[: FACTS // 2], *own, *worst]))[:FACTS]
    return sorted(chosen, key=worst.index)


def _order(found: Excess, seen: npt.NDArray[np.float64], facts: list[int]) -> list[_View]:
    """Return the views to be shown, the most important first."""
    as_is = [place for place, attack in enumerate(found.attacks) if attack.baseline]
    attacks = [place for place in _falling(seen[:, facts].max(axis=1)) if place not in as_is]
    order: list[_View] = []
    for fact in facts:
        order += [(place, fact) for place in as_is]
        order += [(place, fact) for place in _falling(seen[:, fact]) if place in attacks][:1]
    for place in attacks:
        order += [(place, facts[which]) for which in _falling(seen[place, facts])[:PER_ATTACK]]
    return [(place, fact) for place, fact in dict.fromkeys(order) if np.isfinite(seen[place, fact])]


def _falling(values: npt.NDArray[np.float64]) -> list[int]:
    """Places of finite values, the largest first."""
    order = np.argsort(-values, kind="stable")
    return [int(place) for place in order if np.isfinite(values[place])]


def _views(
    inputs: DecisionInputs, found: Excess, order: list[_View], facts: list[int]
) -> Iterator[tuple[_View, ViewPart]]:
    """Views with at least one picture that may be shown."""
    names = {index: inputs.sets["forget"][index].id for index in facts}
    drawn: dict[tuple[int, str], dict[str, bytes]] = {}
    for place, index in order:
        attack, pictures = found.attacks[place].id, {}
        for arm in inputs.arms:
            if (place, arm) not in drawn:
                every = inputs.table.pictures(attack, arm, "forget")
                drawn[place, arm] = {n: every[n] for n in names.values() if n in every}
            content = drawn[place, arm].get(names[index])
            if content is not None and fault(content) is None:
                pictures[arm] = text_of(content)
        if pictures:
            k = by_arm(inputs, found.known[place, :, index])
            yield (place, index), ViewPart(attack=attack.label, k=k, pictures=pictures)


def _within(budget: int, views: Iterator[tuple[_View, ViewPart]]) -> dict[_View, ViewPart]:
    """The first views whose pictures fit together."""
    chosen: dict[_View, ViewPart] = {}
    for place, view in views:
        budget -= sum(map(len, view.pictures.values()))
        if budget < 0:
            break
        chosen[place] = view
    return chosen
