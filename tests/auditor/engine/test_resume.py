"""A killed audit goes on where it stopped, and nobody can tell from its certificate."""

import json
import random
import signal
import time

import pytest
from every_attack import WORLDS, names_in

from auditor.api.auditing import audit as audit_to_files
from auditor.core.errors import AuditorError
from auditor.core.quiet import quiet_libraries
from auditor.policy import AS_IS

MIXTURE = [
    {"attack": "quantization/bnb", "parameters": {"format": ["int8", "nf4", "fp4"]}},
    {"attack": "quantization/rtn", "parameters": {"bits": [4, 3]}},
    {"attack": "quantization/gptq", "parameters": {"bits": 4, "calibration_samples": 4}},
]


def groups():
    """World and family of all registered attacks: those of one family are in one audit."""
    return dict.fromkeys(
        (world, name.partition("/")[0]) for world in WORLDS for name in names_in(world)
    )


def _run(plan, out):
    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    audit_to_files(plan, out=out)


def content(out):
    """The certificate without what may differ: timing, and the folder in its own command."""
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    del certificate["timing"]
    return json.dumps(certificate, indent=2).replace(str(out), "OUT").encode()


def finished(out):
    """Jobs that are done."""
    return len(list((out / "evidence" / "jobs").glob("[!.]*/[!.]*/seal.json")))


def alone(server, plan, out):
    """Run an audit in a process like those that are killed; its seconds."""
    process = server.Process(target=_run, args=(plan, out))
    began = time.monotonic()
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def killed_and_resumed(server, plan, folder, kills):
    """Run an audit whole, then again with kills in the midst of its jobs; both certificates.

    The jobs that are done when it is killed lie evenly between the first and the last.
    """
    out = folder / "audit"
    seconds = alone(server, plan, out)
    undisturbed, jobs = content(out), finished(out)
    (out / "evidence").rename(folder / "evidence-of-the-whole-run")
    (out / "certificate.json").unlink()

    moments, killed = random.Random(7), 0
    for place in range(kills):
        process = server.Process(target=_run, args=(plan, out))
        process.start()
        while finished(out) < jobs * place // kills and process.is_alive():
            time.sleep(0.002)
        process.join(moments.uniform(0, 1) * seconds / jobs)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            killed += 1
        assert process.exitcode in (0, -signal.SIGKILL)
    assert killed >= kills - 1, "the audit was over before it could be killed"
    alone(server, plan, out)
    return undisturbed, content(out)


@pytest.mark.slow
def test_killed_at_random_moments_the_certificate_is_the_same(
    server, passing_plan, few_facts, tmp_path
):
    sets = {name: few_facts[name] for name in ("forget", "retain")}
    plan = passing_plan(attacks=MIXTURE, data=sets)
    undisturbed, resumed = killed_and_resumed(server, plan, tmp_path, 5)
    assert resumed == undisturbed


@pytest.mark.nightly
@pytest.mark.parametrize(("world", "family"), groups())
def test_killed_in_any_attack_the_certificate_is_the_same(
    server, built_worlds, tmp_path, world, family
):
    """Seals are in it, so that every record, note and array is the same to the last bit."""
    names = [name for name in names_in(world) if name.partition("/")[0] == family]
    plan = built_worlds(world).plan_of(names)
    undisturbed, resumed = killed_and_resumed(server, plan, tmp_path, 1 + len(names))
    assert resumed == undisturbed
    certificate = json.loads(undisturbed)
    measured = {row["attack"] for row in certificate["matrix"] if row["status"] == "measured"}
    assert measured == {AS_IS, *names}
    assert certificate["evidence"]["jobs"]


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
