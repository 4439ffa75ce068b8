"""What an audit needs, known from configurations alone, and what is refused or left out for it."""

import json
import shlex

import pytest
import torch
from tiny_models import make_model, make_tokenizer, save
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig

from auditor.api.issuing import repeating
from auditor.attack import ATTACKS, Attack, Footprint, Parameters
from auditor.certificate.build import build_certificate
from auditor.cli.main import run
from auditor.cli.options import seconds_of
from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.core.roles import Role
from auditor.engine.audit import run_audit
from auditor.engine.capacity import Fit, capacity, check_fits, fits, need, shapes_of
from auditor.engine.estimate import estimate, within
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.machine import CARDS, GB, free_memory, probe, stated
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import prepare
from auditor.models.kind import Workload, kind_named, parse_spec
from auditor.models.language.shape import shape_of
from auditor.models.manifest import Location, Manifest
from auditor.models.opening import locate
from auditor.store.folder_store import FolderStore

LLAMA_7B = {"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008}
LLAMA_70B = {
    "vocab_size": 32_000,
    "hidden_size": 8192,
    "intermediate_size": 28_672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
MIXTRAL = {"vocab_size": 32_000, "intermediate_size": 14_336, "num_key_value_heads": 8}


def shape(config, folder, dtype="bfloat16"):
    config.save_pretrained(folder)
    location = Location(model=folder, adapter=None, manifest=Manifest(files={}))
    return shape_of(AutoModelForCausalLM, config, location, dtype)


def quantizer(name, **parameters):
    cls = ATTACKS.get(name)
    return cls(cls.parameters_type(**parameters))


@pytest.mark.parametrize(
    ("config", "published", "active"),
    [
        (LlamaConfig(**LLAMA_7B), 6_738_415_616, 6_738_415_616),
        (LlamaConfig(**LLAMA_70B), 68_976_648_192, 68_976_648_192),
        (MixtralConfig(**MIXTRAL), 46_702_792_704, 12_879_925_248),
    ],
    ids=["Llama 2 7B", "Llama 2 70B", "Mixtral 8x7B"],
)
def test_shapes_have_the_published_sizes(config, published, active, tmp_path):
    found = shape(config, tmp_path)
    assert found.parameters == published
    assert found.active == active
    assert found.loaded == 2 * published
    experts = (published - active) * 4 // 3
    assert 0 <= found.bare - experts < 1e-4 * published  # the routers, too


def test_a_shape_is_that_of_the_loaded_network(tmp_path):
    network = make_model("llama")
    save(tmp_path, network, make_tokenizer())
    spec = parse_spec({"path": str(tmp_path)})
    found = kind_named(spec.kind).shape(spec, locate(spec))
    weights = sum(p.numel() for p in network.parameters())
    assert (found.parameters, found.layers, found.width, found.vocabulary) == (weights, 2, 128, 400)
    assert found.loaded == pytest.approx(4 * weights, rel=0.01)  # headers are bytes of files, too
    layer = 128 * 128 * 2 + 2 * 128 * 64 + 3 * 128 * 256
    assert found.linear == 2 * layer
    assert found.cache == 2 * 2 * 64  # keys and values of two blocks, of two heads of 32


WORK = Workload(20_000, steps=40)


def test_a_copy_of_70_billion_weights_takes_what_its_bits_say(tmp_path):
    large, machine = shape(LlamaConfig(**LLAMA_70B), tmp_path), stated("2xH100")
    plain = need(quantizer("none/as-is"), large, WORK, machine)
    assert plain.least == pytest.approx(138 * GB, rel=0.01)
    nf4 = need(quantizer("quantization/bnb", format="nf4"), large, WORK, machine)
    assert nf4.least == pytest.approx(68.5e9 * 0.5625 + 1.05 * GB, rel=0.02)  # in its place
    gptq = need(quantizer("quantization/gptq"), large, WORK, machine)
    assert gptq.least == pytest.approx(plain.least, rel=0.01)  # it is fitted in 16 bits
    assert gptq.stored == gptq.disk == pytest.approx(68.5e9 * 0.53125 + 1.05 * GB, rel=0.01)
    assert (nf4.stored, nf4.disk) == (0, 0)  # made as quickly as it is read
    lora = need(quantizer("relearning/benign"), large, WORK, machine)
    assert lora.host == 0
    assert plain.least < lora.least < 1.1 * plain.least
    full = need(quantizer("relearning/benign", method="full"), large, WORK, machine)
    assert 6 * large.parameters < full.least < 6.6 * large.parameters
    assert full.host == large.loaded


def test_all_weights_of_7_billion_are_trained_on_one_card(tmp_path):
    """32-bit weights and moments of 8 bits: six bytes a weight, and one gradient at a time."""
    small, machine = shape(LlamaConfig(**LLAMA_7B), tmp_path), stated("1x80GB")
    full = need(quantizer("relearning/held-out-facts", method="full"), small, WORK, machine)
    assert 6 * small.parameters < full.device < 8 * small.parameters
    assert not list(fits(machine, None, full, "original", "full"))


def test_one_card_is_too_small_for_70_billion_weights_and_two_are_not(tmp_path):
    large = shape(LlamaConfig(**LLAMA_70B), tmp_path)
    for text, device_map, lacking in (
        ("1x80GB", None, True),
        ("2x80GB", None, True),  # by default a model is put on one card
        ("2x80GB", "auto", False),
        ("1x80GB", "auto", True),
        ("1x80GB", "cuda:1", True),
    ):
        machine = stated(text)
        wanted = need(quantizer("none/as-is"), large, WORK, machine)
        found = list(fits(machine, device_map, wanted, "original", "none/as-is"))
        assert bool(found) is lacking, (text, device_map)


def test_an_attack_that_says_nothing_needs_the_model_and_a_batch(tmp_path):
    class Plain(Attack[Parameters]):
        """Asks."""

        def measure(self, model, context):
            raise NotImplementedError

    small, machine = shape(LlamaConfig(**LLAMA_7B), tmp_path), stated("1xH100")
    assert Plain(Parameters()).footprint == Footprint()
    found = need(Plain(Parameters()), small, WORK, machine)
    assert small.loaded < found.least < 1.01 * small.loaded < found.device < 1.5 * small.loaded
    assert (found.host, found.disk) == (0, 0)


def test_machines_are_stated_by_card_by_memory_and_by_file(tmp_path):
    assert stated("8xH100").gpus == (80 * GB,) * 8
    assert stated("1x80GB").operations == pytest.approx(CARDS["A100"].operations / 2)
    file = tmp_path / "machine.yaml"
    file.write_text("{gpus: 2, gpu_memory: 96, teraflops: 500, bandwidth: 3000, host_memory: 512}")
    machine = stated(str(file))
    assert (machine.gpus, machine.host, machine.disk) == ((96 * GB,) * 2, 512 * GB, None)
    file.write_text("{gpus: 2, gpu_memory: many, teraflops: 500, bandwidth: 3000}")
    for wrong in (str(file), "8xB9000", "0xH100", "many", str(tmp_path / "none.yaml")):
        with pytest.raises(AuditorError, match="machine"):
            stated(wrong)


def test_this_machine_is_measured_in_seconds(tmp_path):
    spec = parse_spec({"path": str(tmp_path), "device_map": "cpu"})
    found = probe(spec, shape(LlamaConfig(**LLAMA_7B), tmp_path), tmp_path / "not" / "there")
    assert found.gpus == ()
    assert min(found.operations, found.bandwidth, found.hashing, found.drawing) > 1e6
    assert found.memory("cpu") == found.host > GB


@pytest.fixture
def prepared(people, few_facts, tmp_path):
    """A plan on a few facts of the testbed, with a store of its own, and the store."""

    def make(**changes):
        content = {
            "unlearned": str(people.model_path("npo_gdr")),
            "original": str(people.model_path("original")),
            "retrained": [str(people.model_path("retrained-0"))],
            "data": few_facts,
            "profile": None,
            "metrics": {"deciding": [], "reported": []},
            "attacks": [
                {"attack": "prompting/prefill"},
                {"attack": "membership/likelihood", "parameters": {"score": ["loss", "zlib"]}},
            ],
            "policy": {"mandatory": ["none/as-is", "prompting/prefill"]},
            "seeds": [0],
        }
        store = FolderStore(tmp_path / "evidence")
        plan = parse_plan(content | changes, "the test's plan")
        return prepare(plan, store, SilentProgress()), store

    return make


def small_machine(spec, folder, host):
    return free_memory(spec, folder)._replace(gpus=(), host=host)


def test_what_cannot_fit_is_refused_with_bytes_unless_it_is_done(prepared, tmp_path):
    found, store = prepared(attacks=[], policy={"mandatory": ["none/as-is"]})
    shapes = shapes_of(found)
    tight = small_machine(found.plan.original, tmp_path, 1_000_000)
    with pytest.raises(AuditorError, match=r"0\.0 GB are free") as refused:
        check_fits(capacity(found, tight, shapes), found, store)
    assert "dtype: bfloat16" in str(refused.value)
    assert refused.value.exit_code == 2
    enough = small_machine(found.plan.original, tmp_path, 2 * GB)
    check_fits(capacity(found, enough, shapes), found, store)
    run_audit(found, store, LocalExecutor(), SilentProgress())
    check_fits(capacity(found, tight, shapes), found, store)  # nothing is left to be run


def test_what_time_leaves_out_is_in_the_certificate_and_blocks_a_pass(prepared, tmp_path):
    found, store = prepared()
    machine = probe(found.plan.original, shapes_of(found)["original"], tmp_path)
    estimates = estimate(found, store, machine)
    (plain,) = (e for e in estimates.variants if e.label.startswith("none/as-is"))
    just = within(found, estimates, plain.seconds * 1.001)
    reasons = {v.label: just.unavailable(v) for v in just.variants}
    assert [label for label, reason in reasons.items() if reason is None] == [plain.label]
    assert {r.code for r in reasons.values() if r is not None} == {"left_out_for_time"}
    outcome = run_audit(just, store, LocalExecutor(), SilentProgress())
    certificate = build_certificate(outcome, "auditor audit plan.yaml")
    rows = {f"{row.attack} {row.variant}": row for row in certificate.matrix}
    assert rows.keys() == reasons.keys()
    mandatory = [row for row in rows.values() if row.role == Role.MANDATORY and row.figures is None]
    assert mandatory
    assert all(row.status == "unavailable" for row in mandatory)
    assert certificate.verdict.verdict != "PASS"
    with pytest.raises(AuditorError, match="without any attack"):
        within(found, estimate(prepared(seeds=[1])[0], FolderStore(tmp_path / "new"), machine), 0)


def test_mandatory_attacks_come_before_cheaper_others_and_a_search_counts_once(prepared, tmp_path):
    found, store = prepared()
    machine = probe(found.plan.original, shapes_of(found)["original"], tmp_path)
    estimates = estimate(found, store, machine)
    seconds = {entry.label: entry.seconds for entry in estimates.variants}
    first, second = (v.label for v in found.variants if v.attack.name == "membership/likelihood")
    assert estimates.waiting[first].keys() & estimates.waiting[second].keys()
    assert seconds[second] < seconds[first]
    everything = within(found, estimates, sum(seconds.values()) * 1.001)
    assert all(everything.unavailable(v) is None for v in everything.variants)
    needed = sum(e.seconds for e in estimates.variants if e.role is Role.MANDATORY)
    chosen = within(found, estimates, needed * 1.001)
    kept = [v for v in chosen.variants if chosen.unavailable(v) is None]
    assert {v.role for v in kept} >= {Role.MANDATORY}
    assert all(chosen.unavailable(v) is None for v in chosen.variants if v.role is Role.MANDATORY)


def test_finished_jobs_tell_how_long_others_take(prepared, tmp_path):
    few = {"attacks": [{"attack": "prompting/prefill"}]}
    found, store = prepared(**few)
    machine = probe(found.plan.original, shapes_of(found)["original"], tmp_path)
    slow = machine._replace(operations=machine.operations / 1000, overhead=machine.overhead * 1000)
    before = estimate(found, store, slow)
    assert before.calibration.jobs == 0
    outcome = run_audit(found, store, LocalExecutor(), SilentProgress())
    took = {run.variant.label: run.seconds for run in outcome.runs}
    again, _ = prepared(**few, metrics={"deciding": [], "reported": ["extraction-strength"]})
    after = estimate(again, store, slow)
    assert after.calibration.jobs == len(outcome.seals)
    for entry in after.variants:
        assert entry.calibrated
        assert entry.seconds == pytest.approx(took[entry.label], rel=1.0)
    assert sum(e.seconds for e in before.variants) > 2.5 * sum(took.values())
    elsewhere = estimate(again, store, slow._replace(name="another device"))
    assert elsewhere.calibration.jobs == 0
    assert estimate(again, store, slow._replace(stated=True)).calibration.jobs == 0


@pytest.fixture
def mixture(tmp_path):
    """Three mixtures of experts of random weights, and a plan for them."""
    config = MixtralConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=96,
    )
    for seed, name in enumerate(("unlearned", "original", "retrained")):
        torch.manual_seed(seed)
        save(tmp_path / name, AutoModelForCausalLM.from_config(config), make_tokenizer())
    for start, name in ((0, "forget"), (20, "retain")):
        facts = (
            {"id": f"{i}", "subject": f"{i}", "prompt": f"Person {i} lives in", "answer": f"{i} x"}
            for i in range(start, start + 3)
        )
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(f)}\n" for f in facts))
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "{unlearned: unlearned, original: original, retrained: [retrained],"
        " data: {forget: forget.jsonl, retain: retain.jsonl}, profile: quick}"
    )
    return plan


INSTEAD = {
    "quantization/bnb int8": "quantization/rtn 8-bit",
    "quantization/bnb nf4": "quantization/rtn nf4",
    "quantization/bnb fp4": "quantization/rtn fp4",
    "quantization/gptq 4-bit g128": "quantization/rtn 4-bit g128",
}
"""Mandatory levels that do not round experts, and those that take their place."""


def test_levels_that_round_experts_take_the_place_of_others_before_a_model_is_opened(
    mixture, tmp_path, capfd
):
    asked = ["plan", str(mixture), "--out", str(tmp_path / "out"), "--quiet", "--json"]
    assert run([*asked, "--machine", "1xH100"]) == 0
    report = json.loads(capfd.readouterr().out)
    rows = {entry["label"]: entry for entry in report["variants"]}
    assert not rows.keys() & INSTEAD.keys()
    for label in (*INSTEAD.values(), "none/as-is full precision"):
        assert (rows[label]["role"], rows[label]["unavailable"]) == ("mandatory", None)
    said = [w["params"] for w in report["warnings"] if w["code"] == "level_with_experts"]
    assert {each["demanded"]: each["instead"] for each in said} == INSTEAD
    assert "policy_does_not_demand" not in {w["code"] for w in report["warnings"]}
    assert report["machine"]["stated"] is True


def test_a_level_that_does_not_round_experts_says_so_where_it_is_asked_for(
    mixture, tmp_path, capfd
):
    file = mixture.with_name("asked.yaml")
    nf4 = "attacks: [{attack: quantization/bnb, parameters: {format: nf4}}]"
    file.write_text(mixture.read_text().replace("profile: quick", f"profile: null, {nf4}"))
    asked = ["plan", str(file), "--out", str(tmp_path / "out"), "--quiet", "--json"]
    assert run([*asked, "--machine", "1xH100"]) == 0
    report = json.loads(capfd.readouterr().out)
    rows = {entry["label"]: entry for entry in report["variants"]}
    reason = rows["quantization/bnb nf4"]["unavailable"]
    found = reason["params"].get("reason", reason)
    assert found["code"] == "experts_not_rounded"
    assert found["params"]["weights"] == 2 * (4 * 3 * 32 * 64 + 4 * 32)  # with the routers
    assert rows["quantization/bnb nf4"]["role"] == "advisory"
    assert rows["quantization/rtn nf4"]["role"] == "mandatory"


def test_a_plan_for_a_machine_that_is_too_small_ends_with_two(mixture, tmp_path, capfd):
    file = tmp_path / "small.yaml"
    file.write_text("{name: small, gpus: 1, gpu_memory: 0.0001, teraflops: 1, bandwidth: 10}")
    asked = [
        "plan",
        str(mixture),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
        "--machine",
        str(file),
    ]
    assert run(asked) == 2
    assert "does not fit on small" in capfd.readouterr().err
    assert run([*asked, "--even-if-it-does-not-fit"]) == 0
    assert "does not fit: none/as-is" in capfd.readouterr().out


def test_the_place_where_memory_is_short_is_named(tmp_path):
    machine = stated("1xH100")._replace(host=10, disk=10)
    small = shape(LlamaConfig(**LLAMA_7B), tmp_path)
    awq = need(quantizer("quantization/awq"), small, WORK, machine._replace(libraries=100))
    assert {lack.place for lack in fits(machine, None, awq, "original", "awq")} == {
        "main memory",
        "disk",
    }
    assert need(quantizer("tampering/noise"), small, WORK, machine).host == 0
    loan = need(quantizer("tampering/noise"), small, WORK, machine, stored=False)
    found = list(fits(machine, None, loan, "original", "noise"))
    assert found == [Fit("original", "noise", "main memory", small.loaded, 10)]


def test_main_memory_holds_what_is_left_over_of_a_model_that_is_only_read(tmp_path):
    large = shape(LlamaConfig(**LLAMA_70B), tmp_path)
    machine = stated("1xH100")._replace(host=200 * GB)
    asked = need(quantizer("none/as-is"), large, WORK, machine)
    loan = need(quantizer("tampering/noise"), large, WORK, machine)
    assert not list(fits(machine, "auto", asked, "original", "as-is"))
    assert list(fits(machine, None, asked, "original", "as-is"))
    assert list(fits(machine, "auto", loan, "original", "noise"))


def test_an_audit_that_has_no_time_at_all_is_refused(mixture, tmp_path, capfd):
    asked = ["audit", str(mixture), "--out", str(tmp_path / "out"), "--quiet", "--within", "0s"]
    assert run(asked) == 2
    assert "without any attack" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30min", 5400), ("90 s", 90), ("0.5h", 1800), ("5m", 300)],
)
def test_times_are_read(text, seconds):
    assert seconds_of(None, None, text) == seconds


@pytest.mark.parametrize("seconds", [0.5, 90, 5400, 1e7])
def test_the_command_that_repeats_an_audit_limits_its_time(tmp_path, seconds):
    again = repeating("audit", None, redact=False, within=seconds)
    *_, option, given = shlex.split(again)
    assert option == "--within"
    assert seconds_of(None, None, given) == seconds
    assert "--within" not in repeating("audit", None, redact=False)


@pytest.mark.parametrize("text", ["", "2", "two hours", "h", "-1h", "1.2.3h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Exception, match="is no time"):
        seconds_of(None, None, text)
