"""The `auditor` command, its exit codes and its errors."""

import errno
import importlib
import traceback
from collections.abc import Sequence

import click

from auditor import __version__
from auditor.cli.console import quiet_libraries
from auditor.core.errors import AuditorError

OK, FAILED_VERDICT, USAGE, UNDECIDED, BROKEN, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: PASS, FAIL, usage, INCONCLUSIVE or NOT AUDITABLE, an attack or the audit failed."""

_FILE_ERRORS = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
"""What a wrong path or a lack of rights leads to."""

_COMMANDS = {
    "audit": "auditor.cli.audit",
    "plan": "auditor.cli.plan",
    "init": "auditor.cli.init",
    "demo": "auditor.cli.demo",
    "keygen": "auditor.cli.keygen",
    "sign": "auditor.cli.sign",
    "verify": "auditor.cli.verify",
    "gate": "auditor.cli.gate",
    "policy": "auditor.cli.policy",
    "render": "auditor.cli.render",
    "compare": "auditor.cli.compare",
    "leaderboard": "auditor.cli.leaderboard",
    "view": "auditor.cli.view",
    "attacks": "auditor.cli.attacks",
    "testbed": "auditor.cli.testbed",
    "doctor": "auditor.cli.doctor",
}


class _Commands(click.Group):
    """Imports a command's module when it is called: `--help` must not wait for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command


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
    """Run the command line and return its exit code; errors are printed, never raised."""
    quiet_libraries()
    try:
        result = cli.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except AuditorError as error:
        said = "\n".join(
            map(escape_unprintable, str(error).split("\n"))
        )  # it may quote what others wrote
        click.echo(f"auditor: {said}", err=True)
        return error.exit_code
    except SystemExit as stop:  # a closed pipe, or a library that ends the process: no verdict
        click.echo(f"auditor: ended before it could finish (exit {stop.code})", err=True)
        return BROKEN
    except (KeyboardInterrupt, click.Abort):
        click.echo("auditor: interrupted; run the same command again to go on.", err=True)
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, _FILE_ERRORS) and error.filename is not None:
            click.echo(f"auditor: {error.filename}: {error.strerror}.", err=True)
            return USAGE
        if error.errno != errno.ENOSPC:
            traceback.print_exc()
            return BROKEN
        click.echo(
            f"auditor: the disk is full ({error.filename or 'evidence'}); what was measured is "
            "kept. Free some space and run the same command again to go on.",
            err=True,
        )
        return BROKEN
    except Exception:  # the last line of defence: a crash must never look like a verdict
        traceback.print_exc()
        return BROKEN
    return result if isinstance(result, int) else OK
