"""A quantized copy is made once for a store, and measures what a fresh one does."""

import json
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import optimum.gptq
import pytest
from tiny_models import open_directory, save_audit

from attacks.quantization.gptq import GPTQ, GPTQParameters
from auditor.attack import AttackContext, Recipe
from auditor.core.cache import CACHE_VARIABLE
from auditor.core.progress import SilentProgress
from auditor.engine import derived_models
from auditor.engine.audit import run_audit
from auditor.engine.derived_models import DerivedModels
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.store.places import open_place

SMALL = {"group_size": 32, "calibration_samples": 4}
ARMS = ("unlearned", "original", "retrained")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three random models, and files of facts."""
    root = tmp_path_factory.mktemp("models")
    save_audit(root, "Person {i} lives in")
    others = [
        {"id": f"o{i}", "subject": f"{i}", "prompt": f"Where is {i}?", "answer": f"at {i}"}
        for i in range(3)
    ]
    (root / "other.jsonl").write_text("".join(f"{json.dumps(fact)}\n" for fact in others))
    return root


@pytest.fixture
def quantized(monkeypatch):
    """The networks that GPTQ was run on, in order."""
    seen = []
    quantize = optimum.gptq.GPTQQuantizer.quantize_model

    def counted(self, network, *given, **options):
        seen.append(network)
        return quantize(self, network, *given, **options)

    monkeypatch.setattr(optimum.gptq.GPTQQuantizer, "quantize_model", counted)
    return seen


def prepared(models, place, forget="forget", **parameters):
    content = {
        "unlearned": str(models / "unlearned"),
        "original": str(models / "original"),
        "retrained": [str(models / "retrained")],
        "data": {"forget": str(models / f"{forget}.jsonl"), "retain": str(models / "retain.jsonl")},
        "profile": None,
        "metrics": {"deciding": [], "reported": []},
        "attacks": [{"attack": "quantization/gptq", "parameters": SMALL | parameters}],
        "policy": {"mandatory": ["none/as-is"]},
        "seeds": [0],
    }
    store = open_place(place)
    return prepare(parse_plan(content, "the test's plan"), store, SilentProgress()), store


def measured(models, place, **changes):
    """Run an audit; arm to the record of GPTQ."""
    plan, store = prepared(models, place, **changes)
    outcome = run_audit(plan, store, LocalExecutor(), SilentProgress())
    (run,) = (run for run in outcome.runs if run.variant.attack.name == "quantization/gptq")
    return {arm: store.read(key) for arm, (key,) in run.evidence.jobs.items()}


def same(one, other):
    """Whether records are the same to the last bit, notes and codes too."""
    assert one.keys() == other.keys()
    for arm in one:
        assert one[arm].rows == other[arm].rows, arm
        assert one[arm].notes == other[arm].notes, arm
        assert one[arm].arrays.keys() == other[arm].arrays.keys()
        for name, codes in one[arm].arrays.items():
            np.testing.assert_array_equal(codes, other[arm].arrays[name])
    return True


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_second_audit_quantizes_nothing_and_measures_the_same(
    where, models, quantized, tmp_path, monkeypatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    place = tmp_path / "store"
    if where == "memory":
        place = f"memory://derived/{uuid.uuid4().hex}"
    measured(models, place)
    assert len(quantized) == 3, "once an arm"
    if where == "memory":
        shutil.rmtree(tmp_path / "cache")  # as on another machine
    again = measured(models, place, forget="other", code_sample=512)
    assert len(quantized) == 3, "other facts and another level of the attack"
    fresh = measured(models, tmp_path / "new", forget="other", code_sample=512)
    assert len(quantized) == 6
    assert same(again, fresh)


def test_a_spoiled_copy_is_made_again_and_others_stay(models, quantized, tmp_path):
    place = tmp_path / "store"
    first = measured(models, place)
    copies = sorted((place / "derived-models").iterdir())
    assert len(copies) == 3
    weights = copies[0] / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    shutil.rmtree(place / "jobs")
    again = measured(models, place)
    assert len(quantized) == 4
    assert same(first, again)


def test_another_attack_asks_the_same_copy(models, quantized, tmp_path):
    class AskedOtherwise(GPTQ):
        """Another attack on what GPTQ makes."""

    plan, store = prepared(models, tmp_path / "store")
    (variant,) = (v for v in plan.variants if v.attack.name == "quantization/gptq")
    (job,) = plan.measurements(variant)["original"]
    kept = DerivedModels(job, store)
    evaluator = plan.plan.kind.evaluator(plan.sets, job.metrics, plan.auxiliary)
    records = {}
    for number, kind in enumerate((GPTQ, AskedOtherwise)):
        subject = open_directory(models / "original")
        context = AttackContext(evaluator, number, tmp_path / str(number), kept=kept)
        records[number] = {"original": kind(GPTQParameters(**SMALL)).measure(subject, context)}
        assert subject._network is None, "the model itself need not be loaded"
    assert len(quantized) == 1
    assert same(records[0], records[1])


def test_of_workers_that_need_a_copy_at_once_one_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(DerivedModels, "identity", lambda self, recipe: {"one": "copy"})
    monkeypatch.setattr(derived_models, "_PATIENCE", 0.01)
    kept = DerivedModels(None, open_place(tmp_path / "store"))
    begun, made = threading.Barrier(3), []

    def make(folder):
        made.append(folder)
        time.sleep(0.3)
        (folder / "weights").write_bytes(b"w")

    def work(number):
        begun.wait()
        return kept(None, make)

    with ThreadPoolExecutor(3) as pool:
        (folder,) = set(pool.map(work, range(3)))
    assert len(made) == 1
    assert (folder / "weights").read_bytes() == b"w"


def test_only_what_decides_a_copy_is_in_its_key(models, tmp_path, monkeypatch):
    plan, store = prepared(models, tmp_path / "store")
    (variant,) = (v for v in plan.variants if v.attack.name == "quantization/gptq")
    (job,) = plan.measurements(variant)["original"]
    recipe = variant.attack.recipe(GPTQ.__module__)

    def key(recipe=recipe, **changes):
        return DerivedModels(job.model_copy(update=changes), store).identity(recipe)

    usual = key()
    assert key(facts="other", seed=7, metrics=("rouge-l-recall",), attack="none/as-is") == usual
    assert GPTQ(GPTQParameters(**SMALL, code_sample=5)).recipe(GPTQ.__module__) == recipe
    others = [
        key(model="other"),
        key(spec=job.spec.model_copy(update={"dtype": "bfloat16"})),
        key(GPTQ(GPTQParameters(**SMALL, bits=3)).recipe(GPTQ.__module__)),
        key(GPTQ(GPTQParameters(group_size=32, calibration_samples=5)).recipe(GPTQ.__module__)),
        key(recipe._replace(module="attacks.quantization.awq")),
        key(Recipe(recipe.module, recipe.settings, ("bitsandbytes",))),
    ]
    monkeypatch.setattr(derived_models, "installed_version", lambda name: "0.0")
    others.append(key())
    monkeypatch.undo()
    monkeypatch.setattr(derived_models, "device_of", lambda spec: "NVIDIA H100")
    others.append(key())
    digests = {derived_models.digest(one) for one in (usual, *others)}
    assert len(digests) == 1 + len(others)
