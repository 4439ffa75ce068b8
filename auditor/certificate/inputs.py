"""Inputs of a verdict: evidence, policy and facts.

They hold no model and no attack.

An audit has them; verification loads the same ones from a certificate and its evidence store, and
comes to the same decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from auditor.certificate.parts import ByArm
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.baselines import Baseline
from auditor.core.facts import Fact, SetName
from auditor.models.provenance import Provenance
from auditor.policy import Policy
from auditor.statistics import AttackEvidence, ControlOutcome
from auditor.statistics.rules import TODAY, Rules
from auditor.store.table import EvidenceTable


@dataclass(frozen=True)
class DecisionInputs:
    """Inputs on which a verdict depends."""

    policy: Policy
    arms: tuple[Arm, ...]
    """Arms: unlearned, original, then every retrained model."""
    sets: Mapping[SetName, Sequence[Fact]]
    deciding: tuple[str, ...]
    """Names of the deciding metrics, the primary one first."""
    reported: tuple[str, ...]
    """Names of the metrics that are shown beside them."""
    cross_checked: tuple[str, ...]
    """Those of them that must not contradict the deciding ones: all, but none in a certificate of
    schema 3, whose releases did not ask it."""
    attacks: tuple[AttackEvidence, ...]
    """Evidence of all attacks; the model as it is is one of them."""
    table: EvidenceTable
    baseline: Baseline = Baseline.RETRAINED
    """Baseline against which residual knowledge is measured."""
    earlier_audits: int = 0
    """Audits of the same unlearned model on other facts or with other seeds."""
    built: Mapping[str, Provenance] = field(default_factory=dict)
    """Provenance of baselines that were built, by arm."""
    from_logs: bool = False
    """Whether logs stand in for the models, so that no file of a model was hashed."""
    experts: bool = False
    """Whether a model is a mixture of experts, of which some demanded levels do not apply."""
    rules: Rules = TODAY
    """Of the release under which the certificate was made."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, each once, the primary one first."""
        return tuple(dict.fromkeys((*self.deciding, *self.reported)))

    @property
    def retrained(self) -> list[Arm]:
        """The retrained arms, in order."""
        return [arm for arm in self.arms if arm.is_retrained]

    @property
    def as_is(self) -> AttackEvidence:
        """The model as it is."""
        return next(attack for attack in self.attacks if attack.baseline)

    def matrix(
        self, attack: AttackEvidence, arms: Sequence[str], set_name: SetName
    ) -> npt.NDArray[np.float64] | None:
        """Return K of the leading metric as [arms, facts].

        None means that some of it is missing.
        """
        facts = [fact.id for fact in self.sets[set_name]]
        return self.table.matrix(attack.id, arms, set_name, attack.metric, facts)

    def means(self, attack: AttackEvidence, set_name: SetName) -> dict[str, ByArm]:
        """Return mean K by metric and arm.

        A metric that read nothing is absent.
        """
        means: dict[str, ByArm] = {}
        for metric in dict.fromkeys((*self.metrics, *(r.metric for r in attack.readings))):
            for arm in attack.jobs:
                known = self.table.knowledge(attack.id, arm, set_name, metric)
                if known:
                    means.setdefault(metric, {})[arm] = float(np.mean(list(known.values())))
        return means

    def with_controls(self, outcomes: Mapping[AttackId, ControlOutcome]) -> "DecisionInputs":
        """The same with what attacks made of their positive controls."""
        attacks = tuple(replace(a, control=outcomes.get(a.id, a.control)) for a in self.attacks)
        return replace(self, attacks=attacks)
