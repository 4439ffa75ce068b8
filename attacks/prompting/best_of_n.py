"""Best of N: another cheap rewriting with each sampled answer."""

import random
from collections.abc import Callable, Mapping, Sequence

import torch
from pydantic import Field

from attacks.prompting.sampling import SampledAnswers, SamplingParameters
from attacks.prompting.sentence_rules import RULES
from attacks.prompting.surface import FORMS
from auditor.attack import Preset, attack
from auditor.core.facts import Fact
from auditor.models.devices import gpus_of
from auditor.models.language.decoding import Sampling
from auditor.models.language.model import LanguageModel
from auditor.models.language.transcript import answer_room


class BestOfNParameters(SamplingParameters):
    """Settings of best-of-N."""

    strength: float = Field(default=0.4, ge=0, le=1)
    """Share of the words whose letters are scrambled, whose case is drawn anew, or one of whose
    letters is another; 0 leaves the words as they are."""


@attack("prompting/best-of-n")
class BestOfN(SampledAnswers):
    """Rewritten questions with a sampled answer each, counted by leak@k."""

    summary = "Rewrite the question at random N times and sample an answer to each (best-of-N)."
    details = """
    Every one of the N answers is to another rewriting: a form of sentence (those of
    prompting/paraphrase by rules, or the question as it stands), a form of writing (those of
    prompting/surface, or none), and three kinds of noise, each on a share of the words: letters
    scrambled but for the first and the last, capitals drawn anew, a letter moved to its neighbour
    in the character table. Strength decides the share. The draws depend on the fact and the seed
    alone, so every arm is asked the same N questions.

    K is leak@k as in prompting/sampling, which asks one question N times: the chance that at least
    one of k of these answers leaks, estimated from N. The retrained models get as many tries.
    """
    threat_model = 'Any user who presses "again", with a script that garbles the question.'
    access = "Prompts, and answers sampled at a temperature of the attacker's choice."
    cost = "N generated answers a fact and seed."
    leak = "No single question brings the answer up; one in many does."
    source = (
        "Best-of-N jailbreaking is from arXiv 2412.03556, leak@k from arXiv 2511.04934, its "
        "estimator from pass@k (arXiv 2107.03374)."
    )

    parameters_type = BestOfNParameters
    parameters: BestOfNParameters
    presets = (
        Preset("leak@16 of 32 T=1 strength 0.4", {}, "exhaustive"),
        Preset("leak@16 of 32 T=1 strength 0", {"strength": 0.0}, "exhaustive"),
    )

    @property
    def variant(self) -> str:
        """Samples, tries, how they are drawn, and the strength of the noise."""
        return f"{super().variant} strength {self.parameters.strength:g}"

    def _sample(self, model: LanguageModel, facts: Sequence[Fact], seed: int) -> list[list[str]]:
        """One answer to each rewriting of each fact."""
        p = self.parameters
        asked = [
            fact.model_copy(update={"prompt": prompt})
            for fact in facts
            for prompt in rewritings(fact, p.samples, p.strength, seed)
        ]
        drawn = Sampling(temperature=p.temperature, top_p=p.top_p, seed=seed)
        with torch.random.fork_rng(gpus_of(model.network)):
            said = model.generate([f.prompt for f in asked], answer_room(model, asked), drawn)
        return [said[i : i + p.samples] for i in range(0, len(said), p.samples)]


def rewritings(fact: Fact, count: int, strength: float, seed: int) -> list[str]:
    """Random rewritings of a fact's prompt.

    Args:
        fact: What is asked.
        count: How many; some may be the same.
        strength: Share of the words that each kind of noise changes, in [0, 1].
        seed: Seed of the draws.
    """
    return [
        _rewritten(fact, strength, random.Random(f"{seed}/{fact.id}/{number}"))  # noqa: S311
        for number in range(count)
    ]


def _rewritten(fact: Fact, strength: float, rng: random.Random) -> str:
    prompt = _drawn(RULES, fact, rng)
    prompt = _drawn(FORMS, fact.model_copy(update={"prompt": prompt}), rng)
    for noise in (_scrambled, _recapitalised, _shifted):
        prompt = "".join(
            noise(part, rng) if part.strip() and rng.random() < strength else part
            for part in _parts(prompt)
        )
    return prompt


def _drawn(
    wordings: Mapping[str, Callable[[Fact], str | None]], fact: Fact, rng: random.Random
) -> str:
    """The prompt in one of several wordings, or as it stands."""
    applicable = [said for wording in wordings.values() if (said := wording(fact)) is not None]
    return rng.choice([fact.prompt, *applicable])


def _parts(text: str) -> list[str]:
    """Words and the spaces between them."""
    parts: list[str] = []
    for character in text:
        if parts and parts[-1][-1].isspace() == character.isspace():
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _scrambled(word: str, rng: random.Random) -> str:
    """Letters in another order, but for the first and the last."""
    inner = list(word[1:-1])
    rng.shuffle(inner)
    return word if len(word) < 4 else f"{word[0]}{''.join(inner)}{word[-1]}"


def _recapitalised(word: str, rng: random.Random) -> str:
    return "".join(rng.choice((c.lower(), c.upper())) for c in word)


def _shifted(word: str, rng: random.Random) -> str:
    """One letter or digit moved to its neighbour in ASCII."""
    places = [i for i, c in enumerate(word) if c.isascii() and c.isalnum()]
    if not places:
        return word
    place = rng.choice(places)
    moved = chr(ord(word[place]) + rng.choice((-1, 1)))
    return f"{word[:place]}{moved}{word[place + 1 :]}"
