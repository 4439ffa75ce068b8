"""Grounds on which each field of a certificate is verified.

Every field of the schema has its line here, and a test sees to it that none is forgotten. What
follows from something that a verifier has is worked out again and compared; the rest stands as
whoever made the certificate wrote it, and rests on the signature alone.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum

from auditor.certificate.schema import Certificate
from auditor.core.hashing import has_digest


class Ground(StrEnum):
    """Thing that a field of a certificate is held against."""

    FORM = "form"
    """The certificate's own schema, content and policy."""
    PLAN = "plan"
    """The plan in the certificate."""
    EVIDENCE = "evidence"
    """The evidence of its jobs, the facts among it."""
    RECORD = "record"
    """What the store remembers of the model's audits, their plans among it."""
    MODEL = "model"
    """The files of a model, where ``--model`` names them."""
    SIGNATURE = "signature"
    """Nothing but the word of whoever signed."""


_F, _P, _E, _R = Ground.FORM, Ground.PLAN, Ground.EVIDENCE, Ground.RECORD
_M, _S = Ground.MODEL, Ground.SIGNATURE

COVERAGE: Mapping[str, Ground] = {
    "schema_version": _F,
    "certificate_id": _F,
    "about": _P,
    "verdict.verdict": _E,
    "verdict.flags": _E,
    "verdict.claim": _E,
    "verdict.reasons": _E,
    "verdict.exit_code": _E,
    "verdict.baseline": _E,
    "identity.kind": _P,
    "identity.arms.arm": _P,
    "identity.arms.path": _P,
    "identity.arms.revision": _P,
    "identity.arms.adapter": _P,
    "identity.arms.dtype": _P,
    "identity.arms.digest": _E,
    "identity.arms.files": _E,
    "identity.arms.beside": _M,
    "identity.arms.options": _P,
    "identity.arms.built": _S,
    "identity.facts_digest": _E,
    "identity.set_digests": _E,
    "identity.plan_digest": _R,
    "identity.policy_digest": _P,
    "identity.earlier_policies": _R,
    "identity.earlier_audits.plan_digest": _R,
    "identity.earlier_audits.policy_digest": _R,
    "identity.earlier_audits.facts_digest": _R,
    "identity.earlier_audits.seeds": _R,
    "identity.earlier_audits.at": _R,
    "identity.auxiliary_inputs": _E,
    "weights.budget": _E,
    "weights.job": _E,
    "weights.pairs.one": _E,
    "weights.pairs.other": _E,
    "weights.pairs.shared": _E,
    "weights.pairs.compared": _E,
    "weights.pairs.equal": _E,
    "weights.pairs.change": _E,
    "weights.pairs.flips": _E,
    "scope.scope": _E,
    "scope.sets.facts": _E,
    "scope.sets.entities": _E,
    "scope.primary_metric": _E,
    "scope.deciding_metrics": _E,
    "scope.reported_metrics": _E,
    "scope.baseline_claim": _E,
    "policy.name": _E,
    "policy.delta": _E,
    "policy.alpha": _E,
    "policy.minimum_gap": _E,
    "policy.leak_limit": _E,
    "policy.utility_margin": _E,
    "policy.leaked_facts": _E,
    "policy.deciding_metrics": _E,
    "policy.mandatory": _E,
    "policy.advisory": _E,
    "policy.reported": _E,
    "policy.budgets": _E,
    "policy.minimum_facts": _E,
    "policy.minimum_retrained": _E,
    "policy.minimum_baseline": _E,
    "policy.valid_days": _E,
    "policy.waivers.attack": _E,
    "policy.waivers.reason": _E,
    "policy.waivers.by": _E,
    "policy.waivers.until": _E,
    "matrix.attack": _E,
    "matrix.variant": _E,
    "matrix.role": _E,
    "matrix.status": _E,
    "matrix.reason": _E,
    "matrix.parameters": _E,
    "matrix.named": _E,
    "matrix.over_forgotten": _E,
    "matrix.readings.metric": _E,
    "matrix.readings.figures": _E,
    "matrix.readings.gates": _E,
    "matrix.readings.counts": _E,
    "matrix.readings.distribution.unlearned": _E,
    "matrix.readings.distribution.retrained": _E,
    "matrix.shared_gates": _E,
    "matrix.forget": _E,
    "matrix.retain": _E,
    "matrix.holdout": _E,
    "matrix.explanation": _E,
    "matrix.side_figures": _E,
    "matrix.curves": _E,
    "matrix.notes": _E,
    "matrix.forward_tokens": _E,
    "matrix.jobs": _E,
    "self_checks": _E,
    "utility": _E,
    "uncertainty.residual_lower": _E,
    "uncertainty.residual_upper": _E,
    "uncertainty.residual_complete": _E,
    "uncertainty.log_e_fail": _E,
    "uncertainty.fail_threshold": _E,
    "uncertainty.facts_available": _E,
    "uncertainty.facts_needed": _E,
    "uncertainty.facts_needed_basis": _E,
    "uncertainty.facts_to_fail": _E,
    "uncertainty.retrained_models": _E,
    "uncertainty.retrained_spread": _E,
    "uncertainty.forget_quality.baseline": _E,
    "uncertainty.forget_quality.p_value": _E,
    "uncertainty.forget_quality.statistic": _E,
    "uncertainty.baselines": _E,
    "positive_controls.attack": _E,
    "positive_controls.required": _E,
    "positive_controls.found": _E,
    "positive_controls.message": _E,
    "positive_controls.visible.kind": _E,
    "positive_controls.visible.grid": _E,
    "positive_controls.visible.left": _S,
    "positive_controls.visible.rescaled": _S,
    "positive_controls.visible.digest": _E,
    "positive_controls.visible.as_is": _E,
    "positive_controls.visible.jobs": _E,
    "positive_controls.visible.status": _S,
    "positive_controls.visible.reason": _S,
    "positive_controls.obfuscated.kind": _E,
    "positive_controls.obfuscated.grid": _E,
    "positive_controls.obfuscated.left": _S,
    "positive_controls.obfuscated.rescaled": _S,
    "positive_controls.obfuscated.digest": _E,
    "positive_controls.obfuscated.as_is": _E,
    "positive_controls.obfuscated.jobs": _E,
    "positive_controls.obfuscated.status": _S,
    "positive_controls.obfuscated.reason": _S,
    "positive_controls.missing": _S,
    "positive_controls_missing": _E,
    "worst_entities.entity": _E,
    "worst_entities.facts": _E,
    "worst_entities.attack": _E,
    "worst_entities.metric": _E,
    "worst_entities.k": _E,
    "worst_facts.fact": _E,
    "worst_facts.entity": _E,
    "worst_facts.prompt": _E,
    "worst_facts.answer": _E,
    "worst_facts.attack": _E,
    "worst_facts.metric": _E,
    "worst_facts.k": _E,
    "worst_facts.said": _E,
    "worst_facts.said_as_released": _E,
    "image_examples.facts.fact": _E,
    "image_examples.facts.entity": _E,
    "image_examples.facts.prompt": _E,
    "image_examples.facts.answer": _E,
    "image_examples.facts.views.attack": _E,
    "image_examples.facts.views.k": _E,
    "image_examples.facts.views.pictures": _E,
    "image_examples.pictured": _E,
    "image_examples.left_out": _E,
    "redaction": _E,
    "evidence.jobs": _E,
    "evidence.digest": _E,
    "warnings": _E,
    "limitations": _E,
    "reproduction.command": _F,
    "reproduction.plan": _R,
    "reproduction.seeds": _P,
    "reproduction.versions": _S,
    "reproduction.hardware": _S,
    "reproduction.determinism": _E,
    "reproduction.formats.format": _E,
    "reproduction.formats.k": _E,
    "reproduction.formats.job": _E,
    "reproduction.prompts.digests": _E,
    "reproduction.prompts.date": _S,
    "reproduction.prompts.shown.set": _S,
    "reproduction.prompts.shown.fact": _S,
    "reproduction.prompts.shown.text": _S,
    "reproduction.prompts.shown.tokens": _S,
    "reproduction.prompts.read": _S,
    "timing.issued": _S,
    "timing.expires": _F,
    "timing.started": _S,
    "timing.wall_seconds": _S,
    "timing.attack_seconds": _S,
    "converted_from": _E,
}
"""Field of the schema to what it is held against. ``timing.issued`` may not lie in time to come;
the device in ``reproduction.hardware`` follows from the evidence; the folders in
``reproduction.command`` are as they were."""


def on_signature_alone(
    certificate: Certificate,
    grounds: Collection[Ground],
    unknown: Collection[str] = (),
) -> tuple[str, ...]:
    """Return fields that nothing but the signature vouches for.

    Args:
        certificate: a certificate that was verified.
        grounds: what it was held against.
        unknown: further fields that could not be compared.

    Returns:
        Fields that are there, in the order of the schema; a part of which no field was compared
        stands for all of its fields.
    """
    held = {Ground.FORM, *grounds}
    document = certificate.model_dump(mode="json")
    there = [name for name in COVERAGE if any(True for _ in values(document, name))]
    found = [
        name for name in there if COVERAGE[name] not in held or name.startswith(tuple(unknown))
    ]
    named = [*found, *_of_this(certificate, found)]
    compared = {name.partition(".")[0] for name in there if name not in found}
    return tuple(
        dict.fromkeys(
            name if (part := name.partition(".")[0]) in compared else part for name in named
        )
    )


def values(document: object, name: str) -> Iterator[object]:
    """Yield what a document holds under the name of a field.

    Nothing and empty lists are left out.
    """
    if isinstance(document, list):
        for member in document:
            yield from values(member, name)
        return
    if not isinstance(document, dict):
        return
    first, _, rest = name.partition(".")
    if not rest:
        if document.get(first) not in (None, [], {}):
            yield document[first]
    elif first in document:
        yield from values(document[first], rest)
    else:  # a table of parts by name
        for member in document.values():
            yield from values(member, name) if isinstance(member, dict) else ()


def _of_this(certificate: Certificate, found: Collection[str]) -> Iterator[str]:
    """Yield fields that only this certificate leaves unproved."""
    if any(not row.jobs for row in certificate.matrix):
        yield from (
            f"{name} (of attacks that were not measured)"
            for name in ("matrix.status", "matrix.reason", "matrix.parameters")
            if name not in found
        )
    reproduction = certificate.reproduction
    if any(tried.job is None for tried in reproduction.formats):
        yield "reproduction.formats"
    if not has_digest(reproduction.plan, certificate.identity.plan_digest):
        yield "reproduction.plan (redacted)"
