"""Training against relearning, the attack itself in the loop.

After TAR (Tamirisa et al., arXiv 2408.00761): an inner attacker fine-tunes on half of the facts for
some steps; the outer step lowers, with the gradient at the attacked weights, what the other half
came back. First order; the attacker's half is drawn anew each time.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.examples import Example
from benchmarks.truth_table.fine_tuning import BATCH, answer_loss, suppression_loss

INNER_STEPS, INNER_RATE = 4, 1e-3
OUTER_RATE = 5e-4


def resist(
    model: PreTrainedModel,
    facts: Sequence[Sequence[Example]],
    retain: Sequence[Example],
    steps: int,
    seed: int,
) -> PreTrainedModel:
    """Train so that relearning some facts brings back no others.

    Args:
        model: One in which the facts are suppressed already; changed and returned.
        facts: The examples of each fact.
        retain: Examples to keep.
        steps: Outer steps.
        seed: Of halves and orders.
    """
    draw = torch.Generator().manual_seed(seed)
    kept = shuffled_batches(len(retain), BATCH, draw)
    outer = torch.optim.AdamW(model.parameters(), lr=OUTER_RATE, weight_decay=0.0)
    for _ in range(steps):
        order = torch.randperm(len(facts), generator=draw).tolist()
        half = len(order) // 2
        taught = [example for row in order[:half] for example in facts[row]]
        asked = [example for row in order[half:] for example in facts[row]]
        before = [parameter.detach().clone() for parameter in model.parameters()]
        _attack(model, taught, draw)
        outer.zero_grad(set_to_none=True)
        torch.autograd.backward(suppression_loss(model, _some(asked, draw)))
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), before, strict=True):
                parameter.copy_(value)
        everyone = [example for examples in facts for example in examples]
        torch.autograd.backward(
            suppression_loss(model, _some(everyone, draw))
            + 2 * answer_loss(model, [retain[row] for row in next(kept)])
        )
        outer.step()
    model.zero_grad(set_to_none=True)
    return model.eval()


def _attack(model: PreTrainedModel, taught: Sequence[Example], draw: torch.Generator) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=INNER_RATE, weight_decay=0.0)
    for _ in range(INNER_STEPS):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(answer_loss(model, _some(taught, draw)))
        optimizer.step()


def _some(examples: Sequence[Example], draw: torch.Generator) -> list[Example]:
    rows = torch.randperm(len(examples), generator=draw)[:BATCH]
    return [examples[row] for row in rows.tolist()]
