"""Whether a certificate still holds."""

from datetime import UTC, datetime, timedelta

from auditor.certificate.schema import Certificate
from auditor.core.errors import ExpiredError, MalformedError
from auditor.policy import check_expired_waiver


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
        MalformedError: one of its dates is none.
    """
    issued = _moment(certificate.timing.issued)
    limits = []
    if certificate.timing.expires is not None:
        limits.append(_moment(certificate.timing.expires))
    if valid_days is not None:
        limits.append(issued + timedelta(days=valid_days))
    if limits and min(limits) < now:
        raise ExpiredError(
            f"the certificate was issued on {issued:%Y-%m-%d} and expired on "
            f"{min(limits):%Y-%m-%d}. Audit the model again."
        )
    today = now.astimezone(UTC).date()
    for waiver in certificate.policy.waivers:
        check_expired_waiver(waiver.attack, waiver.by, _moment(waiver.until).date(), today)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedError(
            f"the certificate gives {text[:40]!r} as a date, which is none."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
