"""Threat models of a certificate's attacks, as the installed attacks describe themselves."""

from dataclasses import dataclass

from auditor.attack import ATTACKS, AttackMetadata
from auditor.certificate.schema import Certificate
from auditor.core.errors import AuditorError


@dataclass(frozen=True)
class Threat:
    """An attack of a certificate.

    Attributes:
        attack: its registered name.
        family: what the attacker may do.
        described: how the installed attack describes itself; None where it is not installed.
    """

    attack: str
    family: str
    described: AttackMetadata | None


def threats(certificate: Certificate) -> tuple[Threat, ...]:
    """Return the attacks that left evidence, each once."""
    names = dict.fromkeys((row.attack, row.id.family) for row in certificate.matrix if row.jobs)
    return tuple(Threat(name, family, _described(name)) for name, family in names)


def _described(name: str) -> AttackMetadata | None:
    try:
        return ATTACKS.metadata(name)
    except AuditorError:  # an attack of somebody else, which is not installed here
        return None
