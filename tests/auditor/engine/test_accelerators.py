"""What is said of accelerators, on a machine whose torch says that it has two."""

import json

import pytest
import torch

from auditor.attack import Attack, Parameters, Requirements
from auditor.cli.main import run
from auditor.core.progress import SilentProgress
from auditor.core.records import Record
from auditor.engine.environment import device_of
from auditor.engine.executors.canary import Canary
from auditor.engine.machine import free_memory as free_of_machine
from auditor.engine.preparation import prepare
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.memory import free_memory, room_for_states
from auditor.store.folder_store import FolderStore

NAMES = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")
FREE = (60 << 30, 40 << 30)


@pytest.fixture
def two_cards(monkeypatch):
    """Two unlike cards, of which torch tells names and memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(NAMES))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=0: NAMES[device])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=0: (FREE[device], 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=0: 2 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=0: 1 << 30)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


class OnCards(Attack[Parameters]):
    """Needs an accelerator."""

    requires = Requirements(gpu=True)
    packages = ()

    def measure(self, model, context):
        return Record()


def test_the_device_of_a_model_is_the_card_that_it_is_put_on(two_cards):
    assert device_of(CausalLMSpec(path="m", device_map="cuda:1")) == NAMES[1]
    assert device_of(CausalLMSpec(path="m", device_map="cuda:0")) == NAMES[0]
    assert device_of(CausalLMSpec(path="m")) == NAMES[0]
    assert device_of(CausalLMSpec(path="m", device_map="cpu")) == "cpu"


def test_memory_is_that_of_the_cards_that_a_model_is_put_on(two_cards, tmp_path):
    assert free_memory("cuda:1") == FREE[1]
    assert free_memory("auto") == sum(FREE)
    assert room_for_states([0, 1]) == 1 << 35, "a power of two, at most half of twice the lesser"
    machine = free_of_machine(CausalLMSpec(path="m"), tmp_path)
    assert (machine.name, machine.gpus) == (NAMES[0], FREE)
    assert free_of_machine(CausalLMSpec(path="m", device_map="cpu"), tmp_path).gpus == ()


def test_an_attack_that_needs_a_card_says_so_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert OnCards(Parameters()).unavailable(None).code == "gpu_missing"


def test_an_attack_that_needs_a_card_runs_where_there_is_one(two_cards):
    assert OnCards(Parameters()).unavailable(None) is None


def test_keys_do_not_follow_the_machine_that_asks(passing_plan, tmp_path, request):
    plan = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]})

    def keys():
        ready = prepare(plan, FolderStore(tmp_path / "store"), SilentProgress())
        of_arms = [ready.measurements(variant).values() for variant in ready.variants]
        return [job.key for arms in of_arms for jobs in arms for job in jobs]

    here = keys()
    request.getfixturevalue("two_cards")
    assert keys() == here


def test_a_worker_with_another_card_differs():
    first = Canary(NAMES[0], "3.12.1", "2.14.1", "00aa")
    assert first.differences(first) == ""
    other = first._replace(device=NAMES[1], answer="00ab")
    said = f"device {NAMES[1]} against {NAMES[0]}; answer 00ab against 00aa"
    assert other.differences(first) == said


def test_doctor_names_the_cards(two_cards, capsys):
    run(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)
    [gpu] = [check for check in checks if check["name"] == "GPU"]
    assert NAMES[0] in gpu["found"]
    assert NAMES[1] in gpu["found"]
