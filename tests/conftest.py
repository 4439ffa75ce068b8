"""What all tests share: one build of the testbed, and a PASS to break."""

import gc
import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from tiny_thinkers import make_thinker

from auditor.certificate.build import build_certificate
from auditor.core.progress import SilentProgress
from auditor.core.quiet import quiet_libraries
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.store.folder_store import FolderStore
from auditor.testbeds import catalogue
from auditor.testbeds.people import world as worlds

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start; the cores are shared

settings.register_profile("thorough", deadline=None)  # a busy machine is no failure
settings.register_profile("default", settings.get_profile("thorough"), max_examples=25)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("fuzzing", settings.get_profile("thorough"), max_examples=20_000)
settings.load_profile("ci" if os.environ.get("CI") else "default")


NOT_BY_DEFAULT = ("rebuild", "nightly")
"""Markers of tests that run only where they are asked for."""


def pytest_collection_modifyitems(config, items):
    for marker in NOT_BY_DEFAULT:
        if marker in config.option.markexpr:
            continue
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"runs with: pytest -m {marker}"))


@pytest.fixture(scope="session", autouse=True)
def _quiet():
    torch.set_num_threads(1)  # two threads beside a busy core are several times slower
    quiet_libraries()
    gc.freeze()  # a search for garbage need not go through all that the libraries made


@pytest.fixture(scope="session")
def server():
    """Processes that start with everything imported, so that what strikes them hits their work.

    They are of the server that the executor of processes uses, too. The first list of imports that
    a server is given is the one that it keeps.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            *("auditor.cli.audit", "auditor.cli.main", "auditor.api.auditing", "auditor.report"),
            *("auditor.certificate.build", "auditor.engine.copies", "reports.html"),
            *("reports.junit", "auditor.engine.executors.processes", "bitsandbytes"),
            *("auditor.models.causal_lm.model", "attacks.none.as_is", "attacks.quantization.rtn"),
        ]
    )
    forkserver.ensure_running()
    return context


@pytest.fixture(scope="session")
def shared_data():
    """Real logs and questions that lie beside the project, where they do."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "tofu"
    if not folder.is_dir():
        pytest.skip(f"the real TOFU data is not there ({folder})")
    return folder


@pytest.fixture(scope="session")
def people():
    """The default world: original, two retrained models and the demo's unlearned one.

    Kept in the user's cache, keyed by its recipe, so that it is trained once a machine.
    """
    world = worlds.locate("people")
    world.root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(world.root.with_suffix(".lock")):  # one of the test processes trains, all wait
        recipe = world.recipe
        return worlds.build("people", only=("original", *recipe.retrained, recipe.demo))


@pytest.fixture(scope="session")
def shapes_world():
    """The world of text-to-image models: all of its subjects, unpacked from the package."""
    world = catalogue.locate("shapes")
    world.root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(world.root.with_suffix(".lock")):  # one of the test processes unpacks, all wait
        return catalogue.build("shapes")


@pytest.fixture(scope="session")
def few_facts(people, tmp_path_factory):
    """Files of a quarter of the default world's facts, by set: to run attacks, not to conclude."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("forget", "retain", "holdout"):
        lines = people.facts(name).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:24]), encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in ("forget", "retain", "holdout")}


@pytest.fixture(scope="session")
def thinker(tmp_path_factory):
    """Folder of a small model whose traces tell what its answers deny."""
    return make_thinker(tmp_path_factory.mktemp("thinker") / "model")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all test processes of a run share."""
    shared = tmp_path_factory.getbasetemp()
    return shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared


@pytest.fixture(scope="session")
def store_root(shared_folder):
    """Evidence shared by all tests on the default world: nothing is measured twice."""
    return shared_folder / "shared-evidence"


@pytest.fixture
def audit(store_root):
    """Run a plan to its certificate, against the shared store unless told otherwise."""

    def run(plan, root=None):
        store = FolderStore(root or store_root)
        prepared = prepare(plan, store, SilentProgress())
        outcome = run_audit(prepared, store, LocalExecutor(), SilentProgress())
        return build_certificate(outcome, "auditor audit plan.yaml")

    return run


@pytest.fixture
def attacked(people, audit):
    """Audit a subject of the default world under one attack; its rows of the matrix by variant.

    With all three sets of facts, one seed and only the primary metric, unless ``changes`` says
    otherwise.
    """

    def run(unlearned, attack, retrained=("retrained-0",), parameters=None, **changes):
        def spec(name):
            return {"path": str(people.model_path(name)), "dtype": "float32"}

        content = {
            "unlearned": spec(unlearned),
            "original": spec("original"),
            "retrained": [spec(name) for name in retrained],
            "data": {n: str(people.facts(n)) for n in ("forget", "retain", "holdout")},
            "profile": None,
            "attacks": [{"attack": attack, "parameters": parameters or {}}],
            "policy": {"mandatory": ["none/as-is"]},
            "metrics": {"deciding": [], "reported": []},
            "seeds": [0],
        }
        certificate = audit(parse_plan(content | changes, "the test's plan"))
        return {row.variant: row for row in certificate.matrix if row.attack == attack}

    return run


@pytest.fixture
def passing_plan(people):
    """A plan that ends in PASS: a retrained model as U, as it is and in NF4."""

    def make(**changes):
        content = {
            "unlearned": {"path": str(people.model_path("retrained-1")), "dtype": "float32"},
            "original": {"path": str(people.model_path("original")), "dtype": "float32"},
            "retrained": [{"path": str(people.model_path("retrained-0")), "dtype": "float32"}],
            "data": {name: str(people.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}],
            "policy": {"mandatory": ["none/as-is", "quantization/bnb nf4"]},
            "metrics": {"reported": ["rouge-l-recall"]},
        }
        return parse_plan(content | changes, "the test's plan")

    return make
