"""Whether the arms of an attack were measured in one environment."""

import json
from pathlib import Path

import pytest

from auditor.core.hashing import digest
from auditor.core.records import Cost, Record
from auditor.store.environment import Environment
from auditor.store.environment_differences import EnvironmentDifference, environment_differences
from auditor.store.folder_store import FolderStore

CPU = Environment(device="cpu", packages={"torch": "2.14", "numpy": "2.4"}, python="3.11.7")
GPU = CPU.model_copy(update={"device": "NVIDIA H100"})
OTHER_TORCH = CPU.model_copy(update={"packages": {"torch": "2.15", "numpy": "2.4"}})
OTHER_PYTHON = CPU.model_copy(update={"python": "3.12.1"})
MORE = CPU.model_copy(update={"packages": CPU.packages | {"bitsandbytes": "0.49"}})


@pytest.fixture
def measured(tmp_path):
    """A job in a store that was measured in an environment; its key."""
    store = FolderStore(tmp_path / "store")
    count = iter(range(100))

    def make(environment, pool=()):
        identity = {"job": next(count), "pool": list(pool)}
        key = digest(identity)
        store.write(key, identity, Record(), Cost(1.0, 1), environment)
        return key

    make.store = store
    return make


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (CPU, ()),
        (GPU, (("device", "cpu", "NVIDIA H100"),)),
        (OTHER_TORCH, (("torch", "2.14", "2.15"),)),
        (OTHER_PYTHON, ()),
        (MORE, ()),
        (
            OTHER_TORCH.model_copy(update={"device": "x"}),
            (("device", "cpu", "x"), ("torch", "2.14", "2.15")),
        ),
    ],
)
def test_what_differs_between_arms_is_named(measured, original, expected):
    jobs = {"unlearned": [measured(CPU)], "original": [measured(original)]}
    assert environment_differences(measured.store, jobs) == tuple(
        EnvironmentDifference(what, {"unlearned": here, "original": there})
        for what, here, there in expected
    )


def test_arms_are_compared_seed_by_seed(measured):
    alike = {arm: [measured(CPU), measured(GPU)] for arm in ("unlearned", "original")}
    assert environment_differences(measured.store, alike) == ()
    crossed = alike | {"original": alike["original"][::-1]}
    [difference] = environment_differences(measured.store, crossed)
    assert difference.what == "device"


def test_searches_are_compared_too(measured):
    def jobs(*environments):
        pool = [
            {"arm": arm, "key": measured(environment), "own": arm == "unlearned"}
            for arm, environment in zip(("unlearned", "original"), environments, strict=True)
        ]
        return {arm: [measured(CPU, pool)] for arm in ("unlearned", "original")}

    assert environment_differences(measured.store, jobs(GPU, GPU)) == ()
    [difference] = environment_differences(measured.store, jobs(CPU, OTHER_TORCH))
    assert difference == EnvironmentDifference("torch", {"unlearned": "2.14", "original": "2.15"})


def test_nothing_differs_where_there_is_nothing(measured):
    assert environment_differences(measured.store, {}) == ()
    assert environment_differences(measured.store, {"unlearned": [measured(CPU)]}) == ()


FORMER = {
    "attack": "latent/linear-readout",
    "device": "cpu",
    "device_map": None,
    "instruments": {},
    "libraries": {"torch": "2.14.1"},
    "parameters": {"split": "subject"},
    "probes": ["answer-probability"],
    "subject": "f" * 64,
    "token_budget": 8192,
}


def former(store: FolderStore, identity: dict) -> str:
    """Evidence as it was written before environments stood beside it."""
    key = digest(identity)
    store.write(key, identity, Record(), Cost(1.0, 1), CPU)
    folder = Path(store.root, "jobs", key[:2], key)
    (folder / "environment.json").unlink()
    seal = json.loads((folder / "seal.json").read_bytes())
    del seal["environment.json"]
    (folder / "seal.json").write_text(json.dumps(seal, separators=(",", ":"), sort_keys=True))
    return key


def test_former_evidence_has_its_environment_in_its_identity(measured):
    key = former(measured.store, FORMER)
    assert measured.store.environment(key) == Environment(
        device="cpu", packages={"torch": "2.14.1"}, token_budget=8192
    )
    other = former(measured.store, FORMER | {"libraries": {"torch": "2.15"}})
    [difference] = environment_differences(
        measured.store, {"unlearned": [key], "original": [other]}
    )
    assert difference == EnvironmentDifference("torch", {"unlearned": "2.14.1", "original": "2.15"})


def test_former_evidence_is_read_under_todays_names(measured):
    identity = measured.store.identity(former(measured.store, FORMER))
    assert identity["attack"] == "probing/linear-probe"
    assert identity["parameters"] == {"split": "entity"}
    assert identity["model"] == "f" * 64
    assert identity["metrics"] == ["answer-probability"]
    assert identity["auxiliary"] == {}
    assert not {"subject", "probes", "instruments"} & identity.keys()


def test_the_name_of_a_job_is_the_digest_of_the_bytes_of_its_identity(measured):
    """Not of how today's code would write them."""
    store = measured.store
    identity = {"limit": 5.0, "job": 1}
    content = json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()
    assert b"5.0" in content, "canonical JSON has 5"
    import hashlib

    key = hashlib.sha256(content).hexdigest()
    store.write(key, identity, Record(), Cost(1.0, 1), CPU)
    folder = Path(store.root, "jobs", key[:2], key)
    (folder / "job.json").write_bytes(content)
    seal = json.loads((folder / "seal.json").read_bytes())
    seal["job.json"] = key
    (folder / "seal.json").write_text(json.dumps(seal))
    assert store.identity(key) == identity
