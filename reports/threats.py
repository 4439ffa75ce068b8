"""Threat models of a certificate's attacks, as the installed attacks describe themselves."""

from dataclasses import dataclass

from auditor.attack import ATTACKS, SECTIONS, AttackMetadata
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

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """Heading and text of each part of its threat model.

        The parts are threat model, access, cost, leak and source.
        """
        if self.described is None:
            return ()
        stated = ((label, getattr(self.described, name)) for name, label in SECTIONS.items())
        return tuple((label, text) for label, text in stated if text)


def threats(certificate: Certificate) -> tuple[Threat, ...]:
    """Return the attacks that left evidence, each once."""
    names = dict.fromkeys((row.attack, row.id.family) for row in certificate.matrix if row.jobs)
    return tuple(Threat(name, family, _described(name)) for name, family in names)


def _described(name: str) -> AttackMetadata | None:
    try:
        return ATTACKS.metadata(name)
    except AuditorError:  # an attack of somebody else, which is not installed here
        return None
