"""How much may be put back before a test notices: facts spliced into a retrained model.

    python -m benchmarks.splice --reps 200

The published TOFU logs (Phi-1.5, arXiv 2401.06121) hold every fact's loss under the original and
two retrained models. A model that kept a known share of the facts whole is one retrained model with
that share of its facts replaced by the original's figures. The field's test (KS on the truth ratio,
p > 0.05 is read as "forgotten") and this package's rule, without attack, judge it against the other
retrained model.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.core.attack_id import AttackId
from auditor.core.roles import Role
from auditor.statistics import (
    Arms,
    AttackEvidence,
    Margins,
    Reading,
    Verdict,
    forget_quality,
)
from auditor.statistics.verdict import bare_verdict
from benchmarks.false_certification import TOFU_LOGS

FloatArray = NDArray[np.float64]

SHARES = (0.0, 0.01, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0)
SIZES = (20, 40, 100, 300)
FACTS = 300
RETRAINED, OTHER, ORIGINAL = "retain90_wd0.01", "retain90_wd0", "full_wd0.01"


@dataclass(frozen=True)
class Row:
    """Shares of `reps` audits of n facts, of which a share was put back."""

    n: int
    share: float
    reps: int
    ks_forgotten: float
    passed: float
    failed: float
    strict_passed: float
    """PASS where no leak is allowed."""
    strict_failed: float


class Logs:
    """Figures of the published models, per forget fact."""

    def __init__(self, folder: Path = TOFU_LOGS) -> None:
        self._logs = {
            name: json.loads((folder / f"ft_epoch5_lr2e-05_phi_{name}.json").read_text())[
                "eval_log_forget.json"
            ]
            for name in (RETRAINED, OTHER, ORIGINAL)
        }

    def knowledge(self, model: str) -> FloatArray:
        """K = exp(-loss of the answer) per fact [300]."""
        return np.exp(-self._figure(model, "avg_gt_loss"))

    def truth_ratio(self, model: str) -> FloatArray:
        """Probability of wrong answers over that of the paraphrased true one [300]."""
        wrong = self._figure(model, "average_perturb_loss")
        return np.exp(self._figure(model, "avg_paraphrased_loss") - wrong)

    def _figure(self, model: str, name: str) -> FloatArray:
        values = self._logs[model][name]
        return np.array([np.mean(values[str(i)]) for i in range(FACTS)], dtype=np.float64)


def cell(logs: Logs, n: int, share: float, reps: int, seed: int = 0) -> Row:
    """Returns one row; facts and those that are put back are drawn anew for each audit."""
    rng = np.random.default_rng([seed, n, round(1000 * share)])
    known = {name: logs.knowledge(name) for name in (RETRAINED, OTHER, ORIGINAL)}
    ratios = {name: logs.truth_ratio(name) for name in (RETRAINED, OTHER, ORIGINAL)}
    ks: list[bool] = []
    usual: list[Verdict] = []
    strict: list[Verdict] = []
    for _ in range(reps):
        facts = rng.permutation(FACTS)[:n]
        back = np.arange(n) < round(share * n)
        k = {name: values[facts] for name, values in known.items()}
        ratio = {name: values[facts] for name, values in ratios.items()}
        spliced = np.where(back, ratio[ORIGINAL], ratio[OTHER])
        ks.append(forget_quality(spliced, ratio[RETRAINED]).p_value > 0.05)
        arms = Arms(np.where(back, k[ORIGINAL], k[OTHER]), k[ORIGINAL], k[RETRAINED][np.newaxis])
        as_is = AttackEvidence(
            AttackId("none/as-is", ""),
            Role.MANDATORY,
            (Reading("probability", arms),),
            baseline=True,
        )
        usual.append(bare_verdict([as_is], Margins(), "census"))
        strict.append(bare_verdict([as_is], Margins(leaked_facts=0), "census"))
    return Row(
        n,
        share,
        reps,
        float(np.mean(ks)),
        usual.count(Verdict.PASS) / reps,
        usual.count(Verdict.FAIL) / reps,
        strict.count(Verdict.PASS) / reps,
        strict.count(Verdict.FAIL) / reps,
    )


def grid(logs: Logs, reps: int, seed: int = 0) -> Iterator[Row]:
    """Yields every row."""
    for n in SIZES:
        for share in SHARES:
            yield cell(logs, n, share, reps, seed)


def table(rows: Iterable[Row]) -> str:
    """Returns the rows as a Markdown table, in per cent."""
    lines = [
        "| n | put back | KS says forgotten % | PASS % | FAIL % | PASS %, none may leak "
        "| FAIL %, none may leak | reps |",
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        shares = (row.ks_forgotten, row.passed, row.failed, row.strict_passed, row.strict_failed)
        figures = " | ".join(f"{100 * share:.1f}" for share in shares)
        lines.append(f"| {row.n} | {100 * row.share:g} % | {figures} | {row.reps} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the grid and prints it."""
    parser = argparse.ArgumentParser(description="Facts spliced back into a retrained model")
    parser.add_argument("--reps", type=int, default=200, help="simulated audits a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--logs", type=Path, default=TOFU_LOGS, help="folder of the TOFU logs")
    arguments = parser.parse_args()
    print(table(grid(Logs(arguments.logs), arguments.reps, arguments.seed)))


if __name__ == "__main__":
    main()
