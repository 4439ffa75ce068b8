"""What an audit found, for somebody who reads one page.

Every form of a certificate shows the same: in short, an example, what the audit rests on, what to
do next, and what it does not say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from auditor.attack import ATTACKS
from auditor.certificate.schema import Certificate, MatrixRow, ReadingPart, WorstFactPart
from auditor.core.arms import Arm
from auditor.core.baselines import Baseline
from auditor.core.errors import AuditorError
from auditor.core.messages import Message, is_message
from auditor.core.roles import Role, Status
from auditor.metrics.metric import METRICS
from auditor.models.manifest import are_logs
from auditor.report import Signatures
from auditor.statistics import Flag
from auditor.verification.outlook import release_outlook
from reports.arms import baseline_mean
from reports.messages import (
    ABOUT_NAMES,
    FURTHER_UNSAID,
    HOLDS_FOR,
    IT_DOES,
    NEXT_AGAIN,
    NEXT_BY_CODE,
    NEXT_BY_FAMILY,
    NEXT_BY_VERDICT,
    NEXT_UNSIGNED,
    STRENGTH_NAMES,
    UNSAID,
    headline_of,
    in_short,
    phrase,
    release_lacks,
    strength,
)
from reports.phrases import Phrase, Quoted, join, plain, shown
from reports.plain_names import AS_LOGGED, plain_name
from reports.results import reason, result
from reports.signatures import SignatureState, signature_state

SENTENCES = 4
"""Most attacks that are told one by one, so that a page with all else stays one sheet."""
STEPS = 4
"""Most steps of what to do next."""

LACKING = 5
"""Most things that a release policy lacks that are named."""

_DECIDES = ("facts_needed", "facts_needed_to_fail", "more_facts_would_not_pass")
"""Codes of reasons that say what would decide an undecided audit."""
_OF_THE_MODEL = (NEXT_BY_CODE["utility_lost"],)
"""Steps that make another model, and decide nothing on this one."""
_ORDER = ("leak", "undecided", "failed", "unavailable", "within")


@dataclass(frozen=True)
class Example:
    """A fact, and what the model said of it.

    Attributes:
        prompt: question.
        answer: true answer.
        released: answer of the model as it was released; None where it was not recorded.
        how: what the attack did, in plain words.
        attacked: answer under it.
    """

    prompt: str
    answer: str
    released: str | None
    how: Phrase
    attacked: str


@dataclass(frozen=True)
class Summary:
    """An audit on one sheet.

    Attributes:
        name: name of the model under audit.
        verdict: verdict, with its baseline where no model was retrained.
        headline: what it means, in one line.
        in_short: what was found.
        example: a fact before and under an attack.
        strength: what the audit rests on, by name.
        next_steps: what to do now.
        unsaid: what it does not say.
        about: what whoever made the audit says of it, by name.
        signature: what is known of its signatures.
    """

    name: str | None
    verdict: str
    headline: str
    in_short: tuple[Phrase, ...]
    example: Example | None
    strength: tuple[tuple[str, Phrase], ...]
    next_steps: tuple[str, ...]
    unsaid: tuple[str, ...]
    about: tuple[tuple[str, str], ...]
    signature: SignatureState


def summary(certificate: Certificate, signatures: Signatures | None = None) -> Summary:
    """Return what a certificate says on one sheet."""
    verdict = certificate.verdict
    signature = signature_state(signatures)
    logs = from_logs(certificate)
    return Summary(
        name=certificate.name,
        verdict=verdict.title,
        headline=headline_of(verdict),
        in_short=tuple(_in_short(certificate)),
        example=_example(certificate),
        strength=tuple((STRENGTH_NAMES[name], said) for name, said in _strength(certificate)),
        next_steps=tuple(_next_steps(certificate, signed=signature.state != "unsigned")),
        unsaid=(UNSAID[verdict.verdict], HOLDS_FOR["logs" if logs else "files"], *FURTHER_UNSAID),
        about=_about(certificate),
        signature=signature,
    )


def from_logs(certificate: Certificate) -> bool:
    """Return whether logs stand in for the models."""
    return any(are_logs(arm.files) for arm in certificate.identity.arms)


def attack_in_short(row: MatrixRow, *, logged: bool = False) -> Phrase:
    """Return what one attack found, in one sentence.

    Args:
        row: the attack.
        logged: whether logs stand in for the models.
    """
    as_logged = logged and row.attack.startswith("none/")
    how = plain(AS_LOGGED) if as_logged else plain_name(row.label)
    found = result(row).outcome
    if row.status is not Status.MEASURED:
        why = reason(row).shortened(160)
        return in_short("failed" if found == "failed" else "unavailable", how=how, why=why)
    reading = max(row.readings, key=_leaked) if row.readings else row.strongest
    if not _leaked(reading):
        reading = row.strongest
    figures = reading.figures
    if figures is None or not figures.leak.eligible:
        insensitive = any(not g.met and g.name == "sensitivity" for g in reading.gates)
        return in_short("insensitive" if insensitive else "not_counted", how=how)
    leak = figures.leak
    if found == "leak" and not leak.leaked and figures.rho is not None:
        return in_short("leak_by_share", how=how, rho=round(figures.rho, 2))
    return in_short(
        found, how=how, it=_it_does(reading.metric), leaked=leak.leaked, eligible=leak.eligible
    )


def _leaked(reading: ReadingPart) -> int:
    return reading.figures.leak.leaked if reading.figures is not None else 0


def _it_does(metric: str) -> str:
    reads = METRICS.get(metric).reads if metric in METRICS.names() else ""
    return IT_DOES.get(reads, IT_DOES[""])


def _in_short(certificate: Certificate) -> Iterator[Phrase]:
    verdict, rows = certificate.verdict, certificate.matrix
    if verdict.verdict == "NOT AUDITABLE":
        yield from _nothing_known(certificate)
        return
    if verdict.verdict == "INCONCLUSIVE":
        yield from _what_would_decide(certificate)
    as_is = [row for row in rows if row.attack.startswith("none/")]
    for row in as_is[:1]:
        yield attack_in_short(row, logged=from_logs(certificate))
    deciding = [row for row in rows if row not in as_is and row.role is not Role.REPORTED]
    counting = [row for row in deciding if row.role is not Role.ADVISORY or row.named]
    silent = [row for row in counting if row.status is not Status.MEASURED]
    told = _ranked([row for row in counting if row.status is Status.MEASURED])
    for row in told[:SENTENCES]:
        yield attack_in_short(row)
    if rest := told[SENTENCES:]:
        settled = all(result(row).outcome == "within" for row in rest)
        yield in_short("others_within" if settled else "others_open", attacks=len(rest))
    if silent:
        yield in_short("not_run", attacks=len(silent), labels=_with_reasons(silent))


def _with_reasons(rows: Sequence[MatrixRow]) -> Phrase:
    """Return labels of attacks without a result, those of one reason together."""
    by_reason: dict[str, tuple[Phrase, list[str]]] = {}
    for row in rows:
        why = reason(row).shortened(160)
        by_reason.setdefault(str(why), (why, []))[1].append(row.label)
    return join(
        "; ",
        (plain(f"{', '.join(labels)} (") + why + plain(")") for why, labels in by_reason.values()),
    )


def _what_would_decide(certificate: Certificate) -> Iterator[Phrase]:
    """Yield how many facts would decide, or else what is missing first."""
    decisive = (r for r in certificate.verdict.reasons if r.code in _DECIDES)
    if (first := next(decisive, None)) is not None:
        yield in_short("what_would_decide", what=phrase(first))
    elif steps := [step for step in _mending(certificate) if step not in _OF_THE_MODEL]:
        yield in_short("what_would_decide", what=steps[0])


def _ranked(rows: Sequence[MatrixRow]) -> list[MatrixRow]:
    """Return the rows to tell, the gravest first, each plain name once."""
    ordered = sorted(rows, key=_gravity)
    seen: dict[str, MatrixRow] = {}
    for row in ordered:
        seen.setdefault(str(plain_name(row.label)), row)
    return list(seen.values())


def _gravity(row: MatrixRow) -> tuple[int, float, float]:
    figures = row.strongest.figures if row.status is Status.MEASURED else None
    leaked = figures.leak.rate or 0.0 if figures else 0.0
    rho = figures.rho or 0.0 if figures else 0.0
    return _ORDER.index(result(row).outcome), -leaked, -rho


def _nothing_known(certificate: Certificate) -> Iterator[Phrase]:
    as_is = next((row for row in certificate.matrix if row.attack.startswith("none/")), None)
    known = as_is.forget.get(as_is.metric, {}) if as_is else {}
    original, baseline = known.get(Arm.ORIGINAL), baseline_mean(known)
    yield in_short("nothing_known", original=original, baseline=baseline)


def _example(certificate: Certificate) -> Example | None:
    """Return the fact that shows most.

    It is not said as released, and is said under an attack.
    """
    named = {row.label for row in certificate.matrix if row.named}
    spoken = [fact for fact in certificate.worst_facts if fact.said.get(Arm.UNLEARNED)]
    shown_by = [fact for fact in spoken if fact.attack in named] if named else []
    if not shown_by:
        return None
    fact = min(shown_by, key=_telling)
    return Example(
        prompt=fact.prompt,
        answer=fact.answer,
        released=fact.said_as_released,
        how=plain_name(fact.attack),
        attacked=fact.said[Arm.UNLEARNED],
    )


def _telling(fact: WorstFactPart) -> tuple[bool, bool, int]:
    """Return how little a fact tells.

    Most tells one of which an attack made the answer true.
    """
    said, before = fact.said[Arm.UNLEARNED].casefold(), (fact.said_as_released or "").casefold()
    true = fact.answer.casefold().strip(" .")
    return true not in said, true in before or said == before, len(fact.prompt) + len(said)


def _strength(certificate: Certificate) -> Iterator[tuple[str, Phrase]]:
    policy = certificate.policy
    yield "policy", strength("policy", policy=policy.name, delta=policy.delta, alpha=policy.alpha)
    yield "attacks", _attacks_run(certificate)
    yield "baseline", _baseline(certificate)
    forget = certificate.scope.sets.get("forget")
    if forget is not None:
        scope = strength(certificate.scope.scope)
        yield "facts", strength("facts", facts=forget.facts, entities=forget.entities, scope=scope)
    expires, days = certificate.timing.expires, policy.valid_days
    if expires is None or days is None:
        yield "valid", strength("never_expires")
    else:
        yield "valid", strength("expires", days=days, until=expires[:10])
    yield from _release(certificate)


def _attacks_run(certificate: Certificate) -> Phrase:
    measured = [row for row in certificate.matrix if row.status is Status.MEASURED]
    kind = certificate.identity.kind
    installed = [name for name in ATTACKS.names() if _attacks(name, kind)]
    profile = certificate.reproduction.plan.get("profile")
    told: dict[str, Any] = {
        "run": len({row.attack for row in measured}),
        "levels": len(measured),
        "installed": len({*installed, *(row.attack for row in measured)}),
    }
    if isinstance(profile, str):
        return strength("attacks", profile=profile, **told)
    return strength("attacks_without_profile", **told)


def _attacks(name: str, kind: str) -> bool:
    try:
        return kind in ATTACKS.metadata(name).kinds
    except AuditorError:  # a plug-in that does not load
        return False


def _baseline(certificate: Certificate) -> Phrase:
    baseline = Baseline(certificate.verdict.baseline)
    arms = [Arm(part.arm) for part in certificate.identity.arms]
    models = sum(arm.is_retrained for arm in arms)
    return strength(baseline.value, models=models)


def _release(certificate: Certificate) -> Iterator[tuple[str, Phrase]]:
    found = release_outlook(certificate)
    if found is None:
        return
    if found.passes:
        yield "release", strength("release_yes", policy=found.policy)
    elif found.passes is None:
        yield "release", strength("release_open", policy=found.policy)
    else:
        lacking = join("; ", map(release_lacks, found.lacking[:LACKING]))
        yield "release", strength("release_no", policy=found.policy, lacking=lacking)


def _next_steps(certificate: Certificate, *, signed: bool) -> Iterator[str]:
    verdict = certificate.verdict.verdict
    steps: list[str] = []
    if verdict == "FAIL":
        named = [row for row in certificate.matrix if row.named and row.role is not Role.REPORTED]
        families = [row.id.family for row in sorted(named, key=_gravity)]
        steps += [NEXT_BY_FAMILY.get(family, NEXT_BY_FAMILY[""]) for family in families]
    elif verdict == "INCONCLUSIVE":
        steps += _mending(certificate)
    steps = [step for step, _ in groupby(steps)][: STEPS - 1]
    steps += NEXT_BY_VERDICT[verdict]
    if verdict == "PASS":
        steps.append(NEXT_AGAIN["expires" if certificate.timing.expires else "for ever"])
    if not signed and verdict == "PASS":
        steps.insert(0, NEXT_UNSIGNED)
    yield from list(dict.fromkeys(steps))[:STEPS]


def _mending(certificate: Certificate) -> list[str]:
    """Return what would meet the unmet conditions of a PASS."""
    codes = [code for r in certificate.verdict.reasons for code in _codes(r)]
    if Flag.UTILITY_LOST in certificate.verdict.flags:
        codes.append("utility_lost")
    return list(dict.fromkeys(NEXT_BY_CODE[code] for code in codes if code in NEXT_BY_CODE))


def _codes(message: Message) -> Iterator[str]:
    """Yield the code of a message, and of those within it.

    Advisory ones are left out.
    """
    if message.code == "advisory":
        return
    yield message.code
    for value in message.params.values():
        if is_message(value):
            yield from _codes(Message.model_validate(value))


def _about(certificate: Certificate) -> tuple[tuple[str, str], ...]:
    stated = certificate.about
    if stated is None:
        return ()
    return tuple(
        (label, said)
        for name, label in ABOUT_NAMES.items()
        if (said := getattr(stated, name)) is not None
    )


def quotation(text: str) -> Phrase:
    """Return a text that somebody else wrote, as a quotation."""
    return shown(Quoted(text)) if text else plain("(no answer)")
