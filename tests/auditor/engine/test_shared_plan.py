"""The plan that a certificate passes on: names, and no place of a machine."""

import pytest

from auditor.core.paths import name_of_model
from auditor.engine.plan import parse_plan
from auditor.engine.shared_plan import shared_parameters, shared_plan
from auditor.verification.model import _found_beside

CONTENT = {
    "about": {"title": "Acme v3", "forget": "staff /home records"},
    "unlearned": {
        "path": "/home/ada/models/unlearned",
        "kind": "causal-lm",
        "adapter": "/home/ada/adapters/lora",
        "tokenizer": "meta-llama/Llama-3.2-1B",
    },
    "original": {"path": "meta-llama/Llama-3.2-1B", "kind": "causal-lm", "revision": "main"},
    "retrained": [{"path": "/home/ada/models/retrained-0", "kind": "causal-lm"}],
    "data": {"forget": "/home/ada/facts/forget.jsonl", "retain": {"dataset": "locuslab/TOFU"}},
    "format": {"template": "/home {prompt}"},
    "attacks": [
        {"attack": "tampering/interpolation", "parameters": {"base": "/home/ada/base", "step": 0.5}}
    ],
}


def test_paths_become_names_and_nothing_else_changes():
    plan = parse_plan(CONTENT, "plan")
    whole, shared = plan.model_dump(mode="json"), shared_plan(plan)
    assert shared["unlearned"]["path"] == "unlearned"
    assert shared["unlearned"]["adapter"] == "lora"
    assert shared["unlearned"]["tokenizer"] == "meta-llama/Llama-3.2-1B"
    assert shared["original"] == whole["original"]
    assert shared["retrained"][0]["path"] == "retrained-0"
    assert shared["data"]["forget"]["path"] == "forget.jsonl"
    assert shared["data"]["retain"] == whole["data"]["retain"]
    assert shared["attacks"][0]["parameters"] == {"base": "base", "step": 0.5}
    assert shared["format"]["template"] == "/home {prompt}", "a text that only looks like a path"
    assert {name: shared[name] for name in ("about", "policy", "metrics", "seeds")} == {
        name: whole[name] for name in ("about", "policy", "metrics", "seeds")
    }
    assert "/home/ada" not in str(shared)


def test_a_shared_plan_is_a_plan_and_is_shared_as_it_is():
    shared = shared_plan(parse_plan(CONTENT, "plan"))
    assert shared_plan(parse_plan(shared, "shared")) == shared


def test_a_plan_that_says_nothing_of_itself_has_the_digest_that_it_had():
    silent = {name: part for name, part in CONTENT.items() if name != "about"}
    assert "about" not in parse_plan(silent, "plan").model_dump(mode="json")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/a/b/model", "model"),
        ("./model", "model"),
        ("~/models/m", "m"),
        ("models/tofu/m", "m"),
        ("org/model", "org/model"),
        ("model", "model"),
        ("/a/b/model/", "model"),
    ],
)
def test_names_of_models(text, name):
    assert name_of_model(text) == name


def test_parameters_of_attacks_that_are_no_paths_stay():
    given = {"format": "nf4", "double_quant": False}
    assert shared_parameters("quantization/bnb", given) == given
    likelihood = {"references": ["/home/ada/r0", "org/r1"]}
    assert shared_parameters("membership/likelihood", likelihood) == {
        "references": ["r0", "org/r1"]
    }


@pytest.mark.parametrize("stated", [{"title": " "}, {"titel": "x"}, {"title": "x" * 401}])
def test_statements_are_short_and_known(stated):
    with pytest.raises(Exception, match="about"):
        parse_plan({**CONTENT, "about": stated}, "plan")


@pytest.mark.parametrize("place", ["model/lora", "lora"])
def test_what_a_certificate_names_is_found_beside_the_model(tmp_path, monkeypatch, place):
    (tmp_path / "model").mkdir()
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = parse_plan(CONTENT, "plan").unlearned.model_copy(update={"adapter": "lora"})
    found = _found_beside(spec, tmp_path / "model")
    assert found == {"adapter": str(tmp_path / place)}
