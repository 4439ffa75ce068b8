"""Pages of `auditor view`: the contents of a folder and its progress."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from auditor.viewer.certificates import Summary
from auditor.viewer.overview import Overview
from auditor.viewer.pages import PAGES, Pages
from auditor.viewer.progress import AuditProgress, Count
from reports import number_format
from reports.arms import in_order
from reports.evidence import evidence, evidence_script
from reports.html import render_beside
from reports.page import environment, script, script_hash, stylesheet

REFRESH = 5
"""Seconds after which the page of an audit under way loads itself again."""

_OUTCOMES = {"PASS": "within", "FAIL": "leak", "INCONCLUSIVE": "undecided"}
"""Marks of the verdicts. NOT AUDITABLE has the mark of what was not measured."""


@dataclass(frozen=True)
class CertificateLine:
    """A certificate as the table shows it."""

    summary: Summary
    outcome: str
    expired: bool
    issued: str


@dataclass(frozen=True)
class Bar:
    """Jobs that are done, of all."""

    count: Count
    share: str


@dataclass(frozen=True)
class AuditView:
    """An audit as its page shows it."""

    audit: AuditProgress
    bar: Bar
    state: str
    begun: str
    activity: str
    attacks: tuple[tuple[str, Bar, dict[str, Count]], ...]
    arms: tuple[str, ...]
    failures: tuple[tuple[str, str, tuple[str, ...]], ...]
    """For each failure: when it happened, what was said, and which jobs it concerns."""


def overview(content: Overview, suffix: str = "") -> str:
    """Returns the first page.

    Args:
        content: what it shows.
        suffix: what the addresses of other pages end with.
    """
    return _drawn(
        "overview.html.j2",
        content=content,
        suffix=suffix,
        at=_moment(content.at),
        under_way=[_view(audit, content.at) for audit in content.under_way],
        finished=[_view(audit, content.at) for audit in content.finished],
        certificates=[
            CertificateLine(
                summary=line,
                outcome=_OUTCOMES.get(line.verdict, "unavailable"),
                expired=line.holds_until is not None and line.holds_until <= content.at,
                issued=_stated(line.issued),
            )
            for line in content.certificates
        ],
    )


def audits(progress: Sequence[AuditProgress], at: datetime, refreshing: bool) -> str:
    """Returns the page of all audits of one plan, newest first.

    They are of one model on one set of facts.
    """
    under_way = any(audit.finished is None for audit in progress)
    return _drawn(
        "audit_progress.html.j2",
        audits=[_view(audit, at) for audit in progress],
        at=_moment(at),
        under_way=under_way,
        refresh=REFRESH if under_way and refreshing else None,
    )


def notice(sentence: str) -> str:
    """Returns a page that says one thing."""
    return _drawn("notice.html.j2", sentence=sentence)


def _view(audit: AuditProgress, at: datetime) -> AuditView:
    return AuditView(
        audit=audit,
        bar=_bar(audit.all),
        state=_state(audit),
        begun=_stated(audit.begun),
        activity=_ago(audit.last_activity, at),
        attacks=tuple((a.label, _bar(a.all), a.arms) for a in audit.attacks),
        arms=tuple(in_order({arm for attack in audit.attacks for arm in attack.arms})),
        failures=tuple((_moment(f.at), f.error, f.jobs) for f in audit.failures),
    )


def _state(audit: AuditProgress) -> str:
    if audit.finished is not None:
        return f"finished {_stated(audit.finished)}"
    if audit.all.done == audit.all.total:
        return "all attacks measured; controls and the certificate are still to come"
    return "not finished"


def _bar(count: Count) -> Bar:
    """Returns a progress bar whose share is rounded down.

    So 100 % means that everything is done.
    """
    share = f"{100 * count.done // count.total} %" if count.total else number_format.MISSING
    return Bar(count, share)


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _stated(at: str) -> str:
    """Returns a time stated by a file, in our own format.

    What is no time with a zone is returned as it is.
    """
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return at
    return at if moment.tzinfo is None else _moment(moment)


def _ago(then: datetime | None, now: datetime) -> str:
    if then is None:
        return "no job was finished yet"
    passed = (now - then).total_seconds()
    return f"{_moment(then)} ({number_format.seconds(max(passed, 0.0))} ago)"


def _drawn(template: str, **content: object) -> str:
    page = environment().get_template(template)
    return page.render(stylesheet=stylesheet(), **content)


PAGES.register("html")(
    Pages(
        overview=overview,
        audits=audits,
        certificate=render_beside,
        evidence=evidence,
        notice=notice,
        script_source=script_hash(script()),
        evidence_source=script_hash(evidence_script()),
    )
)
