"""The certificate as SARIF 2.1.0, for a page of security findings.

A rule is an attack, with what it stands for as help. A result is a leak (error) or a mandatory
attack that shows nothing (warning), and, unless the certificate is a PASS, its verdict: a log
without results must mean a PASS and nothing else.

GitHub shows a finding beside a line of a file of the repository, and takes none without. A model
is no such file, so every finding stands at the plan; the model is named by its digest.
"""

from datetime import datetime

from sarif_pydantic import (
    Artifact,
    ArtifactLocation,
    Invocation,
    Level,
    Location,
    Message,
    PhysicalLocation,
    Region,
    ReportingDescriptor,
    ReportingDescriptorReference,
    Result,
    Run,
    Sarif,
    Tool,
    ToolDriver,
)
from sarif_pydantic.sarif import Notification

import auditor
from auditor.certificate.schema import Certificate
from auditor.core.hashing import digest
from auditor.core.text_safety import inline
from auditor.report import REPORTS, Report, Signatures
from reports.attack_results import VERDICT, AttackResult, attack_results, passes, unlearned
from reports.messages import sentence
from reports.number_format import interval, number
from reports.signatures import signature_sentence
from reports.summary import attack_in_short, from_logs
from reports.threats import Threat, threats

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
PLAN = "plan.yaml"
"""File at which findings stand: the plan, by the name that `auditor init` gives it."""
VERDICT_RULE = f"auditor/{VERDICT}"
SENTENCE = 1000
"""Most characters of a sentence that are shown."""


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns the log as JSON.

    Its times are those of the audit; none is of the rendering.
    """
    attacks = list(attack_results(certificate))
    names = list(dict.fromkeys(attack.row.attack for attack in attacks))
    described = {threat.attack: threat for threat in threats(certificate)}
    model = unlearned(certificate)
    rules = [_rule(name, described.get(name)) for name in names]
    rules.append(
        ReportingDescriptor(
            id=VERDICT_RULE,
            short_description=_message("The verdict of the certificate as a whole."),
        )
    )
    target = Location(
        physical_location=PhysicalLocation(
            artifact_location=ArtifactLocation(uri=PLAN, index=0), region=Region(start_line=1)
        )
    )
    results = [
        _result(attack, names.index(attack.row.attack), target, logged=from_logs(certificate))
        for attack in attacks
        if attack.leaks or attack.standing == "failed"
    ]
    if not passes(certificate):
        results.append(_verdict_result(certificate, len(names), target))
    log = Sarif(
        schema_uri=SCHEMA,
        runs=[
            Run(
                tool=Tool(
                    driver=ToolDriver(name="auditor", version=auditor.__version__, rules=rules)
                ),
                invocations=[_invocation(certificate, attacks)],
                artifacts=[
                    Artifact(
                        location=ArtifactLocation(uri=PLAN),
                        roles=["analysisTarget"],
                        description=_message("The plan of the audit, which names the model."),
                        properties={
                            "model": inline(certificate.name or model.name, 160),
                            "manifestDigest": inline(model.digest, 64),
                        },
                    )
                ],
                results=results,
                properties={
                    "certificateId": inline(certificate.certificate_id, 64),
                    "schemaVersion": inline(certificate.written_version, 20),
                    "verdict": certificate.verdict.title,
                    "flags": list(certificate.verdict.flags),
                    "signatures": signature_sentence(signatures),
                },
            )
        ],
    )
    text: str = log.model_dump_json(by_alias=True, exclude_none=True, indent=2)
    return text + "\n"


def _rule(name: str, threat: Threat | None) -> ReportingDescriptor:
    if threat is None or threat.described is None:
        return ReportingDescriptor(id=inline(name))
    summary = threat.described.summary
    paragraphs = (summary, *(f"{label}: {text}" for label, text in threat.sections))
    return ReportingDescriptor(
        id=inline(name),
        short_description=_message(summary),
        help=Message(text="\n\n".join(_message(text).text or "" for text in paragraphs)),
    )


def _result(attack: AttackResult, rule: int, target: Location, *, logged: bool) -> Result:
    row = attack.row
    found = str(attack_in_short(row, logged=logged))
    sentences = [f"{row.label} ({row.role}): {attack.result.words}. {found}"]
    for reading in row.readings:
        if (figures := reading.figures) is not None:
            bounds = interval(figures.rho_lower, figures.rho_upper)
            by = f" by {reading.metric}" if len(row.readings) > 1 else ""
            sentences.append(f"Residual knowledge{by} {number(figures.rho)} {bounds}.")
    return Result(
        rule_id=inline(row.attack),
        rule_index=rule,
        level=Level.ERROR if attack.leaks else Level.WARNING,
        message=_message(" ".join((*sentences, *map(str, attack.result.why)))),
        locations=[target],
        partial_fingerprints={"attackAndVariant/v1": digest(_visible_label(row.label))},
    )


def _verdict_result(certificate: Certificate, rule: int, target: Location) -> Result:
    verdict = certificate.verdict
    return Result(
        rule_id=VERDICT_RULE,
        rule_index=rule,
        level=Level.ERROR if verdict.verdict == "FAIL" else Level.WARNING,
        message=_message(f"{verdict.title}: {sentence(verdict.claim)}"),
        locations=[target],
        partial_fingerprints={"attackAndVariant/v1": digest(VERDICT_RULE)},
    )


def _invocation(certificate: Certificate, attacks: list[AttackResult]) -> Invocation:
    notifications = [
        Notification(
            associated_rule=ReportingDescriptorReference(id=inline(attack.row.attack)),
            level=Level.ERROR if attack.result.outcome == "failed" else Level.WARNING,
            message=_message(
                f"{attack.row.label} {attack.result.words}: {' '.join(map(str, attack.result.why))}"
            ),
        ).model_dump(mode="json", by_alias=True, exclude_none=True)
        for attack in attacks
        if attack.row.status != "measured"
    ]
    return Invocation(
        execution_successful=certificate.verdict.exit_code != 4,
        start_time_utc=_instant(certificate.timing.started),
        end_time_utc=_instant(certificate.timing.issued),
        exitCode=certificate.verdict.exit_code,  # the library passes on what it does not name
        toolExecutionNotifications=notifications,
    )


def _instant(text: str) -> datetime | None:
    """Returns the time of a text, or None without a zone.

    None also stands for a text that is no time.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else None


def _message(text: str) -> Message:
    """A message that a viewer shows as it is.

    In SARIF, braces are placeholders unless doubled, and ``[text](target)`` is a link.
    """
    shown = inline(text, SENTENCE).replace("{", "{{").replace("}", "}}")
    return Message(text=shown.replace("](", "] ("))


def _visible_label(text: str) -> str:
    """Returns the whole label without what UTF-8 cannot hold.

    It is not cut, because two cut labels could be equal.
    """
    return inline(text, len(text))


REPORTS.register("sarif")(
    Report(render, ".sarif", "SARIF 2.1.0 for a page of security findings: leaks and open attacks.")
)
