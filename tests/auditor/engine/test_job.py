"""A job's key says what is asked; how and with what it is answered stands beside the evidence."""

import platform
import shutil

import pytest
import torch

from auditor.core.errors import AuditorError, ModelDiffersError
from auditor.core.progress import SilentProgress
from auditor.engine.environment import device_of, environment_of
from auditor.engine.execution import execute
from auditor.engine.executors.base import LabelledJob
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.job import Donor, Job, Pooled, measuring_code
from auditor.engine.locations import Locations
from auditor.engine.preparation import prepare
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.kind import kind_named, parse_spec
from auditor.models.opening import locate
from auditor.models.spec import PromptFormat
from auditor.store.folder_store import FolderStore


def job(**changes):
    spec = changes.pop("spec", {})
    fields = {
        "stage": "measure",
        "attack": "quantization/rtn",
        "parameters": {"bits": 4, "code_sample": 10},
        "inputs": {},
        "seed": 0,
        "spec": parse_spec({"path": "here"} | spec),
        "model": "0" * 64,
        "facts": "f" * 64,
        "metrics": ("answer-probability",),
        "format": PromptFormat(),
        "token_budget": 64,
        "code": "c" * 64,
    }
    return Job(**(fields | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"path": "there", "revision": "main"}},
        {"spec": {"device_map": "cpu"}},
        {"token_budget": 128},
    ],
    ids=str,
)
def test_where_a_model_lies_and_how_it_is_asked_decide_no_key(change):
    assert job(**change).key == job().key


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "search"},
        {"attack": "quantization/gptq"},
        {"parameters": {"bits": 3}},
        {"inputs": {"calibration": "c"}},
        {"seed": 1},
        {"spec": {"dtype": "bfloat16"}},
        {"spec": {"kind": "text-to-image"}},
        {"model": "1" * 64},
        {"facts": "e" * 64},
        {"metrics": ("rouge-l-recall",)},
        {"format": PromptFormat(template="Q: {prompt}")},
        {"code": "d" * 64},
        {"pool": (Pooled(arm="original", key="a", own=False),)},
        {"donor": Donor(spec={"path": "original"}, model="2" * 64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_is_asked_decides_it(change):
    assert job(**change).key != job().key


def test_how_pictures_are_drawn_is_asked_and_the_default_is_no_other():
    def drawn(**sampling):
        return job(spec={"kind": "text-to-image", **sampling}).key

    assert drawn(sampling={"steps": 20}) != drawn()
    assert drawn(sampling={"steps": 50}) == drawn()


def test_a_job_is_plain_data():
    asked = job(pool=(Pooled(arm="original", key="a", own=False),))
    again = Job.model_validate_json(asked.model_dump_json())
    assert again == asked
    assert again.key == asked.key


@pytest.mark.parametrize(
    ("format_", "library"), [("nf4", "bitsandbytes"), ("torchao-int8", "torchao"), ("rtn-4", None)]
)
def test_the_environment_has_the_packages_of_attack_metrics_and_kind(format_, library):
    packages = environment_of(
        job(
            attack="quantization/unet",
            parameters={"format": format_},
            spec={"kind": "text-to-image"},
            metrics=("concept",),
        )
    ).packages
    assert {"torch", "diffusers", "pillow"} <= packages.keys()
    assert packages.keys() & {"bitsandbytes", "torchao", "torchmetrics"} == {library} - {None}
    assert "not installed" not in packages.values()
    assert packages["torch"] == torch.__version__.partition("+")[0]


def test_the_environment_has_what_a_metric_names():
    plain = environment_of(job())
    assert plain.python == platform.python_version()
    assert plain.token_budget == 64
    scored = environment_of(job(metrics=("answer-probability", "rouge-l-recall")))
    assert scored.packages.keys() - plain.packages.keys() == {"nltk", "rouge_score"}


def test_the_device_is_that_of_the_model():
    assert device_of(CausalLMSpec(path="m", device_map="cpu")) == "cpu"
    here = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    assert device_of(CausalLMSpec(path="m")) == device_of(CausalLMSpec(path="m", device_map="auto"))
    assert device_of(CausalLMSpec(path="m", device_map="cuda:0")) == here


@pytest.fixture
def prepared(passing_plan, tmp_path):
    """A small plan whose inputs were checked, and an empty store."""
    store = FolderStore(tmp_path / "store")
    plan = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]})
    return prepare(plan, store, SilentProgress()), store


def test_a_worker_finds_the_model_by_its_digest(people):
    spec = CausalLMSpec(path=str(people.model_path("retrained-1")))
    location = locate(spec)
    digest = location.manifest.digest
    assert Locations().find(spec, digest) == location
    with pytest.raises(ModelDiffersError, match="are not those of the model"):
        Locations().find(spec, "0" * 64)


def test_what_was_hashed_is_not_looked_for_again(people, tmp_path):
    folder = shutil.copytree(people.model_path("retrained-1"), tmp_path / "model")
    spec = CausalLMSpec(path=str(folder))
    found = Locations()
    location = found.find(spec, locate(spec).manifest.digest)
    shutil.rmtree(folder)
    assert found.find(spec, location.manifest.digest) == location
    assert Locations([location]).find(spec, location.manifest.digest) == location


def test_a_worker_with_other_models_measures_nothing(prepared, people):
    """The plan was prepared where the path holds another model than on the worker."""
    ready, store = prepared
    [variant] = ready.variants
    [asked] = ready.measurements(variant)["unlearned"]
    moved = asked.model_copy(update={"spec": asked.spec.model_copy(
        update={"path": str(people.model_path("retrained-0"))})})  # fmt: skip
    with pytest.raises(ModelDiffersError):
        LocalExecutor().run([LabelledJob("moved", moved)], Locations(), store, SilentProgress())
    assert not store.has(asked.key)


def test_a_worker_with_other_code_measures_nothing(prepared):
    ready, store = prepared
    [variant] = ready.variants
    [asked] = ready.measurements(variant)["original"]
    assert asked.code == measuring_code(asked.attack, asked.metrics, kind_named("causal-lm"))
    with pytest.raises(AuditorError, match="other code for none/as-is"):
        execute(asked.model_copy(update={"code": "0" * 64}), None, store)


def test_the_environment_is_sealed_with_the_evidence(prepared):
    ready, store = prepared
    [variant] = ready.variants
    [asked] = ready.measurements(variant)["original"]
    assert (
        LocalExecutor().run([LabelledJob("it", asked)], ready.models, store, SilentProgress()) == {}
    )
    assert store.environment(asked.key) == environment_of(asked)
    assert store.identity(asked.key) == asked.identity
    file = store.root / "jobs" / asked.key[:2] / asked.key / "environment.json"
    file.write_bytes(file.read_bytes().replace(b'"cpu"', b'"gpu"', 1))
    with pytest.raises(AuditorError, match="evidence was changed"):
        store.environment(asked.key)
    with pytest.raises(AuditorError, match="evidence was changed"):
        store.seal(asked.key)
