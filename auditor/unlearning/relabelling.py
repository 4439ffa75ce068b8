"""Relabelling: teach another plausible answer in place of the true one.

After the fine-tuning on generic labels of "Who's Harry Potter?" (Eldan and Russinovich,
arXiv 2310.02238). Here the label is a wrong answer of the same form, the same one for every
phrasing of a fact, so the model is left sure of something false.
"""

from collections.abc import Iterable

from torch import Tensor

from auditor.core.facts import Fact
from auditor.unlearning.examples import cross_entropy, trained_prompts


def relabelled_pairs(facts: Iterable[Fact]) -> list[tuple[str, str]]:
    """Return every trained phrasing with a wrong answer.

    The answer is the fact's first distractor.
    """
    return [(prompt, fact.distractors[0]) for fact in facts for prompt in trained_prompts(fact)]


def relabelling_loss(logits: Tensor, labels: Tensor, reference: Tensor | None) -> Tensor:
    """The ordinary loss on the false answers, a scalar in nats.

    Args:
        logits: Logits of the model being changed, [batch, time, vocabulary].
        labels: Next tokens of relabelled examples, [batch, time].
        reference: Unused.
    """
    return cross_entropy(logits, labels)
