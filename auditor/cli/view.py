"""`auditor view`: certificates and running audits of a folder.

They are shown in a browser on this machine.
"""

import sys
import tempfile
import webbrowser
from html import escape
from pathlib import Path

import click

from auditor.cli.console import ERR, OUT, next_step
from auditor.cli.options import quiet_option
from auditor.cli.progress import chosen_progress
from auditor.core.errors import AuditorError
from auditor.core.progress import Progress


@click.command("view")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--open/--no-open",
    "opens",
    default=None,
    help="Open the page in a browser.  [default: open, if this is a terminal]",
)
@click.option(
    "--bundle",
    metavar="SITE",
    type=click.Path(path_type=Path),
    default=None,
    help="Write a static site of the certificates and their evidence into this new folder instead.",
)
@quiet_option
def command(folder: Path, port: int, opens: bool | None, bundle: Path | None, quiet: bool) -> None:
    """Show certificates, evidence and running audits in a browser.

    The page is for this machine and for whoever has its address, which holds a random token;
    nothing in DIR is written. It is read again at every request. Ctrl-C ends it (exit code 0).
    With --bundle nothing is served: the site can be opened from a disk, by whoever has it.
    """
    if bundle is not None:
        _write_bundle(folder, bundle, chosen_progress(quiet))
        return
    from auditor.viewer.server import Viewer

    try:
        viewer = Viewer(folder, port)
    except OSError as error:
        raise AuditorError(
            f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); choose another, or leave "
            "--port out to take a free one."
        ) from error
    with viewer, tempfile.TemporaryDirectory(prefix="auditor-view-") as private:
        click.echo(viewer.address)
        ERR.print("Only this machine can open it, with the token. Ctrl-C ends it.", highlight=False)
        if sys.stdout.isatty() if opens is None else opens:
            _open(viewer.address, Path(private))
        try:
            viewer.serve_forever()
        except KeyboardInterrupt:
            OUT.print("ended", highlight=False)


def _write_bundle(folder: Path, site: Path, progress: Progress) -> None:
    from auditor.viewer.bundle import write_bundle

    count = write_bundle(folder, site, progress)
    certificates = f"{count} certificate{'' if count == 1 else 's'}"
    OUT.print(f"{certificates} and what evidence there is, in {site}", highlight=False)
    next_step(f"open {site / 'index.html'}; whoever has the folder can read all of it.")


def _open(address: str, private: Path) -> None:
    """Open a private file that leads to the address.

    A command line is seen by everybody, a file is not.
    """
    page = private / "open.html"
    page.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={escape(address)}"><title>auditor</title>',
        encoding="utf-8",
    )
    if not webbrowser.open(page.as_uri()):
        ERR.print("no browser was found; open the address yourself.", highlight=False)
