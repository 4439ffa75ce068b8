"""A model that does not fit, and a device that is lost: told once, and never as evidence."""

import pytest
import torch

from auditor.cli.main import BROKEN
from auditor.core.errors import DoesNotFitError, LostContextError
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.memory import free_memory, weights_memory
from auditor.models.opening import locate
from auditor.store.folder_store import FolderStore

TOO_MUCH = 1 << 50
ATTACKS = [
    {"attack": "membership/likelihood", "parameters": {"score": "loss"}},
    {"attack": "prompting/prefill"},
]


@pytest.fixture
def audited(passing_plan, people, tmp_path):
    """Run a search and three measurements on each model."""
    data = {name: str(people.facts(name)) for name in ("forget", "retain", "holdout")}
    plan = passing_plan(
        attacks=ATTACKS,
        data=data,
        policy={"mandatory": ["none/as-is"]},
        metrics={"deciding": ["answer-probability"], "reported": []},
        seeds=[0],
    )
    store = FolderStore(tmp_path / "store")

    def go(executor):
        return run_audit(prepare(plan, store, SilentProgress()), store, executor, SilentProgress())

    go.store = store
    return go


@pytest.fixture
def loads(monkeypatch):
    """Models that were tried to load where there is no room for any, by name."""
    tried = []

    def load(self):
        tried.append(self.location.model.name)
        return torch.empty(TOO_MUCH)

    monkeypatch.setattr(CausalLM, "_from_files", load)
    return tried


def test_a_model_that_does_not_fit_is_loaded_once(audited, loads, people):
    outcome = audited(LocalExecutor())
    assert sorted(loads) == ["original", "retrained-0", "retrained-1"]
    reasons = {run.evidence.id: run.evidence.reason.nested("reason") for run in outcome.runs}
    assert {run.evidence.status for run in outcome.runs} == {"failed"}
    assert {reason.code for reason in reasons.values()} == {"does_not_fit"}
    stored = sum(f.stat().st_size for f in people.model_path("original").glob("*.safetensors"))
    for reason in reasons.values():  # stored in half types, opened in float32
        assert 0.99 * 2 * stored < reason.params["needed"] < 2 * stored
        assert 0 < reason.params["free"] < TOO_MUCH
    assert not list((audited.store.root / "jobs").glob("*/*"))


def test_the_error_says_bytes_and_what_to_change(loads, people):
    spec = CausalLMSpec(path=str(people.model_path("original")), dtype="bfloat16")
    location = locate(spec)
    model = CausalLM(spec, location)
    with pytest.raises(DoesNotFitError, match=r"take 0\.0\d GB.* GB were free.*device_map") as said:
        model.score([("a", "b")])
    assert not model.fits
    assert said.value.needed == weights_memory(spec, location)
    wide = spec.model_copy(update={"dtype": "float32"})
    assert 2 * said.value.needed == weights_memory(wide, location)
    assert said.value.free <= 2 * free_memory("cpu")
    assert len(loads) == 1, "no smaller batch makes it fit"


LOST = "CUDA error: an illegal memory access was encountered"


def test_a_lost_device_ends_the_process_that_lost_it(audited, monkeypatch):
    asked = []

    def lost(self, items, passes=1):
        asked.append(len(items))
        raise RuntimeError(LOST)

    monkeypatch.setattr(CausalLM, "answer_logits", lost)
    with pytest.raises(LostContextError, match=r"illegal memory access.*run the same command"):
        audited(LocalExecutor())
    assert len(asked) == 1, "no later job was sent into it"
    assert LostContextError.exit_code == BROKEN
    assert [LOST in file.read_text() for file in audited.store.root.glob("failures/*")] == [True]
