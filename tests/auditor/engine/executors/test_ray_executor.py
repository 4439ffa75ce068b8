"""A cluster decides nothing, and survives the death of any worker."""

import json
import signal
import time

import psutil
import pytest
from test_executors import KILLING, command, plugin
from watched_audits import Watching, evidence

from auditor.core.errors import AuditorError, ModelDiffersError
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.base import LabelledJob, executor_named, waiting
from auditor.engine.locations import Locations

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray>=2.40'")

import ray
from ray.util.queue import Queue

from auditor.engine.executors.ray import RayExecutor, _Crew, _join, _Member, needs_of


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, as an executor without an address starts it.

    Where it does not start on a machine with time to spare, the tests fail.
    """
    try:
        _join(None)
    except AuditorError as error:
        if psutil.getloadavg()[0] < 4 * psutil.cpu_count():
            raise
        pytest.skip(f"Ray does not start on a machine as busy as this: {error}")
    yield
    ray.shutdown()


def node(cpus, gpus=0, kind=None, alive=True):
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return {
        "Alive": alive,
        "Resources": resources | ({f"accelerator_type:{kind}": 1.0} if kind else {}),
    }


@pytest.mark.parametrize(
    ("nodes", "gpus", "needs", "room"),
    [
        ([node(4)], None, {"num_cpus": 1}, 4),
        ([node(4), node(8), node(9, alive=False)], None, {"num_cpus": 1}, 12),
        ([node(2), node(16, 8, "H100")], None, {"num_gpus": 1, "accelerator_type": "H100"}, 8),
        ([node(16, 8, "H100")], 2, {"num_gpus": 2, "accelerator_type": "H100"}, 4),
        ([node(16, 8, "H100")], 0, {"num_cpus": 1}, 16),
        ([node(16, 4, "A100"), node(16, 4, "A100"), node(16, 6, "H100")], None,
         {"num_gpus": 1, "accelerator_type": "A100"}, 8),
        ([node(16, 4, "A100"), node(16, 3, "A100"), node(16, 6, "H100")], 4,
         {"num_gpus": 4, "accelerator_type": "A100"}, 1),
        ([node(3, 8)], None, {"num_gpus": 1}, 3),
    ],
)  # fmt: skip
def test_workers_get_one_type_of_accelerator(nodes, gpus, needs, room):
    assert needs_of(nodes, 1, gpus) == ({"num_cpus": 1} | needs, room)


@pytest.mark.parametrize(("nodes", "gpus"), [([], None), ([node(8)], 1), ([node(8, 2, "L4")], 4)])
def test_a_cluster_without_room_for_a_worker_is_refused(nodes, gpus):
    with pytest.raises(AuditorError, match="has room for a worker"):
        needs_of(nodes, 1, gpus)


def test_options_of_clusters_are_for_executors_of_clusters():
    assert isinstance(executor_named("ray", 2, address="auto", gpus=1), RayExecutor)
    with pytest.raises(AuditorError, match="local takes no --address"):
        executor_named("local", address="auto")
    for workers, gpus in ((0, None), (1, -1)):
        with pytest.raises(AuditorError, match="or more"):
            executor_named("ray", workers, gpus=gpus)


def workers_of(process):
    """Processes of workers that Ray started for a process."""
    found = []
    for child in process.children(recursive=True):
        try:
            if "ray::_Member" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _left(processes, seconds=30):
    """Command lines of processes that do not end soon."""
    left = psutil.wait_procs(processes, timeout=seconds)[1]
    return [" ".join(process.cmdline()) for process in left if process.is_running()]


def test_evidence_depends_on_no_cluster_and_on_no_worker_that_is_killed(
    cluster, prepared, undisturbed
):
    ready, store = prepared("ray")
    killed = []

    def kill(done):
        if done and not killed:
            [first, *_] = workers_of(psutil.Process())
            killed.append(first.pid)
            first.kill()

    progress = Watching(kill)
    outcome = run_audit(ready, store, RayExecutor(workers=2), progress)
    assert len(killed) == 1
    assert {r.evidence.status for r in outcome.runs} == {"measured"}
    assert evidence(store) == undisturbed
    assert progress.done == 6
    assert _left(workers_of(psutil.Process())) == []
    again = Watching()
    run_audit(ready, store, RayExecutor(workers=2), again)
    assert again.lines == [], "what is there is not run again"


def test_a_worker_that_computes_otherwise_does_no_job(cluster, prepared, undisturbed):
    ready, store = prepared("unlike")
    jobs = [
        LabelledJob(variant.label, job)
        for variant in ready.variants
        for of_arm in ready.measurements(variant).values()
        for job in of_arm
    ]
    said = Queue(actor_options={"num_cpus": 0, "name": "unlike"})
    given = (ready.models, ray.get_runtime_context().get_node_id(), store, 1, "unlike")
    like = ray.remote(_Member).remote(*given)
    other_kernels = {"env_vars": {"ATEN_CPU_CAPABILITY": "default"}}
    unlike = ray.remote(_Member).options(runtime_env=other_kernels).remote(*given)
    canary = ray.get(like.ready.remote())
    try:
        answer = ray.get(unlike.attempt.remote("moved", jobs[0].job, 0.0, canary))
        assert "computes otherwise" in str(answer.error)
        assert evidence(store) == {}, "it was not measured"
        lines = []
        crew = _Crew(waiting(jobs, store), store, lambda n=1, note="": lines.append(note))
        crew._canary = canary  # whoever is ready first is what the others are compared with
        assert crew.work([like, unlike], said) == {}
    finally:
        for member in (like, unlike):
            ray.kill(member)
        said.shutdown(force=True)
    assert sum("computes otherwise" in line for line in lines) == 1
    assert store.has(jobs[0].job.key)
    assert evidence(store).items() <= undisturbed.items()


@pytest.mark.nightly
def test_a_model_that_differs_stops_the_cluster(cluster, prepared, people):
    ready, store = prepared("other")
    [as_is] = [v for v in ready.variants if v.attack.name == "none/as-is"]
    [asked] = ready.measurements(as_is)["unlearned"]
    spec = asked.spec.model_copy(update={"path": str(people.model_path("original"))})
    jobs = [LabelledJob("moved", asked.model_copy(update={"spec": spec}))]
    with pytest.raises(ModelDiffersError, match="are not those of the model"):
        RayExecutor().run(jobs, Locations(), store, SilentProgress())
    assert evidence(store) == {}
    assert _left(workers_of(psutil.Process())) == []


@pytest.fixture
def killing(passing_plan, tmp_path):
    """Files of a plan with attacks that kill their worker: once, and always."""
    site = plugin(
        tmp_path / "site",
        "killing",
        KILLING,
        "[auditor.attacks]\ntesting/killing = killing:Killing\n",
    )
    plan = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]}).model_dump(mode="json")
    plan["attacks"] = [
        {"attack": "testing/killing", "parameters": {"marker": str(tmp_path / "marker")}},
        {"attack": "testing/killing"},
    ]
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))

    def run(*arguments):
        return command(site, "audit", tmp_path / "plan.yaml", "--out", tmp_path / "out", *arguments)

    return run


@pytest.mark.slow
@pytest.mark.nightly
def test_a_job_that_kills_every_worker_fails_and_the_others_go_on(killing, tmp_path):
    process = killing("--json", "--quiet", "--executor", "ray", "--workers", 2)
    said, complaints = process.communicate(timeout=550)
    assert process.returncode == 0, complaints
    matrix = {f"{r['attack']} {r['variant']}": r for r in json.loads(said)["matrix"]}
    assert matrix["testing/killing once"]["status"] == "measured"
    assert matrix["none/as-is full precision"]["status"] == "measured"
    dead = matrix["testing/killing always"]
    assert dead["status"] == "failed"
    assert dead["reason"]["params"]["reason"]["code"] == "worker_lost"


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_audit_that_ends_takes_its_cluster_along_and_goes_on_later(
    prepared, passing_plan, undisturbed, tmp_path, how
):
    """Whatever ends it: no worker outlives it, and the next one measures what is left."""
    ready, store = prepared("resumed")
    (tmp_path / "plan.yaml").write_text(json.dumps(ready.plan.model_dump(mode="json")))
    arguments = (
        *("audit", tmp_path / "plan.yaml", "--out", tmp_path / "out", "--store", store.root),
        *("--quiet", "--executor", "ray", "--workers", 2),
    )
    process = command(tmp_path, *arguments)
    deadline = time.monotonic() + 200
    while not evidence(store):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    driver = psutil.Process(process.pid)
    workers, started = workers_of(driver), driver.children(recursive=True)
    assert workers
    before = evidence(store)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert _left(workers) == []
    # Ray's own agents, which do no job, wait a minute for the service that died with the audit
    assert _left(started, 90) == []
    assert before.items() <= evidence(store).items()
    process = command(tmp_path, *arguments)
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints
    # an audit also asks in which format the original answers best
    assert before.items() <= evidence(store).items()
    assert undisturbed.items() <= evidence(store).items()
