"""Facts of the world `shapes`: prompts with a picture of their concept.

A fact is one prompt; its concept is both its entity and its answer, and its paraphrases say the
same with the concept's synonyms. Contexts make the prompts of one colour and shape distinct.
"""

import random
from collections.abc import Iterable

from auditor.core.facts import Fact, FactSets
from auditor.models.text_to_image.image_seed import image_seed
from auditor.testbeds.shapes.captions import SYNONYMS, caption
from auditor.testbeds.shapes.drawing import COLORS, HELD_OUT, TRAINED, Drawing, draw


def fact_sets(forget: str, prompts: int, seed: int) -> FactSets:
    """Return the facts of an audit of a forgotten shape.

    Args:
        forget: The shape to be forgotten, a name in ``TRAINED``.
        prompts: Facts to forget, and of the holdout; a multiple of the colours spreads them
            evenly. Twice as many are kept: whether other shapes are still drawn is told from the
            mean over them, and one picture more or less of 96 is a percent.
        seed: Seed of the contexts, which all sets share.
    """
    kept = [shape for shape in TRAINED if shape != forget]
    return FactSets(
        forget=_facts([forget], prompts, seed),
        retain=_facts(kept, 2 * prompts, seed),
        holdout=_facts(list(HELD_OUT), prompts, seed),
    )


def _facts(shapes: list[str], count: int, seed: int) -> tuple[Fact, ...]:
    chance = random.Random(seed)  # noqa: S311 - a reproducible draw, not a secret
    concepts = [(shape, color) for shape in shapes for color in COLORS]
    rounds = -(-count // len(concepts))
    numbers = [None, *(chance.getrandbits(32) for _ in range(rounds - 1))]
    every = [
        _fact(shape, color, index, number)
        for index, number in enumerate(numbers)
        for shape, color in concepts
    ]
    return tuple(every[:count])


def _fact(shape: str, color: str, index: int, number: int | None) -> Fact:
    return Fact(
        id=f"{shape}/{color}-{index:02}",
        entity=shape,
        prompt=caption(color, shape, number),
        answer=shape,
        paraphrases=tuple(caption(color, word, number) for word in SYNONYMS[shape]),
        distractors=tuple(other for other in TRAINED if other != shape),
    )


def picture(fact: Fact) -> Drawing:
    """Return the picture that a fact asks for, drawn by code."""
    color = fact.id.partition("/")[2].partition("-")[0]
    return draw(fact.entity, color, image_seed(fact.id))


def pictures(facts: Iterable[Fact]) -> dict[str, Drawing]:
    """The picture of each fact by the fact's id."""
    return {fact.id: picture(fact) for fact in facts}
