"""Certificate as JUnit XML, for the test page of a build server.

One suite, with a test case for each attack at each level and one for the verdict: the suite is
green only if the certificate is a PASS. What a test case becomes:

* a leak: failure, whatever part the attack has in the verdict; its message says in plain words
  what came back;
* a mandatory attack that is undecided: failure of type ``undecided``;
* an attack that failed while it ran: error;
* one that could not run here: error if it is mandatory, else skipped;
* another that is undecided: passed, and its output says that nothing is decided by it.

The form is that of junit-10.xsd of the Jenkins xUnit plugin: a test case holds failure, error,
skipped and system-out and nothing else; properties are the suite's.
"""

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from auditor.certificate.schema import Certificate
from auditor.core.roles import Role
from auditor.core.text_safety import inline
from auditor.report import REPORTS, Report, Signatures
from reports.attack_results import VERDICT, AttackResult, attack_results, passes
from reports.messages import counted, phrase
from reports.number_format import interval, number
from reports.signatures import signature_sentence
from reports.summary import Summary, attack_in_short, from_logs, summary

SUITE = "auditor"
"""Name of the suite, and class of the verdict's test case."""

SENTENCE = 1000
"""Most characters of a sentence that are shown."""


def render(certificate: Certificate, signatures: Signatures | None = None) -> str:
    """Returns the XML.

    Characters that XML 1.0 cannot hold are shown as symbols.
    """
    suite = TestSuite(SUITE)
    suite.timestamp = inline(certificate.timing.issued, 40)
    for name, value in (
        ("verdict", certificate.verdict.title),
        ("flags", ", ".join(certificate.verdict.flags)),
        ("certificate_id", certificate.certificate_id),
        ("schema_version", certificate.written_version),
        ("signatures", signature_sentence(signatures)),
    ):
        suite.add_property(name, inline(value, SENTENCE))
    suite.add_testcase(_verdict_case(certificate, summary(certificate, signatures)))
    for attack in attack_results(certificate):
        seconds = certificate.timing.attack_seconds.get(attack.row.label)
        rounded = None if seconds is None else round(seconds, 3)
        suite.add_testcase(_case(attack, rounded, logged=from_logs(certificate)))
    suite.update_statistics()
    document = JUnitXml()
    document.append(suite)
    text: str = document.tostring().decode("utf-8")
    return text + "\n"


def _verdict_case(certificate: Certificate, told: Summary) -> TestCase:
    verdict = certificate.verdict
    case = TestCase(VERDICT, SUITE)
    claim = phrase(verdict.claim).inline(SENTENCE)
    in_short = [sentence.inline(SENTENCE) for sentence in told.in_short]
    if not passes(certificate):
        kind = Error if verdict.exit_code == 4 else Failure
        found = kind(told.headline, verdict.verdict)
        why = (reason.inline(SENTENCE) for reason in counted(verdict.reasons))
        found.text = "\n".join((*in_short, claim, *why))
        case.result = [found]
    lines = [f"{verdict.title}: {told.headline}", *in_short, claim, "What to do next:"]
    case.system_out = "\n".join((*lines, *told.next_steps))
    return case


def _case(attack: AttackResult, seconds: float | None, *, logged: bool) -> TestCase:
    row = attack.row
    case = TestCase(inline(row.variant), inline(row.attack), seconds)
    if found := _result(attack, attack_in_short(row, logged=logged).inline(SENTENCE)):
        case.result = [found]
    case.system_out = "\n".join((f"{row.role}: {attack.result.words}", *_figures(attack)))
    return case


def _result(attack: AttackResult, first: str) -> FinalResult | None:
    outcome, row = attack.result.outcome, attack.row
    why = "\n".join(each.inline(SENTENCE) for each in attack.result.why)
    found: FinalResult
    if outcome == "leak":
        found = Failure(first, "leak")
    elif outcome == "failed" or (outcome == "unavailable" and row.role is Role.MANDATORY):
        found = Error(first, outcome)
    elif outcome == "unavailable":
        found = Skipped(first, outcome)
    elif outcome == "undecided" and row.role is Role.MANDATORY:
        found = Failure(first, outcome)
    else:
        return None
    found.text = why
    return found


def _figures(attack: AttackResult) -> list[str]:
    row, lines = attack.row, []
    for reading in row.readings:
        if (figures := reading.figures) is not None:
            bounds = interval(figures.rho_lower, figures.rho_upper)
            by = f" by {inline(reading.metric, 60)}" if len(row.readings) > 1 else ""
            lines.append(f"residual knowledge{by}: {number(figures.rho)} {bounds}")
    if attack.standing == "open":
        lines.append("Nothing is decided by it; this is not a pass.")
        lines += [each.inline(SENTENCE) for each in attack.result.why]
    return lines


REPORTS.register("junit")(
    Report(render, ".junit.xml", "JUnit XML for a build server: a test case for each attack.")
)
