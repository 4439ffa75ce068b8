import pytest
import yaml

from auditor.cli.main import OK, run
from auditor.core.errors import AuditorError
from auditor.core.roles import Role
from auditor.engine.expansion import default_levels, expand
from auditor.engine.plan import AuditPlan, load_plan, parse_plan
from auditor.models.kind import default_kind

MINIMAL = {"unlearned": "u", "original": "o", "retrained": ["r"], "data": {"forget": "f.jsonl"}}


def labels(plan):
    return [variant.label for variant in expand(plan)]


def test_every_problem_of_a_plan_is_named(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("unlearned: u\nretrained: 5\npolicy: {delta: 2, alpa: 0.1}\nprofile: fast\n")
    with pytest.raises(AuditorError) as error:
        load_plan(path)
    for place in ("original", "retrained", "data", "policy.delta", "policy.alpa", "profile"):
        assert place in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: b: c"])
def test_what_is_no_plan_is_refused(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(AuditorError, match=r"plan\.yaml"):
        load_plan(path)


def test_paths_are_relative_to_the_plan_and_hub_names_stay(tmp_path):
    (tmp_path / "models" / "u").mkdir(parents=True)
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"unlearned": "models/u", "original": "org/name"}))
    plan = load_plan(path)
    assert plan.unlearned.path == str(tmp_path / "models" / "u")
    assert plan.original.path == "org/name"


def test_template_of_init_is_a_valid_plan(tmp_path):
    path = tmp_path / "plan.yaml"
    assert run(["init", str(path)]) == OK
    plan = load_plan(path)
    assert plan == parse_plan(plan.model_dump(mode="json"), "again")
    assert plan.profile == "quick"
    assert run(["init", str(path)]) == 2, "an existing plan is not overwritten"


def test_profiles_grow_and_always_hold_the_model_as_it_is():
    by_profile = {
        profile: labels(parse_plan(MINIMAL | {"profile": profile}, "test"))
        for profile in ("quick", "standard", "exhaustive")
    }
    assert by_profile["quick"] == [
        "none/as-is full precision",
        "probing/output-probe by entity",
        "prompting/original-tokenizer full precision",
        "prompting/prefill 1 token",
        "prompting/thinking trace",
        "quantization/bnb int8",
        "quantization/bnb nf4",
        "quantization/bnb fp4",
        "quantization/gptq 4-bit g128",
        "quantization/half-types bfloat16",
        "relearning/held-out-facts by attribute",
        "tampering/graft interfaces",
        "tampering/revive dormant units",
        "tampering/routing original experts",
        "prompting/thinking answer without trace",
        "quantization/half-types float16",
        "relearning/held-out-facts by attribute full",
    ]
    assert set(by_profile["quick"]) < set(by_profile["standard"]) < set(by_profile["exhaustive"])
    assert "quantization/gptq 2-bit g128" in by_profile["exhaustive"]


def test_lists_are_swept():
    plan = parse_plan(
        MINIMAL
        | {
            "profile": None,
            "attacks": [
                {
                    "attack": "quantization/rtn",
                    "parameters": {"bits": [8, 4], "group_size": [32, 64]},
                }
            ],
        },
        "test",
    )
    swept = [label for label in labels(plan) if "rtn" in label]
    assert swept == [f"quantization/rtn {b}-bit g{g}" for b in (8, 4) for g in (32, 64)]


def test_settings_in_the_plan_replace_those_of_the_profile_and_stay_mandatory():
    request = {"attack": "quantization/gptq", "parameters": {"bits": 4, "calibration_samples": 7}}
    variants = expand(parse_plan(MINIMAL | {"attacks": [request]}, "test"))
    gptq = [v for v in variants if v.attack.name == "quantization/gptq"]
    assert len(gptq) == 1
    assert gptq[0].role == Role.MANDATORY
    assert gptq[0].attack.parameters.calibration_samples == 7


def test_what_the_policy_demands_and_nobody_provides_is_an_error():
    plan = parse_plan(MINIMAL | {"policy": {"mandatory": ["quantization/nonesuch"]}}, "test")
    with pytest.raises(AuditorError, match=r"quantization/nonesuch.*mandatory"):
        expand(plan)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"bits": 5}, "bits"), ({"bit": 4}, "bit"), ({"group_size": "x"}, "group")],
)
def test_wrong_parameters_are_named(parameters, said):
    request = {"attack": "quantization/gptq", "parameters": parameters}
    with pytest.raises(AuditorError, match=said):
        expand(parse_plan(MINIMAL | {"attacks": [request]}, "test"))


def test_wrong_parameters_of_all_attacks_are_named_at_once():
    requests = [
        {"attack": "quantization/gptq", "parameters": {"bits": [5, 4, 6]}},
        {"attack": "quantization/rtn", "parameters": {"bits": 99}},
    ]
    with pytest.raises(AuditorError) as caught:
        parse_plan(MINIMAL | {"attacks": requests}, "test")
    assert "attacks.0.parameters: bits: " in str(caught.value)
    assert "attacks.1.parameters: bits: " in str(caught.value)


def test_plan_schema_forbids_what_it_does_not_know():
    with pytest.raises(AuditorError, match="surprise"):
        parse_plan(MINIMAL | {"surprise": 1}, "test")
    assert AuditPlan.model_config["extra"] == "forbid"


def test_a_plan_runs_the_attacks_on_its_kind_of_models():
    images = {"path": "p", "kind": "text-to-image"}
    arms = {"unlearned": images, "original": images, "retrained": [images]}
    plan = parse_plan(MINIMAL | arms | {"profile": "exhaustive"}, "test")
    assert all("text-to-image" in v.attack.kinds for v in expand(plan))
    assert not set(default_levels("text-to-image")) & set(default_levels(default_kind().name)) - {
        "none/as-is full precision"
    }
    assert plan.metrics.all == ("concept", "concept-top-1")
    with pytest.raises(AuditorError, match="different kinds: causal-lm, text-to-image"):
        expand(parse_plan(MINIMAL | {"original": images}, "test"))


def test_keys_of_another_kind_that_say_nothing_are_taken():
    """A plan that an audit wrote before version 0.2 holds the keys of every kind."""
    images = {"replacement": None, "sampling": None}
    text = {"adapter": None, "trust_remote_code": False}
    written = MINIMAL | {
        "unlearned": {"path": "u", "kind": "causal-lm", **text, **images},
        "data": {"forget": "f.jsonl", "images": None},
        "metrics": {"primary": "answer-probability", "classifier": None},
    }
    assert parse_plan(written, "test").unlearned == parse_plan(MINIMAL, "test").unlearned
    drawn = {"path": "p", "kind": "text-to-image"}
    arms = {"original": drawn, "retrained": [drawn]}
    plan = parse_plan(MINIMAL | arms | {"unlearned": {**drawn, **text}}, "test")
    assert plan.unlearned == plan.original


def test_keys_of_another_kind_are_refused_by_name():
    wrong = MINIMAL | {
        "unlearned": {"path": "u", "replacement": "r.pt", "dtype": "int4"},
        "data": {"forget": "f.jsonl", "images": "drawn"},
        "metrics": {"classifier": "c"},
    }
    with pytest.raises(AuditorError) as caught:
        parse_plan(wrong, "test")
    said = str(caught.value)
    for place in ("unlearned.replacement", "unlearned.dtype", "data.images", "metrics.classifier"):
        assert place in said
    assert said.count("models of the kind text-to-image") == 3


def test_an_unknown_kind_comes_with_close_names():
    with pytest.raises(AuditorError, match=r"unlearned\.kind.*Did you mean seq2seq"):
        parse_plan(MINIMAL | {"unlearned": {"path": "u", "kind": "seq-2-seq"}}, "test")
