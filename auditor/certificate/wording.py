"""The sentences of a certificate on its scope, its threats and its limitations."""

from collections.abc import Iterable

from auditor.attack import AnyAttack
from auditor.certificate.case import Case
from auditor.certificate.schema import ScopePart, SetPart, ThreatPart
from auditor.statistics import Decision


def scope_part(case: Case, decision: Decision, attacks: Iterable[type[AnyAttack]]) -> ScopePart:
    """What the claim is about, and against whom it holds.

    Args:
        case: what was decided on.
        decision: the verdict.
        attacks: those that were measured, each once.
    """
    primary, *reported = case.metrics
    return ScopePart(
        scope=case.policy.scope,
        statement=_statement(case),
        sets={
            name: SetPart(facts=len(facts), entities=len({fact.entity for fact in facts}))
            for name, facts in case.sets.items()
        },
        primary_metric=primary,
        reported_metrics=tuple(reported),
        baseline_claim=decision.baseline_claim,
        threats=tuple(_threat(attack) for attack in attacks),
    )


def _statement(case: Case) -> str:
    """What the claim is about."""
    facts = case.sets["forget"]
    entities = len({fact.entity for fact in facts})
    if case.policy.scope == "census":
        return (
            f"Census: the claim is about these {len(facts)} facts on {entities} entity(s) and no "
            "others. Each fact counts once."
        )
    return (
        f"Sampled: the {entities} audited entities stand for a larger forget set; each entity "
        f"counts once, whatever its number of facts ({len(facts)} in all)."
    )


def _threat(attack: type[AnyAttack]) -> ThreatPart:
    """What an attack stands for."""
    return ThreatPart(
        attack=attack.name,
        family=attack.family,
        summary=attack.summary,
        threat_model=attack.threat_model or None,
        access=attack.access or None,
        cost=attack.cost or None,
        leak=attack.leak or None,
        source=attack.source or None,
    )


def limitations(case: Case, decision: Decision) -> tuple[str, ...]:
    """What the certificate does not say."""
    measured = {trial.attack for trial in case.trials if trial.jobs}
    families = sorted({name.partition("/")[0] for name in measured} - {"none"})
    found = [
        "Attacks give lower bounds: an attack that was not run, or a larger budget, may bring "
        "back what these did not. Forgetting cannot be proved from weights (arXiv 2110.11891).",
        f"Families of attack run here: {', '.join(families) or 'none'}. Others were not tried.",
        "Knowledge is what the primary metric "
        f"({case.metrics[0]}) measures on the given prompts; other phrasings may "
        "show more.",
    ]
    if decision.baseline_claim:
        found.append(f"Residual knowledge is {decision.baseline_claim}.")
    if case.policy.scope == "census":
        found.append("Nothing is said about facts or entities outside the audited set.")
    found.append(
        "The audit trusts its inputs: that the retrained models never saw the forget set, and "
        "that the facts are what should be forgotten."
    )
    found.append("This is not a statement of compliance with any law.")
    return tuple(found)
