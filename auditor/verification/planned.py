"""Parts of a certificate that follow from its plan.

It needs no evidence. The plan's digest stands in the certificate and in the record of the store.
"""

import shlex
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from auditor.certificate.schema import ArmPart, Certificate, arm_options
from auditor.core.about import About
from auditor.core.arms import Arm
from auditor.core.errors import ContradictedError
from auditor.core.messages import message
from auditor.core.time import utc_text
from auditor.core.validation import problems
from auditor.engine.plan import usual_seeds
from auditor.store.environment import CPU
from auditor.verification.differences import differences
from auditor.verification.load import stated_policy
from auditor.verification.validity import moment

_PLANNED = {"about", "identity", "reproduction", "timing"}
"""Parts of a certificate in which fields follow from its plan."""
_BEGINNINGS = (("auditor", "audit"), ("auditor", "certify"))
_WITH_VALUE = (
    "--out",
    "--store",
    "--within",
    "--executor",
    "--workers",
    "--address",
    "--gpus",
)
_REDACT = "--redact"
_LONGEST = 1_000_000
"""Days of more than any certificate holds, and of fewer than a calendar has."""
_SHOWN = 5
"""Most differences that an error lists."""


def check_unplanned(certificate: Certificate) -> None:
    """Refuse a certificate that its own plan contradicts.

    Certificates of earlier schemas are left alone: their plans have other forms.

    Raises:
        ContradictedError: says what differs.
    """
    if certificate.converted_from is not None:
        return
    stated_policy(certificate)
    stated, again = (
        c.model_dump(mode="json", include=_PLANNED) for c in (certificate, planned(certificate))
    )
    if found := list(differences(stated, again, source="its plan")):
        raise ContradictedError(
            f"the certificate does not follow from its plan: {'; '.join(found[:_SHOWN])}."
        )
    if not _repeats_an_audit(certificate):
        raise ContradictedError(
            "the command with which the certificate says that the audit is repeated is none of "
            "`auditor audit` and `auditor certify`. Do not run it."
        )


def planned(certificate: Certificate) -> Certificate:
    """Return the certificate as its plan has it."""
    identity, reproduction = certificate.identity, certificate.reproduction
    plan, timing = reproduction.plan, certificate.timing
    days = _table(plan.get("policy")).get("valid_days")
    issued = moment(timing.issued)
    device = reproduction.hardware.get("device", "")
    on_gpu = any(name not in ("", CPU) for name in device.split(", "))
    return certificate.model_copy(
        update={
            "about": _about(plan),
            "identity": identity.model_copy(
                update={
                    "kind": _table(plan.get("unlearned")).get("kind"),
                    "arms": tuple(
                        _arm(part, planned_model(plan, part.arm)) for part in identity.arms
                    ),
                }
            ),
            "reproduction": reproduction.model_copy(
                update={
                    "seeds": _seeds(plan),
                    "determinism": message("gpu_kernels_may_differ" if on_gpu else "deterministic"),
                }
            ),
            "timing": timing.model_copy(
                update={
                    "expires": utc_text(issued + timedelta(days=days))
                    if isinstance(days, int) and 0 < days < _LONGEST
                    else None
                }
            ),
        }
    )


def _about(plan: dict[str, Any]) -> About | None:
    """Return what a plan says of the audit.

    Raises:
        ContradictedError: it is no such statement.
    """
    if plan.get("about") is None:
        return None
    try:
        return About.model_validate(plan["about"])
    except ValidationError as error:
        raise ContradictedError(
            f"the plan in the certificate is none: about: {problems(error)[0]}."
        ) from error


def planned_model(plan: dict[str, Any], arm: str) -> dict[str, Any]:
    """Return what a plan says of a model, if anything."""
    number = Arm(arm).number
    if number is None:
        return _table(plan.get(arm))
    models = plan.get("reference" if Arm(arm).is_reference else "retrained")
    several = models if isinstance(models, list | tuple) else ()
    return _table(several[number]) if number < len(several) else {}


def _seeds(plan: dict[str, Any]) -> tuple[int, ...]:
    named = plan.get("seeds")
    return tuple(named) if isinstance(named, list) and named else usual_seeds(plan.get("profile"))


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _arm(part: ArmPart, said: dict[str, Any]) -> ArmPart:
    of_plan = {name: said.get(name) for name in ("path", "revision", "adapter", "dtype")}
    return part.model_copy(update={**of_plan, "options": arm_options(said)})


def _repeats_an_audit(certificate: Certificate) -> bool:
    """Whether the command has the form of one that repeats an audit."""
    try:
        words = shlex.split(certificate.reproduction.command)
    except ValueError:
        return False
    if tuple(words[:2]) not in _BEGINNINGS or len(words) <= 2 or words[2].startswith("-"):
        return False
    options = words[3:]
    while options:
        if options[0] == _REDACT and certificate.redaction != "none":
            options = options[1:]
        elif options[0] in _WITH_VALUE and len(options) > 1:
            options = options[2:]
        else:
            return False
    return True
