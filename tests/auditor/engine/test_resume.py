"""A killed audit goes on where it stopped, and nobody can tell from its certificate."""

import json
import multiprocessing
import random
import signal
import time

import pytest

from auditor.cli.audit import audit as audit_to_files
from auditor.cli.console import quiet_libraries
from auditor.errors import AuditorError
from auditor.progress import SilentProgress

MIXTURE = [
    {"attack": "quantization/bnb", "parameters": {"format": ["int8", "nf4", "fp4"]}},
    {"attack": "quantization/rtn", "parameters": {"bits": [4, 3]}},
    {"attack": "quantization/gptq", "parameters": {"bits": 4, "calibration_samples": 4}},
]
FAMILIES = {
    "relearning": [],
}
"""Every attack with a small budget, by family."""


def _run(plan, out):
    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    audit_to_files(plan, out, out / "evidence", SilentProgress())


@pytest.fixture(scope="module")
def server():
    """Processes that start with everything imported, so that kills hit the audit itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["auditor.cli.audit", "auditor.certificate.assembly", "auditor.report", "bitsandbytes"]
    )
    return context


def content(out):
    """The certificate without what may differ: timing, and the folder in its own command."""
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    del certificate["timing"]
    return json.dumps(certificate, indent=2).replace(str(out), "OUT").encode()


def killed_and_resumed(server, plan, folder, kills):
    """Run an audit whole, then again with kills at random moments; both certificates."""
    out = folder / "audit"
    whole = server.Process(target=_run, args=(plan, out))
    began = time.monotonic()
    whole.start()
    whole.join()
    seconds = time.monotonic() - began
    assert whole.exitcode == 0
    undisturbed = content(out)
    (out / "evidence").rename(folder / "evidence-of-the-whole-run")
    (out / "certificate.json").unlink()

    moments = random.Random(7)
    killed = 0
    for _ in range(kills):
        process = server.Process(target=_run, args=(plan, out))
        process.start()
        process.join(moments.uniform(0.05, 1.0) * seconds / 3)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            killed += 1
    assert killed >= kills - 2, "the audit was over before it could be killed often enough"
    last = server.Process(target=_run, args=(plan, out))
    last.start()
    last.join()
    assert last.exitcode == 0
    return undisturbed, content(out)


@pytest.mark.slow
def test_killed_at_random_moments_the_certificate_is_the_same(server, passing_plan, tmp_path):
    undisturbed, resumed = killed_and_resumed(server, passing_plan(attacks=MIXTURE), tmp_path, 10)
    assert resumed == undisturbed


def test_finished_jobs_are_not_measured_again(passing_plan, audit, tmp_path):
    plan = passing_plan()
    audit(plan, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "jobs").rglob("*") if p.is_file()}
    assert len(before) > 0
    audit(plan, tmp_path)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "jobs").rglob("*") if p.is_file()}
    assert after == before


def test_evidence_that_was_changed_is_refused(passing_plan, audit, tmp_path):
    plan = passing_plan()
    audit(plan, tmp_path)
    rows = next((tmp_path / "jobs").rglob("rows.parquet"))
    rows.write_bytes(rows.read_bytes() + b"\0")
    with pytest.raises(AuditorError, match="evidence was changed after it was measured"):
        audit(plan, tmp_path)
