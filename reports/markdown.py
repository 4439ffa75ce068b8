"""The certificate as Markdown, for a comment on a pull request."""

from collections.abc import Iterator, Sequence

from auditor.certificate.schema import Certificate
from auditor.core.arms import Arm
from auditor.report import REPORTS, Report, Signatures
from reports.arms import baseline_mean
from reports.attack_results import AttackResult, attack_results
from reports.markdown_text import code, references, said
from reports.messages import AS_STATED, FLAGS, counted, phrase, phrases
from reports.number_format import count, interval, number
from reports.phrases import Phrase, plain
from reports.signatures import signature_sentence
from reports.summary import Summary, quotation, summary

VERDICT_MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "NOT AUDITABLE": "⛔"}
RESULT_MARKS = {"leak": "❌", "within": "✅", "undecided": "❔", "failed": "⚠️", "unavailable": "⛔"}

RHO = "\N{GREEK SMALL LETTER RHO}"
"""Sign of the residual knowledge."""

ROWS = 60
"""Most attacks in the table, because a comment on GitHub holds 65,536 characters."""
LISTED = 12
"""Most reasons, waivers or limitations that are listed."""


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns the summary, in which foreign text stays plain text."""
    return "\n".join(lines(certificate, signatures)) + "\n"


def lines(certificate: Certificate, signatures: Signatures | None) -> Iterator[str]:
    """The summary, line by line, under a heading of the second level."""
    verdict, told = certificate.verdict, summary(certificate, signatures)
    yield f"## {VERDICT_MARKS[verdict.verdict]} Unlearning audit: {verdict.title}"
    yield ""
    yield f"{told.headline}{f' Model: {said(told.name, 160)}.' if told.name else ''}"
    for flag in verdict.flags:
        yield ""
        yield f"**{flag}.** {FLAGS[flag]}"
    yield from _listed("In short", told.in_short)
    yield from _listed("What to do next", told.next_steps, ours=True)
    yield from _listed("What this rests on", _rests_on(told))
    yield from _table(certificate)
    yield ""
    yield f"**Claim.** {said(phrase(verdict.claim), 600)}"
    yield from _listed("Why", counted(verdict.reasons))
    yield from _listed(
        "Waived",
        [
            f"{w.attack}: {w.reason} (by {w.by}, until {w.until})"
            for w in certificate.policy.waivers
        ],
    )
    yield from _listed("Warnings", phrases(certificate.warnings))
    yield from _listed("What it does not say", [*told.unsaid, *phrases(certificate.limitations)])
    yield ""
    signed = said(signature_sentence(signatures), 1000)
    yield f"{signed} Certificate {code(certificate.certificate_id, 64)}."


def _rests_on(told: Summary) -> list[Phrase]:
    stated = [(label, quotation(text) + plain(f" ({AS_STATED})")) for label, text in told.about]
    return [plain(f"{label}: ") + what for label, what in (*told.strength, *stated)]


def _listed(heading: str, items: Sequence[str | Phrase], *, ours: bool = False) -> Iterator[str]:
    """Yield a list under a heading.

    What is ours may hold code between backticks.
    """
    if not items:
        return
    yield ""
    yield f"### {heading}"
    yield ""
    for item in items[:LISTED]:
        yield f"- {item if ours else said(item)}"
    if len(items) > LISTED:
        yield f"- and {len(items) - LISTED} more, in the certificate"


def _table(certificate: Certificate) -> Iterator[str]:
    attacks = list(attack_results(certificate))
    # what speaks against the model comes first, so that no cut hides it
    attacks.sort(key=lambda a: (not a.leaks, ("failed", "open", "passed").index(a.standing)))
    yield ""
    yield "### Attacks"
    yield ""
    yield (
        f"| Attack | Role | Result | Residual knowledge {RHO} | Facts leaked "
        "| K unlearned | K retrained | K original |"
    )
    yield "| --- | --- | --- | --- | --- | ---: | ---: | ---: |"
    for attack in attacks[:ROWS]:
        yield "| " + " | ".join(_cells(attack)) + " |"
    if len(attacks) > ROWS:
        rest = attacks[ROWS:]
        against = sum(attack.leaks or attack.standing == "failed" for attack in rest)
        yield ""
        yield (
            f"{len(rest)} more attacks are in the certificate; {against} of them show a leak or "
            "block a PASS."
        )


def _cells(attack: AttackResult) -> Iterator[str]:
    row, reading = attack.row, attack.row.strongest
    by_arm, figures = row.forget.get(reading.metric, {}), reading.figures
    yield code(row.label, 80)
    yield row.role
    yield f"{RESULT_MARKS[attack.result.outcome]} {attack.result.words}"
    if figures:
        bounds = interval(figures.rho_lower, figures.rho_upper)
        yield references(f"{number(figures.rho)} {bounds}")
        yield references(f"{count(figures.leak.leaked)} of {count(figures.leak.eligible)}")
    else:
        yield number(None)
        yield number(None)
    for k in (by_arm.get(Arm.UNLEARNED), baseline_mean(by_arm), by_arm.get(Arm.ORIGINAL)):
        yield references(number(k))


REPORTS.register("markdown")(
    Report(render, ".md", "Markdown summary for a comment on a pull request.")
)
