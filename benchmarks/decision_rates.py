"""How often the whole decision errs, over families of attacks, metrics, scopes and kinds of leak.

    python -m benchmarks.decision_rates --reps 200

Each audit has seven attacks of four families (the model as it is, four roundings that are nearly
copies of it, a prefilled answer, relearning), two deciding metrics (a probability, and a judge that
says yes or no), and two retrained models. The unlearned model's truth is set, and PASS and FAIL are
counted under today's rules and under the former ones (equal weights over the measured attacks,
leaks bounded).

Truths:

- forgotten: like a retrained model under every attack; each FAIL is wrong, also where no leak at
  all is allowed.
- at the margin: residual exactly delta under every attack; each PASS is wrong, and each FAIL.
- hidden: as forgotten, but relearning brings 30 % back; each PASS is wrong, FAIL is power.

Leaks: `diffuse` keeps a share of every fact's gap, `sparse` keeps that share of the facts whole. A
greedy answer is given or not, so to the judge each leak is sparse.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auditor.core.attack_id import AttackId
from auditor.core.roles import Role
from auditor.statistics import (
    FORMER,
    TODAY,
    Arms,
    AttackEvidence,
    Margins,
    Reading,
    Rules,
    Scope,
    Verdict,
)
from auditor.statistics.verdict import bare_verdict

FloatArray = NDArray[np.float64]
Leak = Literal["diffuse", "sparse"]
Truth = Literal["forgotten", "at the margin", "hidden"]

SCOPES: tuple[Scope, ...] = ("census", "sampled")
SIZES = (20, 40, 100, 400)
GUESSED = (0.0, 0.3)
TRUTHS: tuple[Truth, ...] = ("forgotten", "at the margin", "hidden")
FACTS_AN_ENTITY = 4
SEEDS = 2
ATTACKS = (
    AttackId("none/as-is", "full precision"),
    *(AttackId("quantization/rounding", grid) for grid in ("int8", "nf4", "fp4", "gptq")),
    AttackId("prompting/prefill", "1 token"),
    AttackId("relearning/held-out-facts", "by attribute"),
)
HIDDEN_SHARE = 0.3
_OF_METRICS: dict[Leak, tuple[Leak, Leak]] = {
    "diffuse": ("diffuse", "sparse"),
    "sparse": ("sparse", "sparse"),
}
"""Kind of leak to how each metric sees it."""


@dataclass(frozen=True)
class Row:
    """Shares of `reps` audits, in [0, 1]; n counts facts, or entities in sampled scope."""

    scope: Scope
    leak: Leak
    guessed: float
    n: int
    truth: Truth
    leaked_facts: int | None
    reps: int
    passed: float
    failed: float
    passed_formerly: float
    failed_formerly: float


@dataclass(frozen=True, eq=False)
class _Set:
    """How facts are known: the chance with which each is guessed, and by whom it is kept."""

    guessed: FloatArray
    original: FloatArray
    entities: tuple[str, ...]


def draw_audit(
    n: int,
    leak: Leak,
    guessed: float,
    truth: Truth,
    scope: Scope,
    rng: np.random.Generator,
    delta: float = Margins().delta,
) -> list[AttackEvidence]:
    """Returns the evidence of one audit whose truth is known."""
    facts = n * (FACTS_AN_ENTITY if scope == "sampled" else 1)
    entities = tuple(str(i // FACTS_AN_ENTITY) for i in range(facts))
    chance = rng.beta(1.5, 3.5, facts) if guessed else np.full(facts, 0.005)
    world = _Set(chance, rng.beta(19.0, 1.0, facts), entities)
    share = delta if truth == "at the margin" else 0.0
    brought_back = HIDDEN_SHARE if truth == "hidden" else share
    kept, said = _kept(leak, facts, share, rng), _kept("sparse", facts, share, rng)
    known = [_models(world, kept, rng), _models(world, said, rng)]
    relearned = [_kept(each, facts, brought_back, rng) for each in _OF_METRICS[leak]]
    plan = []
    for attack in ATTACKS:
        family = attack.family
        if family in ("none", "quantization"):
            readings = [_rounded(models, rng) for models in known]
        else:
            of = relearned if family == "relearning" else (kept, said)
            readings = [_models(world, each, rng) for each in of]
        plan.append(
            AttackEvidence(
                attack,
                Role.MANDATORY,
                (
                    Reading("probability", _arms(readings[0], entities)),
                    Reading("said", _arms(_judged(readings[1], rng), entities)),
                ),
                baseline=family == "none",
            )
        )
    return plan


def _kept(leak: Leak, facts: int, share: float, rng: np.random.Generator) -> FloatArray:
    """Share of each fact's gap that the unlearned model has kept [n]; its mean is `share`."""
    if leak == "diffuse":
        return np.full(facts, share)
    kept = np.zeros(facts)
    kept[rng.permutation(facts)[: round(share * facts)]] = 1.0
    return kept


def _models(world: _Set, kept: FloatArray, rng: np.random.Generator) -> FloatArray:
    """K of the unlearned, the original and the retrained models [2 + S, n]."""
    shape = (1 + SEEDS, world.guessed.size)
    clean = rng.beta(20.0 * world.guessed, 20.0 * (1.0 - world.guessed), shape)
    unlearned = clean[0] + kept * np.maximum(world.original - clean[0], 0.0)
    return np.vstack([unlearned, world.original, clean[1:]])


def _rounded(models: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same models, as a rounding changes them a little."""
    return np.clip(models + 0.02 * rng.standard_normal(models.shape), 0.0, 1.0)


def _judged(models: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Whether each model says the answer [2 + S, n], with the probability that it gives it."""
    return (rng.random(models.shape) < models).astype(np.float64)


def _arms(models: FloatArray, entities: tuple[str, ...]) -> Arms:
    return Arms(models[0], models[1], models[2:], entities)


def cell(
    scope: Scope,
    leak: Leak,
    guessed: float,
    n: int,
    truth: Truth,
    reps: int,
    leaked_facts: int | None = None,
    seed: int = 0,
) -> Row:
    """Returns one row of the table; its random stream depends on its own settings only."""
    key = [seed, n, round(guessed * 10), *(ord(letter) for letter in f"{scope}{leak}{truth}")]
    rng = np.random.default_rng(key)
    margins = Margins(leaked_facts=leaked_facts)
    said: dict[Rules, list[Verdict]] = {TODAY: [], FORMER: []}
    for _ in range(reps):
        plan = draw_audit(n, leak, guessed, truth, scope, rng)
        for rules, verdicts in said.items():
            verdicts.append(bare_verdict(plan, margins, scope, rules))
    now, formerly = said[TODAY], said[FORMER]
    return Row(
        scope,
        leak,
        guessed,
        n,
        truth,
        leaked_facts,
        reps,
        passed=now.count(Verdict.PASS) / reps,
        failed=now.count(Verdict.FAIL) / reps,
        passed_formerly=formerly.count(Verdict.PASS) / reps,
        failed_formerly=formerly.count(Verdict.FAIL) / reps,
    )


def grid(reps: int, seed: int = 0, scopes: Sequence[Scope] = SCOPES) -> Iterator[Row]:
    """Yields every row of some scopes."""
    leaks: tuple[Leak, ...] = ("diffuse", "sparse")
    for scope in scopes:
        for guessed in GUESSED:
            for n in SIZES:
                for leak in leaks:
                    for truth in TRUTHS:
                        if truth != "forgotten":
                            yield cell(scope, leak, guessed, n, truth, reps, seed=seed)
                        elif leak == "diffuse":
                            for allowed in (None, 0) if scope == "census" else (None,):
                                yield cell(scope, leak, guessed, n, truth, reps, allowed, seed=seed)


def wrong(row: Row) -> float:
    """Returns the largest share of wrong verdicts that a row shows under today's rules."""
    return {
        "forgotten": row.failed,
        "at the margin": max(row.passed, row.failed),
        "hidden": row.passed,
    }[row.truth]


HEAD = (
    "| scope | K_R | n | truth | leak | leaks allowed | PASS % | FAIL % | formerly PASS % "
    "| formerly FAIL % | reps |\n"
    "| --- | --: | --: | --- | --- | --- | --: | --: | --: | --: | --: |"
)


def line(row: Row) -> str:
    """Returns a row of the Markdown table, in per cent."""
    shares = (row.passed, row.failed, row.passed_formerly, row.failed_formerly)
    figures = " | ".join(f"{100 * share:.1f}" for share in shares)
    leak = "none" if row.truth == "forgotten" else row.leak
    allowed = "10 %" if row.leaked_facts is None else f"{row.leaked_facts}"
    return (
        f"| {row.scope} | {row.guessed:.1f} | {row.n} | {row.truth} | {leak} | {allowed} "
        f"| {figures} | {row.reps} |"
    )


def main() -> None:
    """Runs the grid and prints each row as it comes."""
    parser = argparse.ArgumentParser(description="Monte-Carlo of the whole decision")
    parser.add_argument("--reps", type=int, default=100, help="simulated audits a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scope", nargs="*", choices=SCOPES, default=SCOPES)
    arguments = parser.parse_args()
    print(HEAD)
    for row in grid(arguments.reps, arguments.seed, arguments.scope):
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
