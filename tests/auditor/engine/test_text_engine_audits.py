"""An audit whose plan names an engine: keys, evidence, certificate, and what is refused."""

import json
import sys

import pytest
from text_engines import use_worker, worker_program
from text_worker import VERSIONS

from auditor.certificate.build import build_certificate
from auditor.cli.main import OK, USAGE, run
from auditor.core.errors import AuditorError, ContradictedError
from auditor.core.progress import SilentProgress
from auditor.core.wording import sentence
from auditor.engine.audit import run_audit
from auditor.engine.capacity import capacity, check_fits, shapes_of
from auditor.engine.execution import execute
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.executors.processes import ProcessesExecutor
from auditor.engine.machine import GB, stated
from auditor.engine.plan import parse_plan
from auditor.engine.plan_checks import check_plan
from auditor.engine.preparation import prepare
from auditor.models import text_engine
from auditor.models.served import check_served
from auditor.models.text_engine import INTERPRETER_VARIABLE
from auditor.store.folder_store import FolderStore
from auditor.verification.recompute import check_contradiction

ENGINE = {"engine": "vllm", "python": sys.executable}


@pytest.fixture
def planned(passing_plan, few_facts):
    """A plan of a few facts without attack, with an engine."""

    def make(**changes):
        usual = {
            "attacks": [],
            "policy": {"mandatory": ["none/as-is"]},
            "data": {name: few_facts[name] for name in ("forget", "retain")},
            "generation": ENGINE,
        }
        return passing_plan(**(usual | changes))

    return make


@pytest.fixture
def measured(tmp_path):
    """Run a plan in a store of its own."""

    def make(plan, executor=None, folder="store"):
        store = FolderStore(tmp_path / folder)
        prepared = prepare(plan, store, SilentProgress())
        outcome = run_audit(prepared, store, executor or LocalExecutor(), SilentProgress())
        return outcome, store

    return make


def keys(outcome):
    return set(outcome.seals)


def test_an_audit_with_an_engine_finds_the_same_under_keys_of_its_own(
    planned, measured, monkeypatch
):
    use_worker(monkeypatch)
    without, _ = measured(planned(generation=None), folder="without")
    outcome, store = measured(planned())
    assert not keys(outcome) & keys(without)
    [run] = outcome.runs
    for arm in ("unlearned", "original", "retrained-0"):
        for metric in ("answer-probability", "rouge-l-recall"):
            found = outcome.table.knowledge(run.variant.id, arm, "forget", metric)
            assert len(found) == 24
            assert found == without.table.knowledge(run.variant.id, arm, "forget", metric)
    for key in outcome.seals:
        noted = store.notes(key)["text_engine"]
        assert noted["engine"] > 0
        assert noted["network"] == 0
        assert noted["read"] > 0
        packages = store.environment(key).packages
        assert packages["generation: vllm"] == VERSIONS["vllm"]
        assert store.identity(key)["engine"]["versions"] == VERSIONS
        assert sys.executable not in json.dumps(store.identity(key))
    certificate = build_certificate(outcome, "auditor audit plan.yaml")
    assert certificate.reproduction.versions["generation: vllm"] == VERSIONS["vllm"]
    [said] = [w for w in certificate.warnings if w.code == "text_engine_wrote"]
    assert said.params["jobs"] == said.params["network"] == 0
    texts = (store.notes(key)["text_engine"]["engine"] for key in outcome.seals)
    assert said.params["texts"] == sum(texts)
    assert "transformers-worker 1 wrote" in sentence(said)
    assert sys.executable not in certificate.model_dump_json()
    check_contradiction(certificate, store)


@pytest.mark.nightly
def test_processes_have_an_engine_each(planned, measured, monkeypatch, tmp_path):
    use_worker(monkeypatch)
    one, held = measured(planned(), folder="one")
    plan = planned(generation={"engine": "vllm", "python": str(worker_program(tmp_path))})
    other, theirs = measured(plan, ProcessesExecutor(workers=1), folder="other")
    assert keys(one) == keys(other)
    assert keys(one)
    for key in keys(one):
        assert theirs.notes(key)["text_engine"]["engine"] > 0
        assert held.rows(key).equals(theirs.rows(key))
        assert held.environment(key) == theirs.environment(key)


@pytest.mark.nightly
def test_an_engine_that_is_refused_on_every_arm_leaves_an_audit_by_transformers(
    planned, measured, monkeypatch, people
):
    use_worker(monkeypatch, fault="other", model=people.model_path("npo_gdr"))
    outcome, store = measured(planned())
    assert all(store.notes(key)["text_engine"]["engine"] == 0 for key in outcome.seals)
    certificate = build_certificate(outcome, "auditor audit plan.yaml")
    [said] = [w for w in certificate.warnings if w.code == "text_engine_wrote"]
    assert said.params["texts"] == 0
    assert said.params["jobs"] == 3
    assert "was refused: of " in sentence(said)
    assert all(run.evidence.environment is None for run in outcome.runs)


def test_arms_that_were_written_by_different_engines_are_not_alike(
    planned, measured, monkeypatch, people
):
    """The engine holds the weights of the unlearned model, whoever is asked."""
    use_worker(monkeypatch, fault="other", model=people.model_path("retrained-1"))
    outcome, _ = measured(planned())
    [run] = outcome.runs
    assert run.evidence.environment.code == "environments_differ"
    differences = run.evidence.environment.params["differences"]["generation: vllm"]
    assert differences["unlearned"] == VERSIONS["vllm"]
    assert differences["original"] == "not used"


def test_an_engine_that_dies_fails_the_attack_and_leaves_no_evidence(
    planned, measured, monkeypatch
):
    use_worker(monkeypatch, fault="dies", at=1)
    outcome, _ = measured(planned())
    [run] = outcome.runs
    assert run.evidence.status == "failed"
    assert "the process of vllm ended" in sentence(run.evidence.reason)
    assert not outcome.seals


def problems(content, root):
    with pytest.raises(AuditorError) as error:
        check_plan(content, "plan", root)
    return str(error.value)


def test_a_plan_names_an_interpreter_that_is_there(planned, tmp_path):
    content = json.loads(planned(generation=None).model_dump_json())
    said = problems({**content, "generation": {"python": "venv/bin/python"}}, tmp_path)
    assert "generation.python" in said
    assert "no such file" in said
    assert "engine" in problems({**content, "generation": {"engine": "sglang"}}, tmp_path)


def test_an_environment_without_the_engine_is_refused_before_any_model_is_opened(
    planned, tmp_path, monkeypatch
):
    monkeypatch.delenv(INTERPRETER_VARIABLE, raising=False)
    text_engine._versions.cache_clear()
    store = FolderStore(tmp_path / "store")
    with pytest.raises(AuditorError, match=r"vllm is not installed.*pip install vllm"):
        prepare(planned(), store, SilentProgress())
    with pytest.raises(AuditorError, match=rf"no environment of vllm.*{INTERPRETER_VARIABLE}"):
        prepare(planned(generation={}), store, SilentProgress())
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(tmp_path))
    with pytest.raises(AuditorError, match="is no program that can be run"):
        prepare(planned(generation={}), store, SilentProgress())


def test_the_interpreter_may_be_the_machines_own(planned, tmp_path, monkeypatch):
    use_worker(monkeypatch)
    monkeypatch.setenv(INTERPRETER_VARIABLE, sys.executable)
    plan = planned(generation={})
    prepared = prepare(plan, FolderStore(tmp_path / "store"), SilentProgress())
    assert prepared.engine.versions == VERSIONS
    assert "python" not in json.dumps(prepared.engine.identity)


def test_a_plan_without_an_engine_is_the_plan_that_it_was(passing_plan):
    assert "generation" not in passing_plan().model_dump()


@pytest.mark.parametrize("kind", ["text-to-image", "seq2seq", "evaluation-log"])
def test_no_engine_writes_for_other_kinds(kind):
    check_served("causal-lm")
    with pytest.raises(AuditorError, match=f"no engine writes for models of the kind {kind}"):
        check_served(kind)


def test_plan_and_doctor_name_the_engine(planned, tmp_path, monkeypatch, capsys):
    use_worker(monkeypatch)
    plan = planned()
    file = tmp_path / "plan.yaml"
    file.write_text(plan.model_dump_json())
    monkeypatch.chdir(tmp_path)
    assert run(["plan", str(file), "--no-pilot", "--json", "-q"]) == OK
    assert json.loads(capsys.readouterr().out)["engine"] == VERSIONS
    assert run(["plan", str(file), "--no-pilot", "-q"]) == OK
    assert "are written by transformers-worker 1" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv(INTERPRETER_VARIABLE, sys.executable)
    assert run(["doctor", "--json"]) in (OK, USAGE)
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert found["generation engine"]["ok"]
    assert "transformers-worker 1" in found["generation engine"]["found"]
    monkeypatch.setenv(INTERPRETER_VARIABLE, str(tmp_path / "nowhere"))
    assert run(["doctor", "--json"]) in (OK, USAGE)
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert not found["generation engine"]["ok"]
    assert "is no program" in found["generation engine"]["found"]


@pytest.fixture
def sized(people, planned, tmp_path, monkeypatch):
    """Prepare a plan whose engine has 3 GB of keys and values, and the same plan without one."""
    use_worker(monkeypatch)
    store = FolderStore(tmp_path / "store")

    def make(attacks=(), **spec):
        first, second, third = (
            {"path": str(people.model_path(name))} | spec
            for name in ("retrained-1", "original", "retrained-0")
        )
        models = {"unlearned": first, "original": second, "retrained": [third]}
        plans = (
            planned(generation=engine, attacks=[*attacks], **models)
            for engine in (ENGINE | {"memory": 3.0}, None)
        )
        return *(prepare(plan, store, SilentProgress()) for plan in plans), store

    return make


def more(beside, alone, machine):
    """What the needs of a plan with an engine exceed those of one without, by label and arm."""
    shapes = shapes_of(alone)
    with_, without = (capacity(each, machine, shapes).needs for each in (beside, alone))
    return shapes, {
        (label, arm): (need.device - old.device, need.least - old.least, need.host - old.host)
        for label in with_
        for arm, need in with_[label].items()
        for old in [without[label][arm]]
    }


@pytest.mark.parametrize(
    "machine",
    [
        stated("1xH100")._replace(libraries=7),
        stated("1xH100")._replace(gpus=(), host=100 * GB, libraries=7),
    ],
    ids=["accelerator", "main memory"],
)
def test_the_engines_copy_and_its_keys_and_values_count_beside_the_model(machine, sized):
    attacks = [
        {"attack": "prompting/prefill"},
        {"attack": "relearning/benign"},
        {"attack": "quantization/bnb", "parameters": {"format": "nf4"}},
    ]
    beside, alone, _ = sized(attacks=attacks)
    shapes, found = more(beside, alone, machine)
    assert {label.partition(" ")[0] for label, _ in found} == {
        "none/as-is", "prompting/prefill", "relearning/benign", "quantization/bnb"
    }  # fmt: skip
    for (label, arm), added in found.items():
        held = shapes[arm].loaded + 3 * GB
        ends = label.startswith("quantization/")  # a copy takes the place of network and engine
        assert added == ((0, 0, 0) if ends else (held, held, 7)), label


def test_an_engine_counts_only_for_networks_that_it_is_asked_for(sized):
    machine = stated("2xH100")
    spread = sized(device_map="auto")
    assert set(more(*spread[:2], machine)[1].values()) == {(0, 0, 0)}
    one = stated("1xH100")
    assert (0, 0, 0) not in more(*spread[:2], one)[1].values()
    assert set(more(*spread[:2], one._replace(gpus=(1000,)))[1].values()) == {(0, 0, 0)}
    own_code = sized(trust_remote_code=True)
    assert set(more(*own_code[:2], one)[1].values()) == {(0, 0, 0)}
    assert (0, 0, 0) not in more(*sized(device_map="cuda:1")[:2], machine)[1].values()


def test_a_plan_whose_engine_does_not_fit_is_refused_with_the_way_out(sized):
    beside, alone, store = sized()
    machine, shapes = stated("1x80GB")._replace(gpus=(2 * GB,)), shapes_of(alone)
    check_fits(capacity(alone, machine, shapes), alone, store)
    with pytest.raises(AuditorError, match="leave `generation` out, or give it less `memory`"):
        check_fits(capacity(beside, machine, shapes), beside, store)
    with pytest.raises(AuditorError) as refused:
        check_fits(capacity(alone, machine._replace(gpus=(1,)), shapes), alone, store)
    assert "`generation`" not in str(refused.value)


def test_a_section_is_read_with_its_paths(tmp_path, planned):
    content = json.loads(planned(generation=None).model_dump_json())
    plan = parse_plan({**content, "generation": {"python": "venv/bin/python"}}, "plan", tmp_path)
    assert plan.generation.python == str(tmp_path / "venv/bin/python")


def test_what_a_certificate_says_of_the_engine_follows_from_the_evidence(
    planned, measured, monkeypatch
):
    use_worker(monkeypatch)
    outcome, store = measured(planned())
    certificate = build_certificate(outcome, "auditor audit plan.yaml")
    [said] = [w for w in certificate.warnings if w.code == "text_engine_wrote"]
    others = tuple(w for w in certificate.warnings if w != said)
    more = said.model_copy(update={"params": said.params | {"read": 10**6}})
    for warnings in (others, (*others, more)):
        with pytest.raises(ContradictedError, match="warnings"):
            check_contradiction(certificate.model_copy(update={"warnings": warnings}), store)


def test_a_worker_with_other_code_around_the_engine_measures_nothing(
    planned, monkeypatch, tmp_path
):
    use_worker(monkeypatch)
    store = FolderStore(tmp_path / "store")
    prepared = prepare(planned(), store, SilentProgress())
    [variant] = prepared.variants
    [asked] = prepared.measurements(variant)["original"]
    engine = asked.engine.model_copy(update={"code": "0" * 64})
    with pytest.raises(AuditorError, match="other code for texts by an engine"):
        execute(asked.model_copy(update={"engine": engine}), None, store)
