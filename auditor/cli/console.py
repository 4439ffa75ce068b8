"""Consoles of the command line.

Data go to standard output, everything else to standard error.
"""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from auditor.core.messages import Message
from auditor.core.text_safety import cut_note, escape_unprintable
from auditor.core.wording import sentence

if TYPE_CHECKING:  # the certificate brings numpy and scipy, which `--help` does without
    from auditor.certificate.schema import Certificate, VerdictPart

OUT = Console(soft_wrap=True)
ERR = Console(stderr=True, soft_wrap=True)

_SENTENCE = 1200
"""Most characters of a sentence that are shown, since it may quote names of plugins and errors of
models."""

_NAMED = 3
"""Leaked facts that are named where the verdict is no PASS, which names every one."""
_REASON = 20_000
"""Most characters of a PASS's reason, which may name many facts."""

_STYLES = {"PASS": "bold green", "FAIL": "bold red"}


def foreign(text: str, limit: int = 200, style: str = "") -> Text:
    """Return foreign text without markup or control characters.

    Rich reads no markup in it, and no terminal obeys it.

    Args:
        text: what a model, a file or a plugin says.
        limit: characters that are shown; a text that was cut says so.
        style: rich's, of the whole.
    """
    return Text(escape_unprintable(text[:limit]) + cut_note(text, limit), style)


def worded(message: Message, limit: int = _SENTENCE) -> Text:
    """Return a message in words, made safe as `foreign` does.

    Quotations have their marks.
    """
    return foreign(sentence(message), limit)


def print_summary(certificate: "Certificate") -> None:
    """Say the verdict and why, and what to be wary of."""
    print_verdict(certificate.verdict)
    for waiver in certificate.policy.waivers:
        said = f"{waiver.attack} until {waiver.until}: {waiver.reason} ({waiver.by})"
        OUT.print(Text.assemble("  ", ("waived", "yellow"), ": ", foreign(said, _SENTENCE)))
    for warning in certificate.warnings:
        OUT.print(Text.assemble("  ", ("warning", "yellow"), ": ", worded(warning)))


def print_verdict(verdict: "VerdictPart") -> None:
    """Say a verdict and why."""
    style = _STYLES.get(verdict.verdict, "bold yellow")
    flags = "".join(f" · {flag}" for flag in verdict.flags)
    OUT.print(f"[{style}]{verdict.title}[/]{flags}")
    OUT.print(worded(verdict.claim))
    limit = _REASON if verdict.verdict == "PASS" else _SENTENCE
    for reason in verdict.reasons_naming(_NAMED):
        OUT.print(Text.assemble("  - ", worded(reason, limit)))
