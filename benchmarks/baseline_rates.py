"""How often a verdict without a retrained model errs, by its baseline.

    python -m benchmarks.baseline_rates --reps 100

Each audit has two attacks (the model as it is, relearning), one metric and a truth that is set:

- forgotten: like a retrained model; each FAIL is wrong.
- at the margin: residual exactly delta under both attacks; each PASS is wrong, and each FAIL.
- hidden: as forgotten, but relearning brings 30 % back; each PASS is wrong, FAIL is power.

Each baseline is tried where its assumption holds, and where it is broken on purpose:

- reference: it guesses as a model that forgot; broken, it guesses next to nothing.
- never-seen-facts: facts of the same kind; broken, facts in other words that are harder to guess.
- never-seen-facts, known elsewhere: in the same words, but forget facts can be guessed and those
  cannot; only a reference model, which is given here, can see it.
- own-null: answers that the prompt does not tell; broken, prompts that tell a part of the answer.

Beside PASS and FAIL stands what would have been said without the conditions under which a baseline
counts: the share of its wrong verdicts that they stop.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.facts import Fact
from auditor.core.messages import Message, message
from auditor.core.roles import Role
from auditor.statistics import Arms, AttackEvidence, Margins, Reading, Verdict
from auditor.statistics.arms import Null
from auditor.statistics.blind import sets_told_apart
from auditor.statistics.null_gates import SHARE_OF_DELTA
from auditor.statistics.utility import Utility
from auditor.statistics.verdict import decide

FloatArray = NDArray[np.float64]
Truth = Literal["forgotten", "at the margin", "hidden"]
State = Literal["holds", "broken", "known elsewhere"]

SIZES = (20, 40, 100, 400)
TRUTHS: tuple[Truth, ...] = ("forgotten", "at the margin", "hidden")
GUESSED = 0.3
HIDDEN_SHARE = 0.3
FACTS_AN_ENTITY = 4
ATTACKS = (
    AttackId("none/as-is", "full precision"),
    AttackId("relearning/held-out-facts", "by attribute"),
)
CASES: tuple[tuple[Baseline, State], ...] = (
    (Baseline.RETRAINED, "holds"),
    (Baseline.REFERENCE, "holds"),
    (Baseline.REFERENCE, "broken"),
    (Baseline.NEVER_SEEN_FACTS, "holds"),
    (Baseline.NEVER_SEEN_FACTS, "broken"),
    (Baseline.NEVER_SEEN_FACTS, "known elsewhere"),
    (Baseline.OWN_NULL, "holds"),
    (Baseline.OWN_NULL, "broken"),
)
_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jana", "Karl", "Lia")
_KINDS = ("was born in", "works as a", "is married to", "keeps a")
_OTHER_KINDS = ("birthplace of the person:", "profession held:", "spouse by law:", "animal owned:")


@dataclass(frozen=True)
class Row:
    """Shares of `reps` audits in [0, 1]; those without conditions are `bare`."""

    baseline: Baseline
    state: State
    guessed: float
    n: int
    truth: Truth
    reps: int
    passed: float
    failed: float
    passed_bare: float
    failed_bare: float

    @property
    def wrong(self) -> float:
        """Largest share of wrong verdicts."""
        return _wrong(self.truth, self.passed, self.failed)

    @property
    def wrong_bare(self) -> float:
        """The same without the conditions."""
        return _wrong(self.truth, self.passed_bare, self.failed_bare)


def _wrong(truth: Truth, passed: float, failed: float) -> float:
    return {"forgotten": failed, "at the margin": max(passed, failed), "hidden": passed}[truth]


def facts(n: int, words: Sequence[str], rng: np.random.Generator) -> tuple[Fact, ...]:
    """Facts whose answers say nothing of their set."""
    found: list[Fact] = []
    person = ""
    for i in range(n):
        if i % FACTS_AN_ENTITY == 0:
            person = f"{rng.choice(_NAMES)} {rng.choice(_NAMES)} {rng.integers(10**6)}"
        prompt = f"{person} {words[i % len(words)]}"
        answer = f"place {rng.integers(89)}"
        found.append(Fact(id=f"f{i}", entity=person, prompt=prompt, answer=answer))
    return tuple(found)


def _chances(n: int, guessed: float, rng: np.random.Generator) -> FloatArray:
    mean = max(guessed, 0.02)
    return rng.beta(5.0 * mean, 5.0 * (1.0 - mean), n) if guessed else np.full(n, 0.005)


@dataclass(frozen=True, eq=False)
class _World:
    """How the facts of one audit are guessed [n], and known by the original."""

    baseline: Baseline
    state: State
    chance: FloatArray
    other: FloatArray
    """Chance of those that stand for what is not known."""
    seen: FloatArray
    """Chance of facts by which a baseline is checked."""
    known: FloatArray
    forget: tuple[Fact, ...]
    holdout: tuple[Fact, ...]
    rng: np.random.Generator

    @property
    def able(self) -> float:
        """Share of a model's guesses that a reference makes."""
        return 1.0 if self.state == "holds" else 0.1

    def guess(self, chance: FloatArray, models: int = 1) -> FloatArray:
        """K of models that can only guess [models, n]."""
        chance = np.clip(chance, 0.005, 0.95)
        return self.rng.beta(20.0 * chance, 20.0 * (1.0 - chance), (models, chance.size))

    def against_models(self, unlearned: FloatArray) -> tuple[Arms, Arms]:
        """The arms with other models as baseline; nothing is checked by attack."""
        models = 2 if self.baseline is Baseline.RETRAINED else 1
        others = self.guess(self.able * self.chance, models)
        arms = Arms(unlearned, self.known, others, tuple(f.entity for f in self.forget))
        return arms, arms

    def against_null(self, unlearned: FloatArray) -> tuple[Arms, Arms]:
        """The arms with other facts as baseline, with the conditions and without."""
        paired = self.baseline is Baseline.OWN_NULL
        nobody = np.full(self.known.size, 0.005)
        null, original = self.guess(self.other)[0], self.guess(nobody if paired else self.other)[0]
        level, advantage = float(original.mean()), None
        if paired:
            exchanged = self.guess(self.other if self.state == "broken" else self.seen).mean()
            level = float(exchanged)
            advantage = float(self.guess(self.seen).mean() - exchanged)
        elif self.state == "known elsewhere":
            advantage = float(self.guess(self.chance).mean() - self.guess(self.other).mean())
        entities = tuple(fact.entity for fact in self.forget)
        forms = tuple(_KINDS[i % 4] for i in range(self.known.size))
        gated, free = (
            Arms(
                unlearned,
                self.known,
                np.empty((0, self.known.size)),
                entities,
                null=Null(null, original, entities, paired, forms, forms, *checks),
            )
            for checks in ((level, advantage), (None, 0.0))
        )
        return gated, free

    def unsound(self, delta: float) -> Iterator[Message]:
        """Yield what keeps the baseline from one."""
        if self.baseline is Baseline.NEVER_SEEN_FACTS:
            told = sets_told_apart(self.forget, self.holdout)
            if told is not None:
                yield told
        if self.baseline is Baseline.REFERENCE:
            own, theirs = self.guess(self.seen).mean(), self.guess(self.able * self.seen).mean()
            gap = float((self.known - self.able * self.chance).mean())
            if abs(own - theirs) > SHARE_OF_DELTA * delta * gap:
                yield message("reference_knows_otherwise")


def _world(
    baseline: Baseline, state: State, guessed: float, n: int, rng: np.random.Generator
) -> _World:
    nobody = np.full(n, 0.005)
    unlike = state != "holds" and not baseline.of_models
    return _World(
        baseline,
        state,
        chance=_chances(n, guessed, rng),
        other=nobody if unlike else _chances(n, guessed, rng),
        seen=_chances(n, guessed, rng),
        known=rng.beta(19.0, 1.0, n),
        forget=facts(n, _KINDS, rng),
        holdout=facts(n, _OTHER_KINDS if state == "broken" else _KINDS, rng),
        rng=rng,
    )


def _audit(
    world: _World, truth: Truth, delta: float
) -> tuple[list[AttackEvidence], list[AttackEvidence]]:
    """Return the evidence, and the same without the conditions of a baseline."""
    gated: list[AttackEvidence] = []
    free: list[AttackEvidence] = []
    for attack in ATTACKS:
        share = delta if truth == "at the margin" else 0.0
        if truth == "hidden" and attack.family == "relearning":
            share = HIDDEN_SHARE
        clean = world.guess(world.chance)[0]
        unlearned = clean + share * np.maximum(world.known - clean, 0.0)
        found = (
            world.against_models(unlearned)
            if world.baseline.of_models
            else world.against_null(unlearned)
        )
        for into, arms in zip((gated, free), found, strict=True):
            reading, as_is = Reading("probability", arms), attack.family == "none"
            into.append(AttackEvidence(attack, Role.MANDATORY, (reading,), baseline=as_is))
    return gated, free


def cell(
    baseline: Baseline, state: State, guessed: float, n: int, truth: Truth, reps: int, seed: int = 0
) -> Row:
    """Return one row of the table; its random stream depends on its own settings only."""
    names = f"{baseline}{state}{truth}"
    rng = np.random.default_rng([seed, n, round(10 * guessed), *map(ord, names)])
    margins, kept = Margins(), Utility(np.full(400, 0.9), np.full(400, 0.9))
    said: list[Verdict] = []
    free: list[Verdict] = []
    for _ in range(reps):
        world = _world(baseline, state, guessed, n, rng)
        evidence, bare = _audit(world, truth, margins.delta)
        unsound = tuple(world.unsound(margins.delta))
        said.append(decide(evidence, kept, margins, baseline=baseline, unsound=unsound).verdict)
        free.append(decide(bare, kept, margins, baseline=baseline).verdict)
    return Row(
        baseline,
        state,
        guessed,
        n,
        truth,
        reps,
        passed=said.count(Verdict.PASS) / reps,
        failed=said.count(Verdict.FAIL) / reps,
        passed_bare=free.count(Verdict.PASS) / reps,
        failed_bare=free.count(Verdict.FAIL) / reps,
    )


def grid(reps: int, seed: int = 0, only: Sequence[str] = ()) -> Iterator[Row]:
    """Yield every row; what is broken is so only where facts can be guessed."""
    for baseline, state in CASES:
        if only and str(baseline) not in only:
            continue
        for guessed in (0.0, GUESSED) if state == "holds" else (GUESSED,):
            for n in SIZES:
                for truth in TRUTHS:
                    yield cell(baseline, state, guessed, n, truth, reps, seed)


HEAD = (
    "| baseline | its assumption | K guessed | n | truth | PASS % | FAIL % | without conditions "
    "PASS % | FAIL % | wrong ones stopped % | reps |\n"
    "| --- | --- | --: | --: | --- | --: | --: | --: | --: | --: | --: |"
)


def line(row: Row) -> str:
    """Return a row of the Markdown table, in per cent."""
    shares = (row.passed, row.failed, row.passed_bare, row.failed_bare)
    stopped = f"{100 * (1 - row.wrong / row.wrong_bare):.0f}" if row.wrong_bare else "-"
    figures = " | ".join(f"{100 * share:.1f}" for share in shares)
    return (
        f"| {row.baseline} | {row.state} | {row.guessed:.1f} | {row.n} | {row.truth} | {figures} "
        f"| {stopped} | {row.reps} |"
    )


def main() -> None:
    """Run the grid and print each row as it comes."""
    parser = argparse.ArgumentParser(description="Monte-Carlo of verdicts by baseline")
    parser.add_argument("--reps", type=int, default=100, help="simulated audits a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=sorted({str(b) for b, _ in CASES}),
        help="baselines",
    )
    arguments = parser.parse_args()
    print(HEAD)
    for row in grid(arguments.reps, arguments.seed, arguments.only):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
