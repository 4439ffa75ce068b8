"""The sentences of a certificate on its scope, its threats and its limitations."""

from collections.abc import Sequence
from typing import Any

from auditor.attack import Attack
from auditor.certificate.schema import ThreatPart
from auditor.documentation import documentation
from auditor.engine.audit import VariantOutcome
from auditor.engine.preparation import Prepared
from auditor.statistics import Decision


def scope_statement(prepared: Prepared) -> str:
    """What the claim is about."""
    facts = prepared.sets.forget
    subjects = len({fact.subject for fact in facts})
    if prepared.plan.policy.scope == "census":
        return (
            f"Census: the claim is about these {len(facts)} facts on {subjects} subject(s) and no "
            "others. Each fact counts once."
        )
    return (
        f"Sampled: the {subjects} audited subjects stand for a larger forget set; each subject "
        f"counts once, whatever its number of facts ({len(facts)} in all)."
    )


def threat(attack: Attack[Any]) -> ThreatPart:
    """What an attack stands for, from its docstring."""
    said = documentation(type(attack))
    return ThreatPart(
        attack=attack.name,
        family=attack.family,
        summary=" ".join((said.summary, *said.text)),
        threat_model=said.threat_model,
        access=said.access,
        cost=said.cost,
        leak=said.leak,
        source=said.source,
    )


def limitations(
    prepared: Prepared, decision: Decision, outcomes: Sequence[VariantOutcome]
) -> tuple[str, ...]:
    """What the certificate does not say."""
    families = sorted(
        {v.variant.attack.family for v in outcomes if v.status == "measured"} - {"none"}
    )
    found = [
        "Attacks give lower bounds: an attack that was not run, or a larger budget, may bring "
        "back what these did not. Forgetting cannot be proved from weights (arXiv 2110.11891).",
        f"Families of attack run here: {', '.join(families) or 'none'}. Others were not tried.",
        "Knowledge is what the primary probe "
        f"({prepared.plan.probes.primary}) measures on the given prompts; other phrasings may "
        "show more.",
    ]
    if decision.baseline_claim:
        found.append(f"Residual knowledge is {decision.baseline_claim}.")
    if prepared.plan.policy.scope == "census":
        found.append("Nothing is said about facts or subjects outside the audited set.")
    found.append(
        "The audit trusts its inputs: that the retrained models never saw the forget set, and "
        "that the facts are what should be forgotten."
    )
    found.append("This is not a statement of compliance with any law.")
    return tuple(found)
