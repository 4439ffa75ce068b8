"""The certificate worked out again from its evidence, and compared with what it says."""

import math
from collections.abc import Iterator
from typing import Any

from auditor.certificate.case import Case
from auditor.certificate.checks import PLANTED, checked, planted
from auditor.certificate.decided import (
    decided_policy,
    decided_row,
    decided_uncertainty,
    decided_utility,
    decided_verdict,
)
from auditor.certificate.exhibits import exhibits
from auditor.certificate.judgement import judge
from auditor.certificate.matrix import told_row
from auditor.certificate.redaction import redact
from auditor.certificate.schema import Certificate, ControlPart
from auditor.certificate.wording import limitations, scope_part
from auditor.certificate.worst import worst
from auditor.core.errors import ContradictedError
from auditor.core.hashing import digest
from auditor.engine.account import NO_ACCOUNT, account
from auditor.engine.expansion import instantiate
from auditor.evidence.store import EvidenceStore
from auditor.statistics import Decision
from auditor.verification.recall import recall

_SHOWN = 5
_TOLERANCE = 1e-6
"""Relative; another machine's arithmetic may differ in the last bits."""


def check_contradiction(certificate: Certificate, store: EvidenceStore) -> None:
    """Work out everything that follows from the evidence, and refuse a certificate that differs.

    Args:
        certificate: as it was given.
        store: its evidence.

    Raises:
        ContradictedError: the evidence leads to another verdict, or to other figures; says which.
        EvidenceChangedError: evidence is missing or was changed.
        AuditorError: an attack of the certificate is not installed here.
    """
    case = recall(certificate, store)
    decision = judge(case)
    again = _told(recomputed(certificate, case, decision), case, decision, store)
    if certificate.redaction != "none":
        again = redact(again, store.redaction_key())
    stated, worked_out = (c.model_dump(mode="json") for c in (certificate, again))
    found = list(_differences(stated, worked_out))
    verdict = next((d for d in found if d.startswith("verdict.verdict:")), None)
    if verdict:
        raise ContradictedError(f"the verdict does not follow from the evidence: {verdict}.")
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ContradictedError(
            f"the certificate does not follow from its evidence: {'; '.join(found[:_SHOWN])}{more}."
        )


def recomputed(certificate: Certificate, case: Case, decision: Decision) -> Certificate:
    """The certificate with every part worked out again that follows from its case alone.

    Args:
        certificate: what is not worked out is taken from it.
        case: recalled from it and its evidence.
        decision: on that case.
    """
    subjects, facts = worst(case)
    return certificate.model_copy(
        update={
            "verdict": decided_verdict(case, decision),
            "policy": decided_policy(case),
            "matrix": tuple(
                row.model_copy(update=decided_row(case, trial, assessment))
                for row, trial, assessment in zip(
                    certificate.matrix, case.trials, decision.attacks, strict=True
                )
            ),
            "limitations": limitations(case, decision),
            "utility": decided_utility(decision),
            "uncertainty": decided_uncertainty(case, decision),
            "worst_subjects": subjects,
            "worst_facts": facts,
            "exhibits": exhibits(case),
            "evidence": certificate.evidence.model_copy(
                update={"digest": digest(certificate.evidence.jobs)}
            ),
        }
    )


def _told(
    certificate: Certificate, case: Case, decision: Decision, store: EvidenceStore
) -> Certificate:
    """The same with what the attacks say of their evidence, and are by their own definition."""
    attacks = [instantiate(row.attack, row.parameters) for row in certificate.matrix]
    accounts = [
        account(attack, row.jobs, store) if row.jobs else NO_ACCOUNT
        for attack, row in zip(attacks, certificate.matrix, strict=True)
    ]
    rows = tuple(
        row.model_copy(
            update=told_row(said)
            | {
                "variant": attack.variant,
                "reported": not attack.decides,
                "metric": attack.metric or case.metrics[0],
            }
        )
        for attack, row, said in zip(attacks, certificate.matrix, accounts, strict=True)
    )
    measured = [type(a) for a, row in zip(attacks, certificate.matrix, strict=True) if row.jobs]
    own = (control for said in accounts for control in said.controls)
    # why nothing was planted follows from no evidence
    sown = planted(case.planted) if certificate.positive_controls else _not_planted(certificate)
    return certificate.model_copy(
        update={
            "matrix": rows,
            "scope": scope_part(case, decision, dict.fromkeys(measured)),
            "controls": (*checked(decision, own), *sown),
        }
    )


def _not_planted(certificate: Certificate) -> list[ControlPart]:
    return [p for p in certificate.controls if p.name == PLANTED and p.passed is None][:1]


def _differences(stated: Any, again: Any, where: str = "") -> Iterator[str]:
    if isinstance(stated, dict) and isinstance(again, dict):
        for name in dict.fromkeys((*stated, *again)):
            if where or name != "certificate_id":
                place = f"{where}.{name}" if where else name
                yield from _differences(stated.get(name), again.get(name), place)
    elif isinstance(stated, list) and isinstance(again, list) and len(stated) == len(again):
        for index, pair in enumerate(zip(stated, again, strict=True)):
            yield from _differences(*pair, f"{where}.{index}")
    elif not _equal(stated, again):
        yield f"{where}: it says {_short(stated)}, the evidence {_short(again)}"


def _equal(stated: Any, again: Any) -> bool:
    numbers = (int, float)
    if isinstance(stated, numbers) and isinstance(again, numbers):
        return math.isclose(stated, again, rel_tol=_TOLERANCE, abs_tol=1e-9)
    return bool(stated == again)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
