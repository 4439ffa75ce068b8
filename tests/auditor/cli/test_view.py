"""`auditor view`: what it prints, how it ends, and what is refused."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import reports.overview  # noqa: F401 - registers its pages
from auditor.cli.main import OK, USAGE, run

START = (
    "import sys, reports.overview; from auditor.cli.main import run; sys.exit(run(sys.argv[1:]))"
)


@pytest.fixture
def started(tmp_path):
    """Starts the command in a process of its own and gives it with the address that it prints."""
    processes = []

    def start(*options, **environment):
        command = [sys.executable, "-c", START, "view", str(tmp_path), *options]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            # where tests run in the background, Ctrl-C is ignored, and a child inherits that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_it_prints_its_address_serves_and_ends_with_ctrl_c(started):
    process, address = started()
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address) as answer:  # noqa: S310 - http, as asserted above
        assert "There is no certificate in this folder" in answer.read().decode()
    process.send_signal(signal.SIGINT)
    said, warned = process.communicate(timeout=60)
    assert process.returncode == OK
    assert "Traceback" not in said + warned
    token = address.split("/")[3]
    assert token not in warned, "requests are not logged, for they hold the token"


def test_another_port(started):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    _, address = started("--port", str(port))
    assert address.startswith(f"http://127.0.0.1:{port}/")


def test_a_port_that_is_taken(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["view", str(tmp_path), "--port", str(port)]) == USAGE
    said = capsys.readouterr().err
    assert f"port {port}" in said
    assert "Traceback" not in said


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert run(["view", str(tmp_path / "nonesuch")]) == USAGE
    assert "nonesuch" in capsys.readouterr().err


def test_the_token_is_not_on_the_command_line_of_a_browser(started, tmp_path):
    """A browser of our own that keeps what it was given, and opens it."""
    kept, copied = tmp_path / "kept", tmp_path / "copied"
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {kept}.part\n'
        f'file="${{1#file://}}"\nstat -c %a "$(dirname "$file")" >> {kept}.part\n'
        f'cat "$file" > {copied}\nmv {kept}.part {kept}\n'
    )
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    process, address = started("--open", BROWSER=f"{browser} %s")
    while not kept.exists():
        assert process.poll() is None
        time.sleep(0.02)
    given, mode = kept.read_text().split()
    assert given.startswith("file://")
    assert address.split("/")[3] not in given
    assert mode == "700", "nobody else may read what leads to the address"
    assert f"url={address}" in copied.read_text()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not Path(given.removeprefix("file://")).exists()
