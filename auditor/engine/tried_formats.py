"""Formats of prompts that were tried on the original."""

from collections.abc import Sequence

import numpy as np
import yaml

from auditor.core.facts import Fact
from auditor.core.messages import Message, message
from auditor.engine.preparation import TriedFormat
from auditor.models.spec import PromptFormat
from auditor.store import columns
from auditor.store.base import EvidenceStore

SAMPLE = 32
"""Facts that are asked in each format, at most."""
MARGIN = 0.1
"""K by which another format must be better for a warning."""


def better_format(tried: Sequence[TriedFormat], facts: int, metric: str) -> Message | None:
    """Return a warning where another format than the plan's is better.

    Args:
        tried: The formats, the plan's first.
        facts: How many facts were asked in each.
        metric: The primary metric.
    """
    own, best = tried[0], max(tried, key=lambda one: one.k)
    if best.k <= own.k + MARGIN:
        return None
    return message(
        "better_prompt_format",
        k=own.k,
        better=best.k,
        facts=facts,
        metric=metric,
        lines=lines(best.format),
    )


def lines(prompt_format: PromptFormat) -> str:
    """Return the lines of a plan that ask for a format."""
    said = {"format": prompt_format.model_dump(exclude_defaults=True)}
    return str(yaml.safe_dump(said, sort_keys=False)).rstrip()


def sample(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Return facts that are spread evenly over a set."""
    step = max(1, -(-len(facts) // SAMPLE))
    return tuple(facts[::step])


def mean_knowledge(store: EvidenceStore, job: str, metric: str) -> float:
    """Return the mean K of the forget facts that a job asked.

    Raises:
        EvidenceChangedError: the evidence was changed, or is not there.
    """
    _, k = columns.knowledge(store.rows(job), "forget", metric)
    return float(np.mean(k))
