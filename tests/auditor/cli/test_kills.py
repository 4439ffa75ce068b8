"""Commands that are killed or interrupted at random moments leave nothing half, and go on."""

import json
import os
import random
import signal
import socket
import sys
import time
from collections import defaultdict

import pytest
from hand_made_certificates import honest_certificate
from tiny_models import save_audit

from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import INTERRUPTED, OK, UNDECIDED, run
from auditor.core.files import PARTIAL
from auditor.signing.reading import read

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDED = {of: -of for of in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)}
"""How a process ends that does not handle its signal; an interruption is handled."""
COMMANDS = ("audit", "sign", "render", "policy")


def _command(arguments, ready, connections=None):
    # a child of a process in the background ignores them
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if connections is not None:
        _note_connections(connections)
    import torch

    torch.set_num_threads(1)
    with open("/dev/null", "w") as nowhere:  # noqa: PTH123 - replaces the streams of the process
        sys.stdout = sys.stderr = nowhere
        try:
            ready.set()
            os._exit(run(arguments))  # at once: what comes after the command is not its end
        except KeyboardInterrupt:  # it came before the command began, or when it was over
            os._exit(INTERRUPTED)


def _note_connections(file):
    """Write down whom this process wants to reach, but for other processes here."""
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_OFFLINE = False

    def note(event, arguments):
        named = event == "socket.getaddrinfo"
        if named or (event == "socket.connect" and isinstance(arguments[1], tuple)):
            with file.open("a") as notes:
                notes.write(f"{event} {arguments[1:] if not named else arguments}\n")

    sys.addaudithook(note)
    socket.getaddrinfo("localhost", 80)  # so that there is a note


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A plan on random models, a key and a certificate."""
    root = tmp_path_factory.mktemp("inputs")
    save_audit(root, "Person {i} lives in")
    plan = {
        "unlearned": str(root / "unlearned"),
        "original": str(root / "original"),
        "retrained": [str(root / "retrained")],
        "data": {name: str(root / f"{name}.jsonl") for name in ("forget", "retain")},
        "profile": None,
        "attacks": [{"attack": "quantization/rtn", "parameters": {"bits": [3, 4]}}],
        "policy": {"mandatory": ["none/as-is"]},
        "metrics": {"reported": []},
    }
    (root / "plan.yaml").write_text(json.dumps(plan))
    write_certificate(honest_certificate("PASS").named(), root / "certificate.json")
    assert run(["keygen", str(root / "k")]) == OK
    return root


class Struck:
    """A command that is struck by signals.

    Attributes:
        counts: signal to how often it ended the command, and how often it came too late.
    """

    def __init__(self, server, command, inputs, out):
        certificate, key = str(inputs / "certificate.json"), str(inputs / "k.pem")
        self.server, self.command, self.out = server, command, out
        self.arguments = {
            "audit": ["audit", str(inputs / "plan.yaml"), "--out", str(out), "-q"],
            "sign": ["sign", certificate, "--key", key, "--out", str(out / "signed.json")],
            "render": ["render", certificate, "--html", "--as", "junit", "--out", str(out)],
            "policy": ["policy", "show", "release-gate"],
        }[command]
        self.whole = UNDECIDED if command == "audit" else OK
        self.counts = defaultdict(lambda: {"ended": 0, "late": 0})

    def start(self, **watched):
        """A process that is about to run the command."""
        ready = self.server.Event()
        process = self.server.Process(target=_command, args=(self.arguments, ready), kwargs=watched)
        process.start()
        assert ready.wait(60)
        return process

    def undisturbed(self):
        """Run it to its end: what it wrote, and how long it took."""
        self.out.mkdir()
        process = self.start()
        began = time.monotonic()
        process.join(120)
        seconds = time.monotonic() - began
        assert process.exitcode == self.whole
        return self.content(), seconds

    def strike(self, number, moment, times=1):
        """Send it a signal after so many seconds; check how it ended and what is there."""
        process = self.start()
        process.join(moment)
        late = process.exitcode is not None
        if not late:
            for _ in range(times):
                os.kill(process.pid, number)  # one that has ended is not yet waited for
                time.sleep(0.01)
            process.join(120)
        assert process.exitcode in (self.whole, ENDED.get(number, INTERRUPTED))
        late = process.exitcode == self.whole
        self.counts[number]["late" if late else "ended"] += 1
        self.check_nothing_half()

    def check_nothing_half(self):
        """What is there under its own name is whole."""
        if (self.out / "certificate.json").exists():
            read_certificate(self.out / "certificate.json")
        if (self.out / "signed.json").exists():
            read(self.out / "signed.json")
        for page in self.out.glob("*.html"):
            assert page.read_text().rstrip().endswith("</html>")
        for suite in self.out.glob("*.junit.xml"):
            assert suite.read_text().rstrip().endswith("</testsuites>")

    def content(self):
        """Name to content of everything that the command wrote, but for times and evidence."""
        found = {}
        for file in sorted(self.out.iterdir()):
            if file.is_dir() or file.match(PARTIAL):
                continue
            content = file.read_text()
            if self.command == "audit":
                if file.suffix != ".json":
                    continue
                certificate = json.loads(content)
                del certificate["timing"]
                content = json.dumps(certificate)
            found[file.name] = content
        return found

    def finished(self):
        """Run it to its end after signals: what is there then."""
        process = self.start()
        process.join(120)
        assert process.exitcode == self.whole
        return self.content()


def resumed(server, command, inputs, folder, signals, seed):
    """Strike a command by signals, one after the other, and let it finish.

    Returns:
        Whether what is there in the end is what an undisturbed one writes, and the counts.
    """
    struck = Struck(server, command, inputs, folder / "out")
    expected, seconds = struck.undisturbed()
    struck.out.rename(folder / "whole")
    struck.out.mkdir()
    moments = random.Random(seed)
    for number in moments.sample(signals, len(signals)):
        struck.strike(number, moments.uniform(0, seconds))
        if command == "sign":  # a signed certificate is not signed again
            (struck.out / "signed.json").unlink(missing_ok=True)
    return struck.finished() == expected, struck.counts


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_was_struck_goes_on(server, inputs, tmp_path, command):
    same, counts = resumed(server, command, inputs, tmp_path, SIGNALS, 5)
    assert same
    assert sum(sum(count.values()) for count in counts.values()) == len(SIGNALS)


@pytest.mark.nightly
@pytest.mark.parametrize(("number", "times"), [(signal.SIGHUP, 1), (signal.SIGINT, 2)])
def test_an_audit_that_was_hung_up_or_interrupted_twice_goes_on(
    server, inputs, tmp_path, number, times
):
    struck = Struck(server, "audit", inputs, tmp_path / "out")
    expected, seconds = struck.undisturbed()
    struck.out.rename(tmp_path / "whole")
    struck.out.mkdir()
    for part in (0.1, 0.4, 0.7):
        struck.strike(number, part * seconds, times)
    assert struck.counts[number]["ended"] > 0
    assert struck.finished() == expected


def test_two_of_one_plan_at_once_write_the_same(server, inputs, tmp_path):
    struck = Struck(server, "audit", inputs, tmp_path / "out")
    expected, _ = struck.undisturbed()
    struck.out.rename(tmp_path / "whole")
    struck.out.mkdir()
    both = [struck.start(), struck.start()]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [struck.whole, struck.whole]
    assert struck.content() == expected


def test_an_audit_of_local_files_reaches_nobody(server, inputs, tmp_path):
    struck, notes = Struck(server, "audit", inputs, tmp_path / "out"), tmp_path / "notes"
    struck.out.mkdir()
    process = struck.start(connections=notes)
    process.join(120)
    assert process.exitcode == struck.whole
    [ours] = notes.read_text().splitlines()
    assert "localhost" in ours


@pytest.mark.nightly
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_goes_on_from_any_moment(server, inputs, tmp_path, command, record_property):
    totals = {str(number): {"ended": 0, "late": 0} for number in SIGNALS}
    alike = 0
    for trial in range(17):  # three signals each: 51 moments
        folder = tmp_path / str(trial)
        folder.mkdir()
        same, counts = resumed(server, command, inputs, folder, SIGNALS, trial)
        alike += same
        for number, count in counts.items():
            for name, times in count.items():
                totals[str(number)][name] += times
    record_property("ended and late, by signal", json.dumps(totals))
    print(command, f"{alike} of 17 ended as an undisturbed one", totals)
    assert alike == 17
