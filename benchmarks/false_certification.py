"""How often the rule certifies a model that still knows too much (Monte-Carlo).

    python -m benchmarks.false_certification --reps 2000

Each row draws audits whose true residual is exactly rho and counts PASS and FAIL of one
as-is attack: residual, leak-rate and sensitivity tests of `auditor.statistics`, with the
retain set taken as kept. At rho = delta = 0.10, PASS must stay at or below 5 %. Two usual
rules run beside it: a Kolmogorov-Smirnov test with p > 0.05, and a paired-t upper bound.

Worlds (all with K in [0, 1] and one retrained model):

- testbed: K_O ~ Beta(19, 1), mean .95; K_R ~ Beta(1.5, 18.5), mean .075, drawn afresh for
  every retrained model, so its noise is as large as its spread over facts.
- tofu: facts drawn with replacement from published Phi-1.5 logs (K = exp(-avg_gt_loss),
  O = full_wd0.01); the two retrained models swap roles at random per fact, so that one of
  them, taken as U, has residual exactly 0.

Leaks: `diffuse` keeps rho of every fact's gap, `sparse` keeps rho of the facts wholly.
Scope: the clustered rows draw authors with 20 facts each, whose leaks go together (beta-
binomial, intra-class correlation .3); n counts authors, and census scope is shown to be
wrong there.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from auditor.statistics import Arms, Margins, Scope, forget_quality, log_e_value, mean_lower
from auditor.statistics.seeds import leak_of

FloatArray = NDArray[np.float64]
Leak = Literal["diffuse", "sparse", "clustered"]
World = Callable[[int, np.random.Generator], tuple[FloatArray, FloatArray, FloatArray]]

SIZES = (20, 40, 100, 400)
RESIDUALS = (0.0, 0.05, 0.10, 0.30)
AUTHORS = (20, 40, 80)
FACTS_AN_AUTHOR = 20
RETENTION_ICC = 0.3
TOFU_LOGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "tofu" / "logs"


@dataclass(frozen=True)
class Row:
    """Shares of `reps` audits, in [0, 1]; n counts facts, or authors in sampled scope."""

    world: str
    leak: Leak
    scope: Scope
    n: int
    rho: float
    reps: int
    passed: float
    failed: float
    ks_passed: float
    t_passed: float


def testbed(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns K of O, of R and of a second retrained model [n each]."""
    return rng.beta(19.0, 1.0, n), rng.beta(1.5, 18.5, n), rng.beta(1.5, 18.5, n)


def tofu_world(logs: Path = TOFU_LOGS) -> World:
    """Returns the world of the published TOFU logs."""
    original = tofu_knowledge(logs, "full_wd0.01")
    retrained = np.stack([tofu_knowledge(logs, f"retain90_{wd}") for wd in ("wd0.01", "wd0")])

    def draw(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        facts, first = rng.integers(0, original.size, n), rng.integers(0, 2, n)
        return original[facts], retrained[first, facts], retrained[1 - first, facts]

    return draw


def tofu_knowledge(logs: Path, model: str, part: str = "eval_log_forget.json") -> FloatArray:
    """Returns K = exp(-avg_gt_loss) per fact [300], in the order of the log."""
    log = json.loads((logs / f"ft_epoch5_lr2e-05_phi_{model}.json").read_text())
    losses = [log[part]["avg_gt_loss"][str(i)] for i in range(300)]
    return np.exp(-np.array(losses, dtype=np.float64))


def audit_once(
    world: World, leak: Leak, scope: Scope, n: int, rho: float, rng: np.random.Generator
) -> tuple[bool, bool, bool, bool]:
    """Returns PASS and FAIL of the rule, then PASS of the KS test and of the paired-t bound."""
    facts = n * FACTS_AN_AUTHOR if leak == "clustered" else n
    original, retrained, clean = world(facts, rng)
    kept = _kept(leak, facts, rho, rng)
    unlearned = np.clip(clean + kept * (original - clean), 0.0, 1.0)
    entities = tuple(str(i // FACTS_AN_AUTHOR) for i in range(facts))
    arms = Arms(unlearned, original, retrained[None], entities)
    margins = Margins()
    contrast = arms.contrast(scope)
    needed = np.log(1.0 / margins.alpha)
    gap = mean_lower(contrast.g, margins.alpha)
    z = contrast.against(margins.delta)
    passed = (
        gap >= margins.gap_required(float(contrast.g.mean()))
        and log_e_value(z) >= needed
        and leak_of(arms, margins, scope).within(margins.leak_limit)
    )
    failed = gap >= margins.minimum_gap and log_e_value(-z) >= needed
    ks_passed = forget_quality(unlearned, retrained).p_value > 0.05
    spread = float(z.std(ddof=1)) / np.sqrt(z.size)
    t_bound = float(z.mean()) + float(stats.t.ppf(1.0 - margins.alpha, z.size - 1)) * spread
    return passed, failed, ks_passed, t_bound < 0.0


def _kept(leak: Leak, facts: int, rho: float, rng: np.random.Generator) -> FloatArray:
    if leak == "diffuse" or rho == 0.0:
        return np.full(facts, rho)
    if leak == "sparse":
        return (rng.random(facts) < rho).astype(np.float64)
    strength = 1.0 / RETENTION_ICC - 1.0
    authors = rng.beta(rho * strength, (1.0 - rho) * strength, facts // FACTS_AN_AUTHOR)
    return (rng.random(facts) < np.repeat(authors, FACTS_AN_AUTHOR)).astype(np.float64)


def cell(
    name: str, world: World, leak: Leak, scope: Scope, n: int, rho: float, reps: int, seed: int
) -> Row:
    """Returns one row of the table; its random stream depends on its own settings only."""
    key = [seed, n, round(rho * 1000), *(ord(letter) for letter in f"{name}{leak}{scope}")]
    rng = np.random.default_rng(key)
    shares = np.mean([audit_once(world, leak, scope, n, rho, rng) for _ in range(reps)], axis=0)
    return Row(name, leak, scope, n, rho, reps, *(float(share) for share in shares))


def grid(reps: int, seed: int = 0, logs: Path = TOFU_LOGS) -> list[Row]:
    """Returns every row; the TOFU rows are left out where the logs are absent."""
    worlds: list[tuple[str, World]] = [("testbed", testbed)]
    if logs.is_dir():
        worlds.append(("tofu", tofu_world(logs)))
    leaks: tuple[Leak, ...] = ("diffuse", "sparse")
    rows = [
        cell(name, world, leak, "census", n, rho, reps, seed)
        for name, world in worlds
        for leak in leaks
        for n in SIZES
        for rho in RESIDUALS
    ]
    scopes: tuple[Scope, ...] = ("census", "sampled")
    rows += [
        cell("testbed", testbed, "clustered", scope, n, rho, reps, seed)
        for scope in scopes
        for n in AUTHORS
        for rho in (0.0, 0.10)
    ]
    return rows


def table(rows: Iterable[Row]) -> str:
    """Returns the rows as a Markdown table, in per cent."""
    lines = [
        "| world | leak | scope | n | rho | PASS % | FAIL % | KS p>.05 % | paired-t % | reps |",
        "| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        shares = (row.passed, row.failed, row.ks_passed, row.t_passed)
        figures = " | ".join(f"{100 * share:.1f}" for share in shares)
        lines.append(
            f"| {row.world} | {row.leak} | {row.scope} | {row.n} | {row.rho:.2f} "
            f"| {figures} | {row.reps} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the grid and prints it."""
    parser = argparse.ArgumentParser(description="Monte-Carlo of the verdict rule")
    parser.add_argument("--reps", type=int, default=1000, help="simulated audits a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--logs", type=Path, default=TOFU_LOGS, help="folder of the TOFU logs")
    arguments = parser.parse_args()
    if not arguments.logs.is_dir():
        print(f"TOFU logs not found at {arguments.logs}: those rows are left out.\n")
    print(table(grid(arguments.reps, arguments.seed, arguments.logs)))


if __name__ == "__main__":
    main()
