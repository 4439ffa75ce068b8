"""The `auditor` command, its exit codes and its errors."""

import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from auditor import __version__
from auditor.core.errors import AuditorError
from auditor.core.extras import missing_extra
from auditor.core.files import system_error_number
from auditor.core.interruption import interruptible
from auditor.core.quiet import quiet_libraries
from auditor.core.reading import UnfitFileError
from auditor.core.text_safety import escape_unprintable

PROGRAM = "auditor"
"""Name of the command, however it was started."""
COMPLETION_VARIABLE = "_AUDITOR_COMPLETE"
"""Environment variable by which a shell asks for completions, of a call without arguments. It is
never derived from how the program was started, and a call with arguments is a command whatever it
says: 0 would be taken for a PASS."""
_NO_VARIABLE = ""
"""Name of no environment variable."""
OK, FAILED_VERDICT, USAGE, UNDECIDED, BROKEN, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: PASS, FAIL, usage, INCONCLUSIVE or NOT AUDITABLE, an attack or the audit failed."""

_FILE_ERRORS = (
    *(FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError),
    UnfitFileError,
)
"""Errors that a wrong path or a lack of rights leads to."""
_PATH_ERRORS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS)
"""Numbers of further such errors, which have no class of their own."""
_MACHINE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full: the quota is used up",
    errno.EFBIG: "the disk is full: no file may become so large here",
    errno.EROFS: "the disk cannot be written",
    errno.EMFILE: "too many files are open (`ulimit -n` says how many may be)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the disk cannot be read or written",
    errno.EACCES: "writing there is not permitted",
    errno.ENOMEM: "there is not enough memory",
}
"""What a machine lacks, by the number of the system's error."""
_SHOWN = 300
"""Most characters of a path that are shown."""

SUMMARIES = {
    "audit": "Attack all models alike, decide, and write a certificate.",
    "plan": "Check a plan and estimate what it costs. Runs no attack.",
    "init": "Write a commented plan to start from.",
    "import": "Read logs of other tools, so that they can be certified.",
    "certify": "Decide on imported logs, and write a certificate.",
    "facts": "Build facts from texts, tables, hub data or tasks, and check them.",
    "baseline": "Train a baseline where there is no retrained model.",
    "demo": "Audit two small models: one fails and one passes.",
    "keygen": "Make a key pair to sign certificates with.",
    "sign": "Sign a certificate, or add a signature to a signed one.",
    "verify": "Check a certificate: signature, evidence, verdict, model.",
    "gate": "Decide again under a policy, from the stored evidence.",
    "policy": "List, show and check policies: what decides a verdict.",
    "render": "Write a certificate as a web page or in other forms.",
    "export": "Write a certificate's evidence as a table, or found prompts.",
    "compare": "Compare two certificates, fact by fact where possible.",
    "leaderboard": "Rank all certificates under a folder.",
    "view": "Show certificates, evidence and running audits in a browser.",
    "attacks": "List and describe the attacks.",
    "testbed": "Build and list worlds of small models.",
    "doctor": "Check the machine, the packages and the plugins.",
}
"""First line of the help of each command, by its name; the command is the module
``auditor.cli.<name>``, or the one in `_MODULES`.

The lines are written out, so that `--help` imports no command."""


_MODULES = {"import": "import_logs"}
"""Modules of commands whose names cannot be those of modules."""


class _Commands(click.Group):
    """Imports the module of a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUMMARIES:
            return None
        module = f"auditor.cli.{_MODULES.get(cmd_name, cmd_name)}"
        command: click.Command = importlib.import_module(module).command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, of which none is imported."""
        commands = [
            CompletionItem(name, help=said)
            for name, said in SUMMARIES.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in SUMMARIES and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], SUMMARIES, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 PASS, 1 FAIL, 2 usage, 3 INCONCLUSIVE or NOT AUDITABLE, 4 an attack or "
    "the audit itself failed, 10 to 17 a certificate that does not hold (`auditor verify --help`), "
    "130 interrupted.",
)
@click.version_option(__version__)
def cli() -> None:
    """Audit a model that is said to have forgotten something.

    Runs the same attacks on the unlearned, the original and retrained models, and writes a
    certificate of how much knowledge is left. `auditor demo` shows it in a few minutes.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Errors are printed, never raised.
    """
    quiet_libraries()
    given = sys.argv[1:] if arguments is None else arguments
    completing = not given and bool(os.environ.get(COMPLETION_VARIABLE))
    variable = COMPLETION_VARIABLE if completing else _NO_VARIABLE
    try:
        with interruptible():
            result = cli.main(given, PROGRAM, complete_var=variable, standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except AuditorError as error:
        return _refused(error)
    except ModuleNotFoundError as error:
        return _not_installed(error)
    except SystemExit as stop:  # a closed pipe, or a library that ends the process: no verdict
        if completing:  # click ends the process when it has completed
            return OK if stop.code == OK else USAGE
        click.echo(
            "auditor: ended before it could finish: whoever read the output closed it, or a "
            f"library ended the process (exit {stop.code}).",
            err=True,
        )
        return BROKEN
    except (KeyboardInterrupt, click.Abort):
        click.echo("auditor: interrupted; run the same command again to go on.", err=True)
        return INTERRUPTED
    except MemoryError:
        return _lacking(_MACHINE_ERRORS[errno.ENOMEM], "")
    except (
        BaseException
    ) as error:  # the last line of defence: a crash must never look like a verdict
        return _crashed(error)
    return result if isinstance(result, int) else OK


def _not_installed(error: ModuleNotFoundError) -> int:
    """Name the extra that brings the package.

    Where none does, the code is broken.
    """
    if (lacking := missing_extra(error)) is None:
        traceback.print_exc()
        return BROKEN
    return _refused(lacking)


def _crashed(error: BaseException) -> int:
    """Name the file, or what the machine lacks.

    Every other fault is shown whole.
    """
    number = system_error_number(error)
    of_a_path = isinstance(error, _FILE_ERRORS) or number in _PATH_ERRORS
    name = escape_unprintable(str(getattr(error, "filename", None) or ""))[:_SHOWN]
    if of_a_path and name:
        click.echo(f"auditor: {name}: {getattr(error, 'strerror', '')}.", err=True)
        return USAGE
    if number in _MACHINE_ERRORS:
        return _lacking(_MACHINE_ERRORS[number], name)
    traceback.print_exception(error)
    return BROKEN


def _lacking(what: str, name: str) -> int:
    place = f" ({name})" if name else ""
    click.echo(
        f"auditor: {what}{place}; what was measured is kept. Mend that and run the same command "
        "again to go on.",
        err=True,
    )
    return BROKEN


def _refused(error: AuditorError) -> int:
    # it may quote what others wrote
    said = "\n".join(map(escape_unprintable, str(error).split("\n")))
    click.echo(f"auditor: {said}", err=True)
    return error.exit_code
