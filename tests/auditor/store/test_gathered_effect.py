"""The effect of an attack, gathered from what its jobs noted."""

from itertools import count

import pytest

from auditor.core.attack_id import AttackId
from auditor.core.hashing import digest
from auditor.core.records import Cost, Record
from auditor.statistics.effect import effect_note
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.store.gathering import effect_message

ATTACK = AttackId("relearning/held-out-facts", "by attribute")
CPU = Environment(device="cpu", packages={})


@pytest.fixture
def jobs(tmp_path):
    """Write a job for each note of each arm; the store and the keys."""
    store, numbers = FolderStore(tmp_path / "store"), count()

    def write(**arms):
        keys = {}
        for arm, notes in arms.items():
            for note in notes:
                identity = {"job": next(numbers)}
                record = Record(notes={} if note is None else {"effect": note})
                store.write(digest(identity), identity, record, Cost(1.0, 1), CPU)
                keys.setdefault(arm.replace("_", "-"), []).append(digest(identity))
        return store, {arm: tuple(found) for arm, found in keys.items()}

    return write


def taught(*after):
    return [effect_note("taught_knowledge", 0.0, k) for k in after]


def test_the_retrained_model_learns_and_the_unlearned_does_not(jobs):
    store, keys = jobs(unlearned=taught(0.02), original=taught(0.9), retrained_0=taught(0.8))
    said = effect_message(store, ATTACK, "taught_knowledge", keys)
    assert said.code == "no_effect_on_unlearned"
    assert said.params["attack"] == ATTACK.label


def test_the_mean_over_seeds_counts(jobs):
    arms = {"original": taught(0.9, 0.9), "retrained_0": taught(0.8, 0.8)}
    store, keys = jobs(unlearned=taught(0.9, 0.02), **arms)
    assert effect_message(store, ATTACK, "taught_knowledge", keys) is None
    store, keys = jobs(unlearned=[*taught(0.9), None], **arms)
    assert effect_message(store, ATTACK, "taught_knowledge", keys).code == "effect_not_noted"


def test_an_attack_that_declares_nothing_needs_no_effect(jobs):
    store, keys = jobs(unlearned=[None], original=[None], retrained_0=[None])
    assert effect_message(store, ATTACK, None, keys) is None
    assert effect_message(store, ATTACK, None, {}) is None
    assert effect_message(store, ATTACK, "taught_knowledge", keys).code == "effect_not_noted"


def test_what_is_noted_decides_where_the_attack_is_not_known(jobs):
    store, keys = jobs(unlearned=taught(0.02), original=taught(0.9), retrained_0=taught(0.8))
    assert effect_message(store, ATTACK, None, keys).code == "no_effect_on_unlearned"
