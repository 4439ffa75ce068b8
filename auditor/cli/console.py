"""Consoles of the command line.

Data go to standard output, everything else to standard error.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from auditor.core.messages import Message
from auditor.core.text_safety import cut_note, escape_unprintable
from auditor.core.wording import sentence

if TYPE_CHECKING:  # the certificate brings numpy and scipy, which `--help` does without
    from auditor.certificate.schema import Certificate, VerdictPart

OUT = Console()
ERR = Console(stderr=True)
for _console in (OUT, ERR):
    # on a terminal lines end between words; what goes into a file or a pipe is not broken at all
    _console.soft_wrap = not _console.is_terminal

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


def next_step(command: str, *, beside: bool = False) -> None:
    """Say what to do next, as the last line of a command.

    Args:
        command: what to do.
        beside: whether standard output is for other programs, so that it is said beside it, and on
            a terminal alone.
    """
    console = ERR if beside else OUT
    if not beside or ERR.is_terminal:
        console.print(Text.assemble(("next", "bold"), ": ", foreign(command, _SENTENCE)))


def print_summary(certificate: "Certificate", out: Path | None = None) -> None:
    """Say the verdict and why, and last the first page's sheet.

    Args:
        certificate: what was decided.
        out: folder in which it was written; None where it was not.
    """
    print_verdict(certificate.verdict)
    for waiver in certificate.policy.waivers:
        said = f"{waiver.attack} until {waiver.until}: {waiver.reason} ({waiver.by})"
        OUT.print(Text.assemble("  ", ("waived", "yellow"), ": ", foreign(said, _SENTENCE)))
    for warning in certificate.warnings:
        OUT.print(Text.assemble("  ", ("warning", "yellow"), ": ", worded(warning)))
    _print_sheet(certificate)
    if out is not None:
        files = f"{out / 'certificate.html'} and {out / 'certificate.json'}"
        OUT.print(foreign(f"certificate: {files}", _SENTENCE))
    style = _STYLES.get(certificate.verdict.verdict, "bold yellow")
    name = foreign(f" {certificate.name or ''}".rstrip(), _SENTENCE)
    OUT.print(Text.assemble((certificate.verdict.title, style), name))
    if out is not None:
        next_step(f"auditor view {out}; auditor sign {out / 'certificate.json'} --key KEY")


def _print_sheet(certificate: "Certificate") -> None:
    """Print the sheet of a certificate, as its other forms have it."""
    from auditor.report import REPORTS

    sheet = REPORTS.get("text").render(certificate, None)
    OUT.print(Text(f"\n{sheet if isinstance(sheet, str) else sheet.decode()}"))


def print_verdict(verdict: "VerdictPart") -> None:
    """Say a verdict and why."""
    style = _STYLES.get(verdict.verdict, "bold yellow")
    flags = "".join(f" · {flag}" for flag in verdict.flags)
    OUT.print(f"[{style}]{verdict.title}[/]{flags}")
    OUT.print(worded(verdict.claim))
    limit = _REASON if verdict.verdict == "PASS" else _SENTENCE
    for reason in verdict.reasons_naming(_NAMED):
        OUT.print(Text.assemble("  - ", worded(reason, limit)))
