"""The sentences of a certificate: its claim, its scope, its limitations."""

from collections.abc import Sequence
from typing import Any

from auditor.attack import Attack
from auditor.certificate.schema import ThreatPart
from auditor.documentation import documentation
from auditor.engine.audit import VariantOutcome
from auditor.engine.preparation import Prepared
from auditor.statistics import Decision, Verdict


def claim(prepared: Prepared, decision: Decision) -> str:
    """The one sentence that the certificate stands for."""
    policy = prepared.plan.policy
    under = "under the attacks listed here, at their budget,"
    margin = f"margin {policy.delta:g} at confidence {1 - policy.alpha:.0%}"
    return {
        Verdict.PASS: f"Under the mandatory attacks listed here, at their budget, the forget set "
        f"is no more extractable from the unlearned model than from a model that never saw it, "
        f"within {margin}.",
        Verdict.FAIL: f"The forget set is more extractable from the unlearned model than from a "
        f"model that never saw it: {under} residual knowledge exceeds the {margin}.",
        Verdict.INCONCLUSIVE: f"The evidence supports neither that the forget set is gone nor that "
        f"it is still there: {under} nothing could be concluded for the {margin}.",
        Verdict.NOT_AUDITABLE: "Nothing can be said about forgetting: the original model was not "
        "shown to know the forget set in the first place.",
    }[decision.verdict]


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
