"""The facts on which the unlearned model knows most beyond the retrained ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from auditor.attack import Attack
from auditor.certificate.judgement import retrained_arms
from auditor.certificate.schema import WorstFactPart
from auditor.engine.audit import AuditOutcome

SHOWN = 25
"""Facts in the certificate."""


def worst_facts(outcome: AuditOutcome, count: int = SHOWN) -> tuple[WorstFactPart, ...]:
    """Facts by K_U minus the mean K_R, each under the attack that brings out most of it.

    Only attacks that use the audit's own probes are compared; others have another scale.

    Args:
        outcome: a finished audit.
        count: how many are wanted; facts on which U knows no more than R are left out.
    """
    prepared = outcome.prepared
    facts = prepared.sets.forget
    arms = ["unlearned", "original", *retrained_arms(outcome)]
    attacks: list[Attack[Any]] = []
    tables = []
    for variant in outcome.variants:
        attack = variant.variant.attack
        if variant.status != "measured" or attack.probe is not None:
            continue
        table = outcome.table.matrix(
            attack.name,
            attack.variant,
            arms,
            "forget",
            prepared.plan.probes.primary,
            [fact.id for fact in facts],
        )
        if table is not None:
            attacks.append(attack)
            tables.append(table)
    if not tables:
        return ()
    excess = np.stack([t[0] - t[2:].mean(axis=0) for t in tables])  # [attacks, facts]
    strongest = excess.argmax(axis=0)
    most = excess.max(axis=0)
    order = [int(i) for i in np.argsort(-most, kind="stable") if most[i] > 0][:count]
    return tuple(
        _part(outcome, arms, attacks[strongest[i]], tables[strongest[i]][:, i], i) for i in order
    )


def _part(
    outcome: AuditOutcome, arms: Sequence[str], attack: Attack[Any], column: np.ndarray, index: int
) -> WorstFactPart:
    fact = outcome.prepared.sets.forget[index]
    said = {
        arm: outcome.table.answers(attack.name, attack.variant, arm, "forget").get(fact.id)
        for arm in arms
    }
    return WorstFactPart(
        fact=fact.id,
        subject=fact.subject,
        prompt=fact.prompt,
        answer=fact.answer,
        attack=f"{attack.name} {attack.variant}",
        k={arm: float(k) for arm, k in zip(arms, column, strict=True)},
        said={arm: answer for arm, answer in said.items() if answer is not None},
    )
