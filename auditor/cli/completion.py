"""Completion of arguments and option values in a shell.

Names are looked up when a shell asks for them, and whatever takes long to import with them.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""Function of context, parameter and what is written so far."""


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave completion to the shell, which knows its files."""
    return [CompletionItem(incomplete, type="file")]


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave completion to the shell, which knows its folders."""
    return [CompletionItem(incomplete, type="dir")]


def among(names: Callable[[], Iterable[str]], *, or_file: bool = False) -> Completer:
    """Return a function that completes names.

    Args:
        names: Returns all names.
        or_file: Whether a file may be given in place of a name.
    """

    def completed(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        named = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        # first: bash forgets what came before it
        return [*(files(ctx, param, incomplete) if or_file else ()), *named]

    return completed


def attacks() -> list[str]:
    """Return the names of all installed attacks."""
    from auditor.attack import ATTACKS

    return ATTACKS.names()


def families() -> list[str]:
    """Return the families of the installed attacks."""
    return sorted({name.partition("/")[0] for name in attacks()})


def policies() -> list[str]:
    """Return the names of the ready-made policies."""
    from auditor.policy import ready_made

    return list(ready_made())


def forms() -> list[str]:
    """Return the names of the forms of a certificate beside itself."""
    from auditor.report import REPORTS

    return REPORTS.names()


def executors() -> list[str]:
    """Return the names of the installed executors, of which none is imported."""
    return sorted(entry_points(group="auditor.executors").names)


def benchmarks() -> list[str]:
    """Return the names of the known benchmarks."""
    from auditor.data.benchmarks import BENCHMARKS

    return list(BENCHMARKS)


def log_layouts() -> list[str]:
    """Return the names of the layouts of logs."""
    from auditor.data.logs.layouts import LAYOUTS

    return list(LAYOUTS)


def worlds() -> list[str]:
    """Return the names of the testbed's worlds."""
    from auditor.testbeds.catalogue import list_worlds

    return [recipe.name for recipe in list_worlds()]
