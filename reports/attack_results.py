"""Result of each attack for a machine that reads a report.

A result is passed, failed or open; what is open is not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from auditor.certificate.schema import ArmPart, Certificate, MatrixRow
from auditor.core.arms import Arm
from auditor.core.errors import AuditorError
from auditor.core.roles import Role
from reports.results import Result, result

Standing = Literal["passed", "failed", "open"]

VERDICT = "verdict"
"""Name of the test case of the verdict as a whole."""


@dataclass(frozen=True)
class AttackResult:
    """One attack at one level, in the certificate's order."""

    row: MatrixRow
    result: Result
    standing: Standing
    """How a machine should take the attack: passed, failed or open.

    Passed: residual knowledge is within the margin. Failed: the attack found a leak, or it is
    mandatory and shows nothing. Open: it is not mandatory and shows nothing, or its leak is only
    reported; neither decides."""

    @property
    def leaks(self) -> bool:
        """Whether the attack found a leak, whatever its role in the verdict."""
        return self.result.outcome == "leak"


def attack_results(certificate: Certificate) -> Iterator[AttackResult]:
    """The rows of a certificate's matrix and where each stands."""
    for row in certificate.matrix:
        found = result(row)
        if found.outcome == "within":
            standing: Standing = "passed"
        else:
            leaks = found.outcome == "leak" and row.role is not Role.REPORTED
            standing = "failed" if leaks or row.role is Role.MANDATORY else "open"
        yield AttackResult(row, found, standing)


def passes(certificate: Certificate) -> bool:
    """Returns whether the certificate is a PASS as a whole.

    Its verdict and its exit code must both say so.
    """
    return certificate.verdict.verdict == "PASS" and certificate.verdict.exit_code == 0


def unlearned(certificate: Certificate) -> ArmPart:
    """The model under audit.

    Raises:
        AuditorError: the certificate names none.
    """
    for arm in certificate.identity.arms:
        if arm.arm == Arm.UNLEARNED:
            return arm
    raise AuditorError(
        "the certificate names no unlearned model, so a report cannot say what was tested; "
        "audit again with this release."
    )
