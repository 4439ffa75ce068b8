"""What runs the jobs decides nothing, and survives the death of any process."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from watched_audits import Watching, evidence, needs_ray

from auditor.cli.main import USAGE, run
from auditor.core.errors import AuditorError, ModelDiffersError
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.base import EXECUTORS, LabelledJob
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.executors.processes import ProcessesExecutor
from auditor.engine.locations import Locations
from auditor.store.folder_store import FolderStore


def test_evidence_does_not_depend_on_the_executor(prepared, undisturbed):
    ready, store = prepared("processes")
    progress = Watching()
    outcome = run_audit(ready, store, ProcessesExecutor(workers=2), progress)
    assert {r.evidence.status for r in outcome.runs} == {"measured"}
    jobs = [name for name in undisturbed if name.endswith("job.json")]
    assert len(jobs) == 6, "three models under two attacks"
    assert evidence(store) == undisturbed
    assert progress.done == 6
    assert any(line.endswith(" answers") for line in progress.lines)
    assert multiprocessing.active_children() == []
    again = Watching()
    run_audit(ready, store, ProcessesExecutor(workers=2), again)
    assert again.lines == [], "what is there is not run again"


def test_killed_workers_are_replaced_and_nobody_can_tell(prepared, undisturbed):
    """Twice a worker is killed in the midst of a job, and never twice in the same job.

    The second is the other one of the two that began: the one in place of the first may still be
    at the job that the first died of, which would cost that job its second and last process.
    """
    ready, store = prepared("killed")
    began, killed = [], []

    def kill(done):
        if not began:
            began.extend(multiprocessing.active_children())
        if len(killed) < 2 and done >= 2 * len(killed):
            victim = began[len(killed)]
            victim.kill()
            killed.append(victim.pid)

    outcome = run_audit(ready, store, ProcessesExecutor(workers=2), Watching(kill))
    assert len(set(killed)) == 2
    assert {r.evidence.status for r in outcome.runs} == {"measured"}
    assert evidence(store) == undisturbed


def test_whatever_ends_the_audit_ends_its_workers(prepared):
    ready, store = prepared("ended")

    def interrupt(done):
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_audit(ready, store, ProcessesExecutor(workers=2), Watching(interrupt))
    assert multiprocessing.active_children() == []
    assert time.monotonic() - began < 30


def test_a_model_that_differs_stops_every_executor(prepared, people):
    ready, store = prepared("other")
    [as_is] = [v for v in ready.variants if v.attack.name == "none/as-is"]
    [asked] = ready.measurements(as_is)["unlearned"]
    spec = asked.spec.model_copy(update={"path": str(people.model_path("original"))})
    jobs = [LabelledJob("moved", asked.model_copy(update={"spec": spec}))]
    for executor in (LocalExecutor(), ProcessesExecutor(workers=1)):
        with pytest.raises(ModelDiffersError, match="are not those of the model"):
            executor.run(jobs, Locations(), store, SilentProgress())
    assert evidence(store) == {}


class Telling(Locations):
    """Finds no model, and says who looked for it."""

    def find(self, spec, digest):
        raise AuditorError(f"{os.getppid()} {os.environ['SEEN']}")


@pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(), reason="processes are not forked"
)
def test_processes_come_from_one_that_has_the_libraries_and_see_the_environment_of_now(
    prepared, monkeypatch
):
    ready, store = prepared("told")
    as_is = next(v for v in ready.variants if v.attack.name == "none/as-is")
    jobs = [LabelledJob("told", ready.measurements(as_is)["unlearned"][0])]
    told = []
    for seen in ("first", "second"):
        monkeypatch.setenv("SEEN", seen)
        with pytest.raises(AuditorError) as said:
            ProcessesExecutor(workers=1).run(jobs, Telling(), store, SilentProgress())
        told.append(str(said.value).split())
    (server, first), (again, second) = told
    assert (first, second) == ("first", "second")
    assert server == again
    maps = Path(f"/proc/{server}/maps").read_text()
    assert "libtorch" in maps
    assert int(server) != os.getpid()


@pytest.mark.parametrize("name", ["local", "processes", pytest.param("ray", marks=needs_ray)])
def test_nothing_to_do_starts_nothing(name, tmp_path):
    store = FolderStore(tmp_path / "store")
    assert EXECUTORS.get(name)().run([], Locations(), store, SilentProgress()) == {}


def test_executors_are_chosen_by_name(capsys, tmp_path):
    assert {"local", "processes", "ray"} <= set(EXECUTORS.names())
    with pytest.raises(AuditorError, match="--executor processes"):
        EXECUTORS.get("local")(2)
    with pytest.raises(AuditorError, match="--workers 1 or more"):
        EXECUTORS.get("processes")(0)
    with pytest.raises(AuditorError, match="Did you mean processes"):
        EXECUTORS.get("proceses")


@pytest.mark.parametrize(
    "arguments", [("--executor", "proceses"), ("--executor", "local", "--workers", "3")]
)
def test_a_wrong_executor_is_a_wrong_use(passing_plan, tmp_path, capsys, arguments):
    plan = tmp_path / "plan.yaml"
    plan.write_text(passing_plan(attacks=[]).model_dump_json())
    assert run(["audit", str(plan), "--out", str(tmp_path / "out"), *arguments]) == USAGE
    assert "processes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def plugin(site, name, code, points):
    """A package that is installed in a folder as pip would do it."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_text(textwrap.dedent(code))
    info = site / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(points))
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n")
    return site


KILLING = """
    import os
    import signal
    from pathlib import Path

    from auditor.attack import Attack, Parameters, attack
    from auditor.core.records import Record


    class KillingParameters(Parameters):
        marker: str = ""
        loses: bool = False


    @attack("testing/killing")
    class Killing(Attack[KillingParameters]):
        summary = "Kills its process, always or the first time only."
        parameters_type = KillingParameters

        @property
        def variant(self):
            if self.parameters.loses:
                return "lost"
            return "once" if self.parameters.marker else "always"

        def measure(self, model, context):
            marker = self.parameters.marker
            if not marker or not Path(marker).exists():
                if marker:
                    Path(marker).touch()
                if self.parameters.loses:
                    raise RuntimeError("CUDA error: device-side assert triggered")
                os.kill(os.getpid(), signal.SIGKILL)
            return Record(rows=context.evaluator.evaluate(model))
"""


def command(site, *arguments):
    """The command line in a process of its own, with a site of further packages."""
    code = "from auditor.cli.entry import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{site}:{Path(__file__).parents[4]}"},
    )


@pytest.fixture
def killing_audit(passing_plan, tmp_path):
    """Audit in two processes under attacks that kill theirs; rows of the matrix, and log files."""
    site = plugin(
        tmp_path / "site",
        "killing",
        KILLING,
        "[auditor.attacks]\ntesting/killing = killing:Killing\n",
    )

    def run(*parameters):
        plan = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]}).model_dump(
            mode="json"
        )
        plan["attacks"] = [{"attack": "testing/killing", "parameters": each} for each in parameters]
        (tmp_path / "plan.yaml").write_text(json.dumps(plan))
        out = tmp_path / "out"
        process = command(
            *(site, "audit", tmp_path / "plan.yaml", "--out", out, "--json", "--quiet"),
            *("--executor", "processes", "--workers", 2),
        )
        said, complaints = process.communicate(timeout=550)
        assert process.returncode == 0, complaints
        matrix = {f"{r['attack']} {r['variant']}": r for r in json.loads(said)["matrix"]}
        assert matrix["none/as-is full precision"]["status"] == "measured"
        return matrix, [file.read_text() for file in (out / "evidence" / "failures").iterdir()]

    return run


@pytest.mark.slow
def test_a_job_whose_process_died_is_tried_in_a_fresh_one(killing_audit, tmp_path):
    matrix, logs = killing_audit(
        {"marker": str(tmp_path / "marker")}, {"marker": str(tmp_path / "lost"), "loses": True}
    )
    assert matrix["testing/killing once"]["status"] == "measured"
    assert matrix["testing/killing lost"]["status"] == "measured", "in a process that lost nothing"
    assert any("device-side assert triggered" in log for log in logs)


@pytest.mark.nightly
def test_an_attack_that_kills_its_worker_is_failed_and_the_others_go_on(killing_audit):
    matrix, logs = killing_audit({})
    dead = matrix["testing/killing always"]
    assert dead["status"] == "failed"
    assert dead["reason"]["params"]["reason"] == {
        "code": "worker_died",
        "params": {"exit_code": -signal.SIGKILL},
    }
    assert any("exit code -9" in log for log in logs)


FOREVER = """
    import time

    from auditor.attack import Attack, Parameters, attack


    @attack("testing/forever")
    class Forever(Attack[Parameters]):
        summary = "Never ends."

        def measure(self, model, context):
            context.progress("sleeping")
            print("sleeping", flush=True)
            time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.nightly),
        pytest.param(signal.SIGINT, marks=pytest.mark.nightly),
    ],
)
def test_workers_end_with_their_parent(passing_plan, tmp_path, how):
    site = plugin(
        tmp_path / "site",
        "forever",
        FOREVER,
        "[auditor.attacks]\ntesting/forever = forever:Forever\n",
    )
    plan = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]}).model_dump(mode="json")
    plan["attacks"] = [{"attack": "testing/forever"}]
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    process = command(
        *(site, "audit", tmp_path / "plan.yaml", "--out", tmp_path / "out", "--quiet"),
        *("--executor", "processes", "--workers", 2),
    )
    watch = threading.Timer(200, process.kill)
    watch.start()
    while (line := process.stderr.readline()) != "sleeping\n":
        assert line, "the audit ended before its workers slept"
    watch.cancel()
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(how)
    process.communicate(timeout=60)
    assert not psutil.wait_procs(workers, timeout=20)[1]
