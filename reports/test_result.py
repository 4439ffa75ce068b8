"""Certificate as an in-toto Statement with a test-result predicate.

The Statement is not yet signed.

The subject is the unlearned model, by the digest of its files; what decided stands in the
configuration: plan, policy, facts, the other models and the certificate itself.

``PASSED`` is said for a PASS in which nothing is open, ``WARNED`` for a PASS beside which an attack
that does not decide showed nothing or a demand was waived, and ``FAILED`` for everything else: who
reads only this word must not take an INCONCLUSIVE certificate for a pass.
"""

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import MessageToDict
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

from auditor.certificate.schema import Certificate
from auditor.core.text_safety import inline
from auditor.report import REPORTS, Report, Signatures
from reports.attack_results import VERDICT, AttackResult, attack_results, passes, unlearned

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns the Statement as JSON.

    The signatures of the certificate do not carry over to it.
    """
    model = unlearned(certificate)
    attacks = list(attack_results(certificate))
    failed = _names(attacks, "failed")
    open_ = _names(attacks, "open")
    passed = _names(attacks, "passed")
    predicate: Any = test_result_pb2.TestResult()
    if not passes(certificate) or failed:
        predicate.result = "FAILED"
    elif open_ or certificate.verdict.flags:
        predicate.result = "WARNED"
    else:
        predicate.result = "PASSED"
    {"FAILED": failed, "WARNED": open_, "PASSED": passed}[predicate.result].insert(0, VERDICT)
    predicate.passed_tests.extend(passed)
    predicate.warned_tests.extend(open_)
    predicate.failed_tests.extend(failed)
    predicate.configuration.extend(each.pb for each in _configuration(certificate))
    subject = ResourceDescriptor(
        name=inline(model.name), digest={"sha256": inline(model.digest, 64)}
    )
    statement = Statement([subject.pb], PREDICATE_TYPE, MessageToDict(predicate))
    statement.validate()
    content = MessageToDict(statement.pb)
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _names(attacks: list[AttackResult], standing: str) -> list[str]:
    return [inline(attack.row.label) for attack in attacks if attack.standing == standing]


def _configuration(certificate: Certificate) -> Iterator[ResourceDescriptor]:
    identity = certificate.identity
    for name, digest in (
        ("certificate", certificate.certificate_id),
        ("plan", identity.plan_digest),
        ("policy", identity.policy_digest),
        ("facts", identity.facts_digest),
        ("evidence", certificate.evidence.digest),
    ):
        yield ResourceDescriptor(name=name, digest={"sha256": inline(digest, 64)})
    for arm in identity.arms:
        yield ResourceDescriptor(
            name=inline(f"model: {arm.arm}"), digest={"sha256": inline(arm.digest, 64)}
        )


REPORTS.register("test-result")(
    Report(
        render, ".test-result.json", "In-toto test-result Statement, to be signed by a pipeline."
    )
)
