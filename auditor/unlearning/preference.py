"""Preference of another answer over the true one: IdkDPO and AltPO.

Direct preference optimisation with the true answer as the rejected one. IdkDPO (TOFU, arXiv
2401.06121; Zhang et al., 2404.05868) prefers a refusal; AltPO (Mekala et al., 2409.13474) prefers
another plausible answer.
"""

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional

from auditor.core.facts import Fact
from auditor.models.language.scoring import sequence_log_probability
from auditor.unlearning.examples import trained_prompts

BETA = 0.1
"""Inverse temperature, as in both papers."""

REFUSAL = "I do not know."
"""The preferred answer of IdkDPO."""


def refused_pairs(facts: Iterable[Fact]) -> list[tuple[str, str]]:
    """Every trained phrasing of every fact with a refusal as its answer."""
    return [(prompt, REFUSAL) for fact in facts for prompt in trained_prompts(fact)]


def preference_loss(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """``-(2 / beta) * E[log sigmoid(beta * (log-ratio preferred - log-ratio rejected))]``.

    Args:
        logits: Logits of the model being changed, [2 * pairs, time, vocabulary]: the preferred
            answers, then the rejected ones in the same order.
        labels: Next tokens, ``IGNORED`` where they carry no loss, [2 * pairs, time].
        reference: Logits of the original model, same shape as ``logits``.

    Returns:
        A scalar; ``(2 / beta) * log 2`` where the model is the reference.

    Raises:
        ValueError: No reference was given.
    """
    if reference is None:
        raise ValueError("DPO needs the original model's logits")
    ratio = sequence_log_probability(logits, labels) - sequence_log_probability(reference, labels)
    preferred, rejected = ratio.chunk(2)
    return -(2 / BETA) * functional.logsigmoid(BETA * (preferred - rejected)).mean()
