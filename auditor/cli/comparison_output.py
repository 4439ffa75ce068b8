"""Output of `auditor compare` and `auditor leaderboard`."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.cli.console import OUT
from auditor.core.errors import AuditorError
from auditor.core.files import write_whole
from auditor.core.text_safety import path_text

MISSING = "not measured"

_PIPE_WIDTH = 160
"""Columns of a table that goes into a file or a pipe, which have no width of their own."""

_WIDE = 110
"""Columns from which an attack's label stands in one line."""

VERDICT_STYLES = {"PASS": "bold green", "FAIL": "bold red"}


def verdict_text(verdict: str, flags: tuple[str, ...]) -> Text:
    """A verdict in its colour, and its flags."""
    shown = Text(verdict, VERDICT_STYLES.get(verdict, "bold yellow"))
    return shown.append("".join(f" · {flag}" for flag in flags), "default")


def figure(value: float | None, missing: str = MISSING, sign: bool = False) -> str:
    """Return a number with three decimals.

    A missing number is said to be missing.
    """
    if value is None:
        return missing
    return f"{value + 0.0:{'+' if sign else ''}.3f}"


def bounds(lower: float | None, upper: float | None) -> str:
    """Bounds in brackets; one that does not exist is said not to."""
    return f"[{figure(lower, 'not bounded')}, {figure(upper, 'not bounded')}]"


def wrapping_table(*headings: str) -> Table:
    """Return a table whose cells wrap.

    Nothing in them is cut to fit.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def table_width() -> int:
    """Return the columns that a table has room for."""
    return OUT.width if OUT.is_terminal else _PIPE_WIDTH


def attack_cell(label: str, beside: str = "") -> str:
    """Return an attack's label for a table.

    It takes two lines where there is little room.

    Args:
        label: ``family/name variant``.
        beside: what else is said of it, as its role.
    """
    attack, _, variant = label.partition(" ")
    level = ", ".join(filter(None, (variant, beside)))
    if table_width() >= _WIDE:
        return f"{label}, {beside}" if beside else label
    return f"{attack}\n  {level}" if level else attack


def print_table(table: Table) -> None:
    """Print a table from `wrapping_table`."""
    console = OUT if OUT.is_terminal else Console(width=_PIPE_WIDTH)
    console.print(table, soft_wrap=False)


def write_page(text: str, target: Path, given: list[Path]) -> None:
    """Write a page, but over none of its sources.

    Raises:
        AuditorError: it would be one of them.
    """
    for source in given:
        if target.exists() and source.exists() and target.samefile(source):
            raise AuditorError(
                f"{path_text(target)} is one of the certificates, which is not written over; "
                "choose another place with --out."
            )
    write_whole(target, text.encode())
