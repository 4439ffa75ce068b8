"""Whether a certificate still holds."""

from datetime import UTC, datetime, timedelta

from auditor.certificate.schema import Certificate
from auditor.core.errors import ContradictedError, ExpiredError, MalformedError
from auditor.policy import check_expired_waiver

_CLOCKS = timedelta(days=1)
"""By how much the clocks of two machines may differ."""


def check_expired_certificate(
    certificate: Certificate, now: datetime, valid_days: int | None = None
) -> None:
    """Refuse a certificate whose time, or one of whose waivers, is over.

    Args:
        certificate: certificate as it was given.
        now: with a time zone.
        valid_days: days that another policy allows, besides the certificate's own limit.

    Raises:
        ExpiredError: says what expired, and when.
        ContradictedError: it was issued in time to come.
        MalformedError: one of its dates is none.
    """
    issued = moment(certificate.timing.issued)
    moment(certificate.timing.started)
    if issued - now > _CLOCKS:
        raise ContradictedError(
            f"the certificate says that it was issued on {issued:%Y-%m-%d}, which is yet to come. "
            "If the clock of this machine is right, it is not what an audit wrote."
        )
    limits = []
    if certificate.timing.expires is not None:
        limits.append(moment(certificate.timing.expires))
    if valid_days is not None:
        limits.append(issued + timedelta(days=valid_days))
    if limits and min(limits) < now:
        raise ExpiredError(
            f"the certificate was issued on {issued:%Y-%m-%d} and expired on "
            f"{min(limits):%Y-%m-%d}. Audit the model again."
        )
    today = now.astimezone(UTC).date()
    for waiver in certificate.policy.waivers:
        check_expired_waiver(waiver.attack, waiver.by, moment(waiver.until).date(), today)


def moment(text: str) -> datetime:
    """Return the moment that a text names, by default in UTC.

    Raises:
        MalformedError: it names none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedError(
            f"the certificate gives {text[:40]!r} as a date, which is none."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
