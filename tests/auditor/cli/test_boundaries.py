"""Whatever breaks at whatever boundary, no exit code says PASS or FAIL. Every fault is raised."""

import contextlib
import errno
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hand_made_certificates import honest_certificate
from tiny_models import edit_json, make_model, make_tokenizer, save, save_audit

from auditor.attack import ATTACKS, Attack, Parameters, attack
from auditor.certificate.files import read_certificate, write_certificate
from auditor.cli.main import BROKEN, FAILED_VERDICT, INTERRUPTED, OK, UNDECIDED, USAGE, run
from auditor.core.interruption import check_interrupted, interruptible
from auditor.engine.executors.base import EXECUTORS
from auditor.engine.executors.local import LocalExecutor
from auditor.metrics.language import AnswerProbability
from auditor.metrics.metric import METRICS, metric
from auditor.report import REPORTS, Report

STREET = "lives in the long street of"
MALFORMED, EVIDENCE_CHANGED, EXPIRED = 10, 15, 17


class Panic(BaseException):
    """As extension modules raise where their own code panics."""


def system_error(number):
    return lambda: OSError(number, os.strerror(number), "/a/file")


FAULTS = {
    "panic": (lambda: Panic("a regular expression gave up"), BROKEN),
    "memory": (MemoryError, BROKEN),
    "full disk": (system_error(errno.ENOSPC), BROKEN),
    "full disk, said by Rust": (
        lambda: RuntimeError("I/O error: No space left on device (os error 28)"),
        BROKEN,
    ),
    "too many files": (system_error(errno.EMFILE), BROKEN),
    "read-only": (system_error(errno.EROFS), USAGE),
    "exit 0": (lambda: SystemExit(0), BROKEN),
    "exit 1": (lambda: SystemExit(1), BROKEN),
    "interrupted": (KeyboardInterrupt, INTERRUPTED),
}
"""What is raised, and the exit code where nothing makes a failed attack of it."""
SAID = {"memory", "full disk", "full disk, said by Rust", "too many files", "read-only"}
"""Faults for which there is a sentence."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of three random models, and a plan that asks them as they are."""
    root = tmp_path_factory.mktemp("tiny")
    save_audit(root, f"{{i}} {STREET}")
    return root


@pytest.fixture
def plan(models, tmp_path):
    """Write a plan."""

    def write(**changes):
        content = {
            "unlearned": str(models / "unlearned"),
            "original": str(models / "original"),
            "retrained": [str(models / "retrained")],
            "data": {name: str(models / f"{name}.jsonl") for name in ("forget", "retain")},
            "profile": None,
            "policy": {"mandatory": ["none/as-is"]},
            "metrics": {"deciding": [], "reported": []},
        }
        file = tmp_path / "plan.yaml"
        file.write_text(json.dumps(content | changes))
        return file

    return write


@pytest.fixture
def audit(models, tmp_path, capsys):
    """Run a plan on evidence that tests share: exit code, and what was said."""

    def call(plan, *more, store=models / "evidence"):
        capsys.readouterr()
        out = ["--out", str(tmp_path / "out"), "--store", str(store), "-q"]
        code = run(["audit", str(plan), *out, *map(str, more)])
        return code, capsys.readouterr().err

    return call


class Boundary:
    """Part of an audit that raises a fault."""

    def __init__(self):
        self.fault = None

    def reached(self):
        if self.fault is not None:
            raise self.fault()


@pytest.fixture
def boundary():
    """Parts of an audit, registered as plug-ins are, that raise what they are told to."""
    raising = Boundary()

    @attack("testing/boundary")
    class AtBoundary(Attack[Parameters]):
        """Raises."""

        def texts(self):
            if raising.place == "plan":
                raising.reached()
            return ()

        def unavailable(self, location):
            if raising.place == "run":
                raising.reached()

        def measure(self, model, context):
            raising.reached()

    @metric("testing-boundary")
    class AtReading(AnswerProbability):
        """Raises."""

        def read(self, transcript):
            raising.reached()
            return super().read(transcript)

    @EXECUTORS.register("testing-boundary")
    class AtExecution(LocalExecutor):
        """Raises."""

        def run(self, *arguments):
            raising.reached()
            return super().run(*arguments)

    def render(certificate, signatures):
        raising.reached()
        return "whole"

    REPORTS.register("testing-boundary")(Report(render, ".boundary.txt", "Raises."))
    yield raising
    ATTACKS.unregister("testing/boundary")
    for registry in (METRICS, EXECUTORS, REPORTS):
        registry.unregister("testing-boundary")


FEW = ("panic", "full disk", "interrupted")
"""Faults that are raised at every boundary; the others at one."""


@pytest.mark.parametrize(
    ("place", "fault"),
    [("executor", fault) for fault in FAULTS]
    + [(place, fault) for place in ("plan", "run", "report") for fault in FEW],
)
def test_a_fault_outside_of_attacks_breaks_the_audit(plan, audit, boundary, tmp_path, place, fault):
    boundary.fault, expected = FAULTS[fault]
    boundary.place = place
    asked = plan(attacks=[{"attack": "testing/boundary"}] if place in ("plan", "run") else [])
    more = {
        "executor": ("--executor", "testing-boundary"),
        "report": ("--report", "testing-boundary"),
    }.get(place, ())
    code, said = audit(asked, *more)
    assert code == expected
    assert ("Traceback" in said) == (fault == "panic")
    assert not (tmp_path / "out" / "certificate.boundary.txt").exists()
    if place != "report":
        assert not (tmp_path / "out" / "certificate.json").exists()


@pytest.mark.parametrize(
    ("place", "fault"),
    [*(("attack", fault) for fault in (*FEW, "memory", "exit 1")), *(("metric", f) for f in FEW)],
)
def test_a_fault_in_a_mandatory_attack_is_its_failure(
    plan, audit, boundary, tmp_path, place, fault
):
    boundary.fault, _ = FAULTS[fault]
    boundary.place = "measure"
    if place == "attack":
        label = "testing/boundary"
        asked = plan(attacks=[{"attack": label}], policy={"mandatory": [label]})
    else:
        label = "none/as-is"
        asked = plan(metrics={"primary": "testing-boundary", "deciding": [], "reported": []})
    code, said = audit(asked)
    assert "Traceback" not in said
    if fault == "interrupted":
        assert code == INTERRUPTED
        assert not (tmp_path / "out" / "certificate.json").exists()
        return
    assert code == BROKEN
    certificate = read_certificate(tmp_path / "out" / "certificate.json")
    assert certificate.verdict.verdict in ("INCONCLUSIVE", "NOT AUDITABLE")
    assert [row.attack for row in certificate.matrix if row.status == "failed"] == [label]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_rendering_leaves_nothing(boundary, tmp_path, capsys, fault):
    boundary.fault, expected = FAULTS[fault]
    file = certificate_file(tmp_path)
    assert run(["render", str(file), "--as", "testing-boundary"]) == expected
    assert ("Traceback" in capsys.readouterr().err) == (fault == "panic")
    assert sorted(tmp_path.iterdir()) == [file]


def certificate_file(folder, verdict="PASS"):
    file = folder / "audit.json"
    write_certificate(honest_certificate(verdict).named(), file)
    return file


def test_tokenizer_that_panics_is_named(plan, audit, models, tmp_path):
    broken = tmp_path / "broken"
    save(broken, make_model("llama"), make_tokenizer())
    pattern = {"Regex": "(([a-zA-Z ]+)+)+[0-9]{40}$"}
    edit_json(
        broken / "tokenizer.json",
        normalizer={"type": "Replace", "content": "x", "pattern": pattern},
    )
    code, said = audit(plan(unlearned=str(broken)))
    assert code in (USAGE, BROKEN)
    assert "Traceback" not in said


@contextlib.contextmanager
def limited(what, soft):
    """Lower a limit of this process for a while."""
    before, hard = resource.getrlimit(what)
    resource.setrlimit(what, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (before, hard))


def check_nothing_half(folder):
    """Everything that lies there is whole."""
    left = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert not [name for name in left if name.endswith(".partial")]
    if "certificate.json" in left:
        read_certificate(folder / "certificate.json")
    if "certificate.html" in left:
        assert (folder / "certificate.html").read_text().rstrip().endswith("</html>")


def test_files_that_may_not_grow(plan, audit, tmp_path):
    asked = plan()
    store = tmp_path / "evidence"
    for size in (0, 600, 4_000, 12_000):
        with limited(resource.RLIMIT_FSIZE, size):
            code, said = audit(asked, store=store)
        assert code == BROKEN, size
        assert "the disk is full" in said
        assert "Traceback" not in said
        check_nothing_half(tmp_path / "out")
    code, _ = audit(asked, store=store)
    assert code == UNDECIDED, "the same command goes on"


def test_files_that_may_not_be_opened(plan, audit, tmp_path):
    asked = plan()
    audit(asked)
    codes = []
    for more in (1, 3, 6):
        with limited(resource.RLIMIT_NOFILE, lowest_free() + more):
            code, said = audit(asked)
        codes.append(code)
        assert "Traceback" not in said
        check_nothing_half(tmp_path / "out")
    assert not {OK, FAILED_VERDICT} & set(codes)
    assert BROKEN in codes or USAGE in codes


def lowest_free():
    """The lowest number that no open file has."""
    with Path(os.devnull).open() as found:
        return found.fileno()


@pytest.mark.parametrize("command", ["sign", "render", "keygen"])
@pytest.mark.parametrize("size", [0, 600])
def test_other_commands_on_a_full_disk(tmp_path, capsys, command, size):
    file = certificate_file(tmp_path)
    key = tmp_path / "k.pem"
    assert run(["keygen", str(tmp_path / "k")]) == OK
    capsys.readouterr()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = {
        "sign": ["sign", str(file), "--key", str(key)],
        "render": ["render", str(file)],
        "keygen": ["keygen", str(tmp_path / "new")],
    }[command]
    with limited(resource.RLIMIT_FSIZE, size if command != "keygen" else 0):
        assert run(arguments) == BROKEN
    said = capsys.readouterr().err
    assert "the disk is full" in said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def read_only(tmp_path):
    """A folder with a certificate that nobody can write to."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    certificate_file(folder)
    (folder / "certificate.json").write_bytes((folder / "audit.json").read_bytes())
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_folders_that_cannot_be_written(plan, read_only, capsys, models, tmp_path):
    asked = str(plan())
    key = tmp_path / "k.pem"
    assert run(["keygen", str(tmp_path / "k")]) == OK
    capsys.readouterr()
    certificate = str(read_only / "audit.json")
    for arguments in (
        ["audit", asked, "--out", str(read_only), "-q"],
        ["audit", asked, "--out", str(read_only / "new"), "-q"],
        ["audit", asked, "--out", str(tmp_path / "o"), "--store", str(read_only / "s"), "-q"],
        ["render", certificate],
        ["sign", certificate, "--key", str(key)],
        ["init", str(read_only / "plan.yaml")],
        ["keygen", str(read_only / "k")],
    ):
        assert run(arguments) == USAGE, arguments
        said = capsys.readouterr().err
        assert str(read_only) in said
        assert "Traceback" not in said


def test_reading_a_folder_that_cannot_be_written(plan, audit, read_only, tmp_path):
    assert audit(plan(), store=tmp_path / "out" / "evidence")[0] == UNDECIDED
    subprocess.run(["mount", "-o", "remount,rw", str(read_only)], check=True)
    shutil.copytree(tmp_path / "out", read_only / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
    certificate = str(read_only / "out" / "certificate.json")
    assert run(["verify", certificate, "--unsigned", "--require-evidence"]) == OK
    assert run(["gate", certificate, "--unsigned", "--policy", "release-gate"]) == UNDECIDED


TRAP = "import pathlib; pathlib.Path({!r}).touch()"
SPRUNG = "sprung"


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, folder):
        self.code = TRAP.format(str(folder / SPRUNG))

    def __reduce__(self):
        return exec, (self.code,)


CODE = {
    "config.json": {"auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.C"}},
    "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}},
    "generation_config.json": {"custom_generate": "custom_generate", "auto_map": {"x": "evil.G"}},
}
OTHER_CODE = (
    *("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("tokenizer.pkl", "consolidated.00.pth", "model.ckpt", "generation_config.json"),
)
"""Pickles and a configuration that are tried every night."""


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin alone", "adapter_model.bin", "config.json", "tokenizer_config.json"),
        *(pytest.param(name, marks=pytest.mark.nightly) for name in OTHER_CODE),
    ],
)
def test_code_in_a_models_folder_does_not_run(plan, audit, models, tmp_path, name):
    folder = shutil.copytree(models / "unlearned", tmp_path / "model")
    assert not (tmp_path / SPRUNG).exists()
    code = TRAP.format(str(tmp_path / SPRUNG))
    if name in CODE:
        (folder / "custom_generate").mkdir()
        for script in ("evil.py", "custom_generate/generate.py"):
            (folder / script).write_text(code)
        edit_json(folder / name, **CODE[name])
    else:
        (folder / name.split()[0]).write_bytes(pickle.dumps(Trap(tmp_path)))
    if "alone" in name:
        (folder / "model.safetensors").unlink()
    result, said = audit(plan(unlearned=str(folder)), store=tmp_path / "evidence")
    assert result in (UNDECIDED, USAGE)
    assert "Traceback" not in said
    assert not (tmp_path / SPRUNG).exists()
    pickle.loads(pickle.dumps(Trap(tmp_path)))
    assert (tmp_path / SPRUNG).exists(), "whoever unpickles it runs it"


@pytest.mark.parametrize("broken", ["plan", "model", "nothing"])
def test_an_older_certificate_does_not_outlive_an_audit(plan, audit, tmp_path, broken):
    out = tmp_path / "out"
    out.mkdir()
    forms = ("json", "dsse.json", "sigstore.json", "html", "pdf", "junit.xml", "sarif", "md")
    for form in (*forms, "redacted.json", "redacted.html"):
        (out / f"certificate.{form}").write_text("of an earlier audit")
    for name in ("certificate.docx", "certificate.of-honour.json", "notes.md"):
        (out / name).write_text("mine")
    changes = {"plan": {"seeds": "many"}, "model": {"unlearned": str(tmp_path / "nowhere")}}
    code, _ = audit(plan(**changes.get(broken, {})))
    assert code == (UNDECIDED if broken == "nothing" else USAGE)
    left = {file.name: file.read_text() for file in out.iterdir() if file.is_file()}
    assert "of an earlier audit" not in left.values()
    assert [name for name, text in left.items() if text == "mine"] != []
    assert sum(text == "mine" for text in left.values()) == 3


def test_a_job_without_its_seal_is_measured_again(plan, audit, tmp_path):
    asked, store = plan(), tmp_path / "evidence"
    assert audit(asked, store=store)[0] == UNDECIDED
    first = read_certificate(tmp_path / "out" / "certificate.json")
    key = first.matrix[0].jobs["unlearned"][0]
    job = store / "jobs" / key[:2] / key
    (job / "seal.json").unlink()
    assert audit(asked, store=store)[0] == UNDECIDED
    again = read_certificate(tmp_path / "out" / "certificate.json")
    assert again.evidence == first.evidence
    assert (job / "seal.json").exists()
    (job / "cost.json").write_text("{")
    code, said = audit(asked, store=store)
    assert code == EVIDENCE_CHANGED
    assert str(job) in said


@pytest.mark.parametrize(
    "how",
    ["turned", *(pytest.param(how, marks=pytest.mark.nightly) for how in ("gone", "cut"))],
)
def test_damaged_evidence_is_named_or_measured_again(plan, audit, tmp_path, how):
    asked, store = plan(), tmp_path / "evidence"
    assert audit(asked, store=store)[0] == UNDECIDED
    first = read_certificate(tmp_path / "out" / "certificate.json")
    key = first.matrix[0].jobs["unlearned"][0]
    job = store / "jobs" / key[:2] / key
    kept = shutil.copytree(job, tmp_path / "kept")
    for name in sorted(file.name for file in kept.iterdir()):
        content = (job / name).read_bytes()
        middle = len(content) // 2
        turned = bytes([*content[:middle], content[middle] ^ 1, *content[middle + 1 :]])
        (job / name).write_bytes({"cut": content[:middle]}.get(how, turned))
        if how == "gone":
            (job / name).unlink()
        code, said = audit(asked, store=store)
        assert "Traceback" not in said, name
        assert code in (UNDECIDED, EVIDENCE_CHANGED), name
        if code == UNDECIDED:  # measured again, or a cost, which is no evidence
            assert name in ("seal.json", "cost.json")
            again = read_certificate(tmp_path / "out" / "certificate.json")
            assert (again.evidence, again.verdict) == (first.evidence, first.verdict)
        else:
            assert str(job) in said
            assert not (tmp_path / "out" / "certificate.json").exists()
        shutil.rmtree(job)
        shutil.copytree(kept, job)


def test_an_odd_place_that_moves_is_gone_on_from(plan, audit, tmp_path):
    odd = tmp_path / " an odd 'place' \"東京\" $HOME `id` %s {x} [b];#\n"
    assert audit(plan(), "--out", odd, store=odd / "evidence")[0] == UNDECIDED
    first = read_certificate(odd / "certificate.json")
    moved = odd.rename(tmp_path / "moved")
    before = {file: file.stat().st_mtime_ns for file in moved.glob("evidence/jobs/*/*/*")}
    assert len(before) > 0
    assert audit(plan(), "--out", moved, store=moved / "evidence")[0] == UNDECIDED
    after = {file: file.stat().st_mtime_ns for file in moved.glob("evidence/jobs/*/*/*")}
    assert after == before
    assert read_certificate(moved / "certificate.json").evidence == first.evidence


def test_what_is_dated_1970_has_expired_for_the_gate(plan, audit, tmp_path, monkeypatch):
    class Former(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1970, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patch:
        for module in ("certificate.build", "engine.audit", "engine.preparation", "core.time"):
            patch.setattr(f"auditor.{module}.datetime", Former)
        assert audit(plan(), store=tmp_path / "evidence")[0] == UNDECIDED
    file = tmp_path / "out" / "certificate.json"
    assert read_certificate(file).timing.issued.startswith("1970-01-01")
    held = [str(file), "--unsigned", "--evidence", str(tmp_path / "evidence")]
    assert run(["verify", *held]) == OK
    assert run(["gate", *held, "--policy", "release-gate"]) == EXPIRED


def test_a_certificate_without_the_unlearned_model_is_none(tmp_path, capsys):
    made = honest_certificate("PASS")
    identity = made.identity.model_copy(update={"arms": made.identity.arms[1:]})
    file = tmp_path / "certificate.json"
    write_certificate(made.model_copy(update={"identity": identity}).named(), file)
    for form in ("html", "markdown", "junit", "sarif", "model-card", "test-result"):
        assert run(["render", str(file), "--as", form]) == MALFORMED
        said = capsys.readouterr().err
        assert "names no model `unlearned`" in said
        assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == [file]


def test_an_interruption_that_was_swallowed_ends_work_at_its_next_step():
    def swallow():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible():
            check_interrupted()
            swallow()
            with pytest.raises(KeyboardInterrupt):
                check_interrupted()
        with interruptible():
            check_interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_cannot_even_be_said_is_no_verdict(tmp_path, stream):
    arguments = {"stdout": ["policy", "show", "quick"], "stderr": ["policy", "show", "none"]}
    program = "from auditor.cli.entry import main; main()"
    with Path("/dev/full").open("w") as full:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: full}
        done = subprocess.run([sys.executable, "-c", program, *arguments[stream]], **streams)
    assert done.returncode not in (OK, FAILED_VERDICT)
