"""Check of the toolkit on the accelerator of a machine, in minutes.

Each step is a process with a time limit of its own, and leaves one line of JSON as soon as it ends,
so that a run that is killed keeps what it has. The last line says how many steps passed and failed;
what cannot be measured on a machine is named as absent and never given a figure.

    python scripts/gpu_check.py                           # the first GPU, at most 8 minutes
    python scripts/gpu_check.py --only copies --only loan
    python scripts/gpu_check.py --device cpu --tiny       # the same code on tiny models
    python scripts/gpu_check.py --wheels wheels           # on a machine without a network

The interpreter needs torch, transformers, accelerate, peft and scikit-learn. Where other packages
are missing and the machine has no network, `scripts/gather_wheels.py` gathers them beforehand.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import psutil  # accelerate needs it, too
from gpu_steps import MODEL_BYTES, STEPS, Step

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / "benchmarks" / "gpu_baseline.json"
TOLERANCE = 0.2
"""Share by which a figure may be worse than the baseline's."""
_PROJECT = "unlearning-auditor"
_PATIENCE = 3.0
"""Seconds in which the processes of a step that ended must end, too."""
_HIGHER_IS_BETTER = "_per_second"
_LOWER_IS_BETTER = ("_seconds", "_bytes", "_ratio")


@dataclass
class Line:
    """Result of a step, as the file of results has it."""

    step: str
    status: Literal["passed", "failed", "absent"]
    seconds: float
    device: str
    figures: dict[str, Any] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Figures that this machine does not give, and why."""
    faults: list[str] = field(default_factory=list)


def run_step(
    step: Step, command: Sequence[str], limit: float, device: str, environment: Mapping[str, str]
) -> Line:
    """Run a step in a process group of its own, and read what it printed.

    Args:
        step: The step.
        command: What measures it; each line of its output is a JSON object.
        limit: Seconds after which it is killed. What it printed until then counts.
        device: Name of the device.
        environment: Environment of the process.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            list(command), stdout=out, stderr=err, env=dict(environment), start_new_session=True
        )
        faults = []
        try:
            code = process.wait(timeout=max(limit, 0))
            if code:
                err.seek(0)
                last = (err.read().strip().splitlines() or ["it said nothing"])[-1]
                faults.append(f"it ended with exit code {code}: {last[:300]}")
        except subprocess.TimeoutExpired:
            faults.append(f"it took more than its {limit:.0f} s and was killed")
        if _end_group(process) and not faults:
            faults.append("it left processes behind")
        out.seek(0)
        line = _line(step, out.read().splitlines(), faults, device)
    line.seconds = round(time.monotonic() - began, 2)
    return line


def _end_group(process: "subprocess.Popen[bytes]") -> bool:
    """End what is left of a step.

    Returns:
        Whether a step that ended by itself left processes behind that went on.
    """
    ended = process.poll() is not None
    patient_until = time.monotonic() + (_PATIENCE if ended else 0)
    while _members(process.pid) and time.monotonic() < patient_until:
        time.sleep(0.3)
    left = _members(process.pid)
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=_PATIENCE)
    process.wait()
    return ended and bool(left)


def _members(group: int) -> list[psutil.Process]:
    """The living processes of a group."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _line(step: Step, printed: Iterable[str], faults: list[str], device: str) -> Line:
    """Put together what a step printed."""
    line = Line(step.name, "passed", 0.0, device)
    for text in printed:
        try:
            said = json.loads(text)
        except ValueError:
            continue  # a library printed it
        if not isinstance(said, dict):
            continue
        line.figures |= said.get("figures", {})
        line.absent |= said.get("absent", {})
        line.faults += said.get("faults", [])
    line.faults += faults
    if line.faults:
        line.status = "failed"
    elif not line.figures:
        line.status = "absent" if line.absent else "failed"
        if not line.absent:
            line.faults.append("it measured nothing")
    return line


def worse(figures: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    """Return faults for figures that are worse than a baseline's.

    Figures whose names end in none of the known units are not compared.
    """
    found = []
    for name, before in baseline.items():
        now = figures.get(name)
        if not isinstance(now, int | float) or not isinstance(before, int | float) or not before:
            continue
        higher = name.endswith(_HIGHER_IS_BETTER)
        if not higher and not name.endswith(_LOWER_IS_BETTER):
            continue
        change = before / max(now, 1e-12) if higher else now / before
        if change > 1 + TOLERANCE:
            found.append(f"{name} is {now:g}, and {before:g} in the baseline")
    return found


def installed(wheels: Path, target: Path) -> None:
    """Put wheels that this interpreter lacks into a folder.

    Args:
        wheels: Folder of wheels.
        target: Folder for `PYTHONPATH`.

    Raises:
        SystemExit: There are none, or pip does not take them.
    """
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise SystemExit(f"error: {wheels} holds no wheels; scripts/gather_wheels.py gathers them.")
    lacking = [file for file in files if not _is_there(file.name.split("-")[0])]
    if not lacking:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--disable-pip-version-check", "--target", str(target), *map(str, lacking)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: the wheels in {wheels} are not for this interpreter.")


def _is_there(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def describe(target: Path) -> None:
    """Write the project's entry points where it is not installed.

    By these attacks, metrics and kinds of model are found.

    Args:
        target: Folder for `PYTHONPATH`.
    """
    if _is_there(_PROJECT):
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = target / f"{_PROJECT.replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {_PROJECT}", f"Version: {project['version']}", ""]
    (folder / "METADATA").write_text("\n".join(lines), encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in points.items()), ""])
        for group, points in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")


def chosen(names: Sequence[str]) -> list[Step]:
    """Return the steps that are asked for, with the one that makes their models before them."""
    wanted = [step for step in STEPS if not names or step.name in names]
    if any(step.needs_model for step in wanted):
        wanted = [step for step in STEPS if step in wanted or step.name == "make"]
    return wanted


def main() -> int:
    """Run the steps, and say how many passed."""
    options = _options()
    tiny, device = options.tiny, options.device
    out: Path = options.out
    out.write_text("")
    ends = time.monotonic() + 60 * options.minutes
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-", dir=_scratch(options)) as name:
        scratch = Path(name)
        packages = scratch / "packages"
        packages.mkdir()
        if options.wheels is not None:
            installed(options.wheels, packages)
        describe(packages)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]),
            "PYTHONWARNINGS": "ignore",
            "TOKENIZERS_PARALLELISM": "false",
            "TMPDIR": str(scratch),
            "HF_HUB_OFFLINE": "1",
        }
        for step in chosen(options.only):
            command = [sys.executable, str(ROOT / "scripts" / "gpu_steps.py"), step.name]
            command += ["--device", device, "--scratch", str(scratch), *(["--tiny"] * tiny)]
            left = ends - time.monotonic()
            if left < 1:
                line = Line(step.name, "failed", 0.0, device, faults=["no time was left for it"])
            else:
                line = run_step(step, command, min(step.limit, left), device, environment)
            _compare(line, options)
            lines.append(line)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(line)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            _say(line)
    if options.baseline:
        _write_baseline(lines, options)
    return _end(lines)


def _compare(line: Line, options: argparse.Namespace) -> None:
    """Add faults for figures that are worse than the baseline's."""
    if options.tiny or options.baseline or not BASELINE.is_file():
        return
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    if baseline["device"] != options.device_name:
        line.absent["comparison"] = f"the baseline is of {baseline['device']}"
        return
    line.faults += worse(line.figures, baseline["steps"].get(line.step, {}))
    if line.faults:
        line.status = "failed"


def _write_baseline(lines: Sequence[Line], options: argparse.Namespace) -> None:
    """Write the figures of the steps that passed as the baseline."""
    steps = {line.step: line.figures for line in lines if line.status == "passed"}
    content = {"device": options.device_name, "steps": steps}
    BASELINE.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"baseline: {BASELINE}")


def _say(line: Line) -> None:
    """Print a step's result."""
    print(f"{line.step:10} {line.status:7} {line.seconds:6.1f} s", flush=True)
    for name, value in line.figures.items():
        print(f"  {name}: {value}")
    for name, reason in line.absent.items():
        print(f"  absent: {name} ({reason})")
    for fault in line.faults:
        print(f"  fault: {fault}")


def _end(lines: Sequence[Line]) -> int:
    """Print how many steps passed, and return the exit code."""
    count = Counter(line.status for line in lines)
    if absent := [line.step for line in lines if line.status == "absent"]:
        print(f"not measured here: {', '.join(absent)}")
    print(f"{count['passed']} passed, {count['failed']} failed", flush=True)
    return 0 if count["passed"] and not count["failed"] else 1


def _scratch(options: argparse.Namespace) -> Path | None:
    """Return the folder for temporary files: memory, if a model fits twice."""
    if options.scratch is not None:
        return Path(options.scratch)
    memory = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
    if not options.tiny and memory.is_dir() and shutil.disk_usage(memory).free > 2 * MODEL_BYTES:
        return memory
    return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Check the toolkit on the accelerator of this machine, in minutes."
    )
    names = [step.name for step in STEPS]
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models instead of 7 billion")
    parser.add_argument("--only", action="append", default=[], choices=names, metavar="STEP")
    parser.add_argument("--minutes", type=float, default=8, help="time for all steps")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="file of the results")
    parser.add_argument("--wheels", type=Path, help="folder of what this interpreter lacks")
    parser.add_argument("--scratch", type=Path, help="folder for models, 40 GB")
    parser.add_argument(
        "--baseline", action="store_true", help=f"write {BASELINE.relative_to(ROOT)}"
    )
    options = parser.parse_args()
    options.device_name = _device_name(options.device)
    if options.device == "cpu" and not options.tiny:
        parser.error("7 billion weights take hours on a CPU; add --tiny")
    if options.baseline and (options.device == "cpu" or options.tiny or options.only):
        parser.error("a baseline is of all steps, at full size, on a GPU")
    return options


def _device_name(device: str) -> str:
    """Name of the device, as its driver has it."""
    if device == "cpu":
        return "cpu"
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(
            f"error: no GPU answers ({type(error).__name__}); use --device cpu --tiny to try the "
            "script."
        ) from error
    return found.stdout.splitlines()[0].strip()


if __name__ == "__main__":
    sys.exit(main())
