"""The check on a GPU: what it makes of steps that pass, hang, fail, or cannot be measured."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from gather_wheels import slimmed
from gpu_check import chosen, run_step, worse
from gpu_steps import STEPS, Step

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.py"


def _step(code, limit=20.0):
    step = Step("tried", limit, lambda check: None)
    return run_step(step, [sys.executable, "-c", code], limit, "cpu", os.environ)


def test_a_step_that_measures_passes():
    line = _step(
        """print('{"figures": {"a_seconds": 1.5}, "absent": {"b": "no"}}'); print("noise")"""
    )
    assert (line.status, line.figures, line.absent) == ("passed", {"a_seconds": 1.5}, {"b": "no"})


def test_a_step_that_hangs_is_killed_and_keeps_what_it_had():
    code = """import time; print('{"figures": {"a": 1}}', flush=True); time.sleep(60)"""
    began = time.monotonic()
    line = _step(code, limit=5.0)  # interpreters start slowly on a busy machine
    assert time.monotonic() - began < 30
    assert (line.status, line.figures) == ("failed", {"a": 1})
    assert "killed" in line.faults[0]


def test_a_step_that_crashes_fails_whatever_it_measured():
    line = _step("""print('{"figures": {"a": 1}}'); raise ValueError("the reason")""")
    assert line.status == "failed"
    assert "the reason" in line.faults[0]


def test_processes_that_outlive_a_step_are_a_fault_and_are_ended(tmp_path):
    code = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
print('{{"figures": {{"a": 1}}}}')
"""
    line = _step(code)
    assert line.status == "failed"
    assert line.faults == ["it left processes behind"]
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_step_without_figures_never_passes():
    assert _step("""print('{"absent": {"b": "no GPU"}}')""").status == "absent"
    assert _step("pass").status == "failed"


@pytest.mark.parametrize(
    ("name", "now", "named"),
    [
        ("load_seconds", 1.1, False),
        ("load_seconds", 1.3, True),
        ("load_seconds", 0.5, False),
        ("tokens_per_second", 0.9, False),
        ("tokens_per_second", 0.8, True),
        ("peak_bytes", 1.3, True),
        ("as_is_k", 9.0, False),
    ],
)
def test_figures_are_compared_by_their_units(name, now, named):
    assert bool(worse({name: now}, {name: 1.0})) is named


def test_a_step_on_models_makes_them_first():
    assert [step.name for step in chosen(["loan"])] == ["make", "loan"]
    assert [step.name for step in chosen(["leak"])] == ["leak"]
    assert len(chosen([])) == len(STEPS)


def test_the_last_line_counts_and_each_step_leaves_a_line(tmp_path):
    out = tmp_path / "gpu.jsonl"
    asked = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out)]
    done = subprocess.run([*asked, "--only", "leak"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed"
    (line,) = map(json.loads, out.read_text().splitlines())
    assert (line["step"], line["status"]) == ("leak", "passed")
    assert "gpu_left_bytes" in line["absent"]
    late = subprocess.run([*asked, "--minutes", "0"], capture_output=True, text=True)
    assert late.returncode == 1
    assert late.stdout.splitlines()[-1] == f"0 passed, {len(STEPS)} failed"


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
@pytest.mark.parametrize("options", [[], ["--device", "cpu"], ["--baseline"]])
def test_what_cannot_be_measured_here_is_refused(options, tmp_path):
    asked = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "gpu.jsonl"), *options]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode
    assert "error" in done.stderr


def test_wheels_are_carried_without_other_accelerators(tmp_path):
    names = ["bitsandbytes/libbitsandbytes_cuda130.so", "bitsandbytes/libbitsandbytes_cpu.so"]
    others = ["bitsandbytes/libbitsandbytes_cuda121.so", "bitsandbytes/libbitsandbytes_rocm70.so"]
    record = "bitsandbytes-1.dist-info/RECORD"
    with zipfile.ZipFile(tmp_path / "whole.whl", "w") as archive:
        for name in (*names, *others):
            archive.writestr(name, name)
        archive.writestr(record, "".join(f"{name},sha256=x,1\n" for name in (*names, *others)))
    slimmed(tmp_path / "whole.whl", tmp_path / "own.whl", "130")
    with zipfile.ZipFile(tmp_path / "own.whl") as archive:
        assert set(archive.namelist()) == {*names, record}
        assert archive.read(record).decode().split("\n")[:-1] == [f"{n},sha256=x,1" for n in names]


@pytest.mark.nightly
def test_all_steps_pass_on_tiny_models(tmp_path):
    asked = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny"]
    done = subprocess.run(
        [*asked, "--out", str(tmp_path / "gpu.jsonl")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith(" 0 failed")
