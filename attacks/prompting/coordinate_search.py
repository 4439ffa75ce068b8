"""Greedy coordinate gradient: a discrete search for a suffix (arXiv 2307.15043)."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from attacks.prompting.cross_fitted import CrossFittedParameters
from attacks.prompting.shared_prefix import Ids, SharedPrefix
from attacks.prompting.suffix_text import AllowNonAscii, starting_suffix, suffix_text, survives
from attacks.prompting.token_swaps import candidates, steepest
from auditor.models.causal_lm.model import CausalLM


class GCGParameters(CrossFittedParameters):
    """Settings of the greedy coordinate gradient, by nanoGCG's names."""

    suffix_length: int = Field(default=8, ge=1)
    """Tokens of the suffix."""
    num_steps: int = Field(default=60, ge=1)
    """Steps of the search, each with one gradient."""
    search_width: int = Field(default=16, ge=1)
    """Different candidate suffixes that are evaluated in each step."""
    topk: int = Field(default=64, ge=1)
    """Tokens of steepest descent that candidates draw from at each position."""
    n_replace: int = Field(default=1, ge=1)
    """Positions of the suffix that a candidate changes."""
    batch_size: int = Field(default=8, ge=1)
    """Prompts that all candidates of a step are evaluated on, drawn anew in each step."""
    finalists: int = Field(default=1, ge=1)
    """Best candidates of a step that are evaluated on all prompts."""
    patience: int = Field(default=30, ge=1)
    """Steps without a better suffix after which the search ends."""
    prompts: int = Field(default=96, ge=1)
    """Most prompts of one search; from a larger set so many are drawn."""
    allow_non_ascii: AllowNonAscii = False
    """Characters that a suffix may hold. false: printable ASCII alone; true: printable characters
    of any script; `any`: every token of the vocabulary, special ones too."""
    name: str | None = None
    """Name of the variant, in place of the one made from split, scope and steps."""


@dataclass(frozen=True)
class Searched:
    """The best suffix of one search."""

    ids: Ids
    text: str
    losses: tuple[float, ...]
    """Mean loss over all prompts before the search and after each step, in nats; never rises."""
    evaluated: int
    """Number of candidates tried."""


def search_suffix(
    model: CausalLM,
    pairs: Sequence[tuple[str, str]],
    allowed: Ids,
    settings: GCGParameters,
    seed: int,
    report: Callable[[str], None] = lambda step: None,
) -> Searched:
    """Search one suffix that makes the answers of all pairs likely.

    A step takes the gradient by the suffix's one-hot tokens, draws candidates that swap tokens for
    some of steepest descent, tries them on some of the prompts and the best of them on all. The
    next step goes on from the best of the step, even if it is worse than what was there
    (arXiv 2307.15043); what is returned is the best of all steps.

    Args:
        model: The model whose loss counts; it stays as it is.
        pairs: Prompts with their true answers.
        allowed: Ids of the tokens that the suffix may hold.
        settings: Size and length of the search.
        seed: Seed of the first suffix, the prompts of each step and the candidates.
        report: Shows how far the search has come.

    Raises:
        UnavailableError: the tokenizer reads no suffix back, or the prompts are too long.
        MeasurementError: a loss is not finite.
    """
    rng = random.Random(seed)  # noqa: S311 - a reproducible draw
    ids, items = starting_suffix(model, pairs, settings.suffix_length, allowed, rng)
    found_best = ids
    prefix = SharedPrefix(model, items, settings.suffix_length)
    everything = range(len(items))
    losses = [float(prefix.losses([ids], everything).mean())]
    evaluated = stale = 0

    def readable(candidate: Ids) -> bool:
        return survives(model, pairs[:1], items[:1], candidate)

    for step in range(settings.num_steps):
        if losses[-1] <= settings.stop_loss or stale >= settings.patience:
            break
        report(f"step {step + 1} of {settings.num_steps}")
        some = sorted(rng.sample(everything, min(settings.batch_size, len(items))))
        top = steepest(prefix.gradient(ids, some), allowed, settings.topk)
        drawn = candidates(ids, top, settings.search_width, settings.n_replace, rng, readable)
        if not drawn:  # the tokenizer refused them all; the next step's gradient names others
            stale += 1
            losses.append(losses[-1])
            continue
        evaluated += len(drawn)
        found = prefix.losses(drawn, some).mean(1)
        best = found.argsort(stable=True)[: settings.finalists].tolist()
        if len(some) < len(items):
            full = prefix.losses([drawn[i] for i in best], everything).mean(1).tolist()
        else:
            full = found[best].tolist()
        ranked = [(loss, drawn[i]) for loss, i in sorted(zip(full, best, strict=True))]
        loss, ids = next(
            (one for one in ranked if survives(model, pairs, items, one[1])), (losses[-1], ids)
        )
        stale = 0 if loss < losses[-1] else stale + 1
        found_best = ids if loss < losses[-1] else found_best
        losses.append(min(loss, losses[-1]))
    text = suffix_text(model.tokenizer, found_best)
    return Searched(found_best, text, tuple(losses), evaluated)
