"""Blocks of forget and holdout entities, as independent units of placements.

Facts that are ranked among the same holdout facts share those facts' luck: a model that happens
to find one holdout person likely moves every placement at once, and no number of forget facts
averages that out. So entities of both sets are dealt into blocks, a fact is placed among the
holdout facts of its own block, and a block is one unit of the test.
"""

from collections.abc import Sequence

from auditor.core.messages import Message, message
from auditor.statistics.arms import Arms, Scope
from auditor.statistics.betting import log_e_value, log_threshold
from auditor.statistics.margins import Margins

BLOCK = "holdout-block"
"""Metric under whose name evidence says which block a forget fact is in, as a share of them."""
LEAST_BLOCKS = 20
"""Blocks below which placements are only reported: with fewer, a model that kept every fact is
seldom found (`benchmarks/RESULTS.md`)."""


def holdout_blocks(
    forget: Sequence[str], holdout: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the block of each forget fact and of each holdout fact.

    Entities are dealt in their order over as many blocks as the smaller set has entities, so that
    every block holds entities of both sets and no entity is in two.

    Args:
        forget: entity of each forget fact.
        holdout: entity of each holdout fact.
    """
    blocks = max(1, min(len(set(forget)), len(set(holdout))))

    def dealt(entities: Sequence[str]) -> tuple[str, ...]:
        place = {entity: number % blocks for number, entity in enumerate(dict.fromkeys(entities))}
        return tuple(str(place[entity]) for entity in entities)

    return dealt(forget), dealt(holdout)


def not_deciding(arms: Arms, margins: Margins, scope: Scope) -> Message | None:
    """Returns why placements are only reported, or None.

    Retrained models are put in the place of the unlearned one: where one of them reaches the
    threshold by itself, the two sets differ in more than what was trained on.

    Args:
        arms: placements of every arm, with the block of each fact.
        margins: the policy's margins.
        scope: of the audit; blocks are the units in either.
    """
    blocks = len(set(arms.blocks or ()))
    if blocks < LEAST_BLOCKS:
        return message("too_few_holdout_entities", blocks=blocks, needed=LEAST_BLOCKS)
    if arms.seeds < 2:
        return message("no_other_retrained_model")
    reached = [
        seed
        for seed in range(arms.seeds)
        if log_e_value(-arms.with_seed_as_unlearned(seed).contrast(scope).against(margins.delta))
        >= log_threshold(margins.alpha)
    ]
    return message("retrained_found_to_be_trained", retrained=reached) if reached else None
