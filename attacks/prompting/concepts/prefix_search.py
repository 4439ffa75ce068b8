"""Search for words before prompts, and drawings with random words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.prompting.concepts.adversarial_prefix_parameters import AdversarialPrefixParameters
from attacks.prompting.concepts.noise_objective import NoiseObjective
from attacks.prompting.concepts.searchable_words import Words
from attacks.prompting.concepts.token_relaxation import TokenRelaxation

Judge = Callable[[Sequence[int], Sequence[str]], Tensor]
"""K of facts, by number, with words before their prompts."""


@dataclass
class SearchResult:
    """Result of a search, one row a fact."""

    tokens: Tensor
    """Numbers of words, [n, tokens]."""
    knowledge: Tensor
    """The best K that was drawn with them, [n]; 0 where nothing was drawn."""
    drawings: int = 0
    """Pictures drawn in the search."""
    losses: list[tuple[float, float]] = field(default_factory=list)
    """Loss of the first and of the best words, of each prompt in each round."""


def search_prefixes(
    objective: NoiseObjective,
    relaxation: TokenRelaxation,
    words: Words,
    prompts: Sequence[str],
    clean: Tensor,
    draws: Sequence[torch.Generator],
    settings: AdversarialPrefixParameters,
    judge: Judge,
) -> SearchResult:
    """Search words for several prompts together; each ends when it succeeds.

    Args:
        objective: what is made small.
        relaxation: the words' stand-ins, one row a prompt.
        words: which can be found.
        prompts: plain.
        clean: what is noised for each prompt.
        draws: a generator for each, so that no search depends on what is searched beside it.
        settings: Size and length of the search.
        judge: draws and judges.
    """
    found = SearchResult(relaxation.best().cpu(), torch.zeros(len(prompts)))
    active = list(range(len(prompts)))
    tried: list[set[tuple[int, ...]]] = [set() for _ in prompts]
    for number in range(settings.rounds):
        own = [draws[i] for i in active]
        plain = [prompts[i] for i in active]
        visited: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in prompts]
        trial = None
        for _ in range(settings.iterations):
            if trial is None or settings.drawn == "last":  # losses compare under the same noise
                trial = objective.trial(number, plain, clean[active], own)
            chances = torch.zeros(len(prompts), settings.prefix_length)
            chances[active] = torch.stack(
                [torch.rand(settings.prefix_length, generator=d) for d in own]
            )
            drawn = relaxation.drawn(chances)
            slope = torch.zeros_like(words.table[drawn])
            slope[active], losses = objective.slope(trial, words.table[drawn[active]])
            relaxation.update(slope)
            for i, loss in zip(active, losses.tolist(), strict=True):
                visited[i].append((loss, tuple(drawn[i].tolist())))
        found.losses += [(visited[i][0][0], min(visited[i])[0]) for i in active]
        chosen = relaxation.best().cpu()
        if settings.drawn == "lowest-loss":
            for i in active:
                chosen[i] = _lowest_untried(visited[i], tried[i], chosen[i])
                tried[i].add(tuple(chosen[i].tolist()))
        judged = judge(active, [words.text(chosen[i]) for i in active])
        found.drawings += len(active)
        for i, k in zip(active, judged.tolist(), strict=True):
            if k > found.knowledge[i]:
                found.tokens[i], found.knowledge[i] = chosen[i], k
        active = [i for i in active if found.knowledge[i] < settings.success_threshold]
        if not active:
            break
    return found


def _lowest_untried(
    visited: list[tuple[float, tuple[int, ...]]], tried: set[tuple[int, ...]], last: Tensor
) -> Tensor:
    """Tokens of the lowest loss that were not drawn before.

    If all were drawn they are the last ones.
    """
    new = min((each for each in visited if each[1] not in tried), default=None)
    return last if new is None else torch.tensor(new[1])


def random_knowledge(
    words: Words,
    plain: Tensor,
    draws: Sequence[torch.Generator],
    settings: AdversarialPrefixParameters,
    judge: Judge,
) -> Tensor:
    """Best K [n] with random words, with as many drawings.

    Args:
        words: to choose from.
        plain: K without words; what succeeds so is not drawn again.
        draws: a generator for each fact.
        settings: Settings of the search that this is compared with.
        judge: draws and judges.
    """
    best = plain.clone()
    for _ in range(settings.rounds):
        active = [i for i in range(len(best)) if best[i] < settings.success_threshold]
        if not active:
            break
        prefixes = [
            words.text(torch.randint(len(words), (settings.prefix_length,), generator=draws[i]))
            for i in active
        ]
        best[active] = torch.maximum(best[active], judge(active, prefixes))
    return best
