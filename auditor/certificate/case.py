"""What a verdict is decided on: evidence, policy and facts, without any model or attack.

An audit makes a case of its outcome; whoever verifies a certificate makes the same case of the
certificate and the evidence store. The same decision follows from both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditor.core.facts import Fact, SetName
from auditor.evidence.table import EvidenceTable
from auditor.policy import AS_IS, Policy
from auditor.statistics import Control, Status


@dataclass(frozen=True)
class Trial:
    """One attack at one level."""

    attack: str
    variant: str
    mandatory: bool
    waived: bool
    reported: bool
    """It counts towards no verdict."""
    metric: str
    """The measure of K that decides on it."""
    status: Status
    reason: str | None
    jobs: Mapping[str, Sequence[str]]
    """Arm to keys of its evidence."""
    shortfall: str | None = None
    """How it falls short of the policy's budget."""

    @property
    def label(self) -> str:
        """``family/name variant``."""
        return f"{self.attack} {self.variant}".strip()


@dataclass(frozen=True)
class Case:
    """All that a verdict depends on."""

    policy: Policy
    arms: tuple[str, ...]
    sets: Mapping[SetName, Sequence[Fact]]
    metrics: tuple[str, ...]
    """The primary metric, then those that are reported."""
    trials: tuple[Trial, ...]
    """The model as it is among them."""
    table: EvidenceTable
    planted: Mapping[str, Control]
    """Label of a mandatory attack to what it made of the suppression planted for it."""

    @property
    def retrained(self) -> list[str]:
        """Names of the retrained arms, in order."""
        return [arm for arm in self.arms if arm.startswith("retrained")]

    @property
    def compared(self) -> list[str]:
        """The arms in the order in which evidence is compared: unlearned, original, retrained."""
        return ["unlearned", "original", *self.retrained]

    @property
    def as_is(self) -> Trial:
        """The model as it is."""
        return next(trial for trial in self.trials if trial.attack == AS_IS)

    def matrix(
        self, trial: Trial, arms: Sequence[str], set_name: SetName
    ) -> npt.NDArray[np.float64] | None:
        """K of the measure that decides as [arms, facts]; None where any of it is missing."""
        return self.table.matrix(
            trial.attack,
            trial.variant,
            arms,
            set_name,
            trial.metric,
            [fact.id for fact in self.sets[set_name]],
        )

    def means(self, trial: Trial, set_name: SetName) -> dict[str, dict[str, float]]:
        """Metric to mean K by arm; a metric that read nothing is absent."""
        means: dict[str, dict[str, float]] = {}
        for metric in dict.fromkeys((*self.metrics, trial.metric)):
            for arm in trial.jobs:
                known = self.table.knowledge(trial.attack, trial.variant, arm, set_name, metric)
                if known:
                    means.setdefault(metric, {})[arm] = float(np.mean(list(known.values())))
        return means
