"""Everything that is wrong with a plan is said at once, before anything heavy is imported."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from auditor.core.errors import AuditorError
from auditor.engine.plan_checks import check_plan

CONFIG = json.dumps({"model_type": "llama"})
FACTS = [{"prompt": f"Q{i}?", "answer": f"A{i}"} for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    """What a plan names: three models, which are looked for and not opened, and two sets."""
    for name in ("unlearned", "original", "retrained-0"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text(CONFIG)
    for name, rows in (("forget", FACTS[:2]), ("retain", FACTS[2:])):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    return tmp_path


@pytest.fixture
def plan():
    return {
        "unlearned": "models/unlearned",
        "original": {"path": "models/original"},
        "retrained": ["./models/retrained-0"],
        "data": {"forget": "forget.jsonl", "retain": {"path": "retain.jsonl"}},
    }


def said(plan, folder):
    with pytest.raises(AuditorError) as caught:
        check_plan(plan, "plan.yaml", folder)
    first, *lines = str(caught.value).splitlines()
    assert first == "plan.yaml cannot be used:"
    return lines


def test_a_plan_without_mistakes_has_whole_paths(plan, folder):
    checked = check_plan(plan, "plan.yaml", folder)
    assert [spec.path for spec in checked.arms.values()] == [
        str(folder / "models" / name) for name in ("unlearned", "original", "retrained-0")
    ]
    assert checked.data.forget.path == str(folder / "forget.jsonl")
    assert check_plan(checked.model_dump(mode="json"), "again", folder / "models") == checked


MISTAKES = {
    "unknown key": ({"profil": "quick"}, "profil: there is no such key; did you mean `profile`?"),
    "unknown key of a model": (
        {"original": {"path": "models/original", "dtyp": "auto"}},
        "original.dtyp: there is no such key; did you mean `dtype`?",
    ),
    "bad value": ({"profile": "fast"}, "profile: Input should be 'quick', 'standard' or"),
    "bad value of the policy": ({"policy": {"delta": 2}}, "policy.delta: Input should be less"),
    "unknown policy": ({"policy": "relase-gate"}, "did you mean `release-gate`"),
    "missing model": (
        {"unlearned": "./models/unlernd"},
        "models/unlernd: no such directory; there is unlearned.",
    ),
    "missing model that could be on the hub": (
        {"unlearned": "models/unlernd"},
        "give its `revision`",
    ),
    "missing replacement": (
        {"original": {"path": "models/original", "kind": "text-to-image", "replacement": "x.pt"}},
        "original.replacement: {folder}/x.pt: no such file or folder.",
    ),
    "missing facts": (
        {"data": {"forget": "forgte.jsonl"}},
        "data.forget: {folder}/forgte.jsonl: no such file; there is forget.jsonl",
    ),
    "unknown metric": (
        {"metrics": {"primary": "answer-probabilty"}},
        "metrics: there is no metric 'answer-probabilty'. Did you mean answer-probability",
    ),
    "unknown attack": (
        {"attacks": [{"attack": "quantization/gtpq"}]},
        "attacks.0.attack: there is no attack 'quantization/gtpq'. Did you mean quantization/gptq",
    ),
    "unknown parameter": (
        {"attacks": [{"attack": "quantization/gptq", "parameters": {"bit": 4}}]},
        "attacks.0.parameters: bit: there is no such key; did you mean `bits`?",
    ),
    "bad value of a parameter": (
        {"attacks": [{"attack": "quantization/gptq", "parameters": {"bits": [4, 5]}}]},
        "attacks.0.parameters: bits: Input should be 2, 3, 4 or 8",
    ),
    "empty sweep": (
        {"attacks": [{"attack": "quantization/gptq", "parameters": {"bits": []}}]},
        "attacks.0.parameters: bits: there is nothing in the list",
    ),
    "attack on another kind of model": (
        {"attacks": [{"attack": "quantization/unet"}]},
        "attacks.0: quantization/unet attacks text-to-image models, and these are causal-lm",
    ),
    "unknown mandatory attack": (
        {"policy": {"mandatory": ["quantization/bnbb nf4"]}},
        "policy: there is no attack 'quantization/bnbb'. Did you mean quantization/bnb",
    ),
    "fact in two sets": ({"data": {"forget": "forget.jsonl", "retain": "forget.jsonl"}}, "stands"),
    "entities of a sample": ({"policy": {"scope": "sampled"}}, "name no entities"),
    "metric that facts lack what it needs": (
        {"metrics": {"primary": "multiple-choice"}},
        "cannot read 4 fact(s) (it needs distractors)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place(mistake, plan, folder):
    changes, message = MISTAKES[mistake]
    lines = said(plan | changes, folder)
    assert any(message.format(folder=folder) in line for line in lines), lines


def test_all_mistakes_are_named_at_once_without_a_model_library(plan, folder):
    lines = [json.dumps({"question": f"Q{i}?", "answer": "A"}) + "\n" for i in range(96)]
    (folder / "other.jsonl").write_text("".join(lines))
    names = ("unknown key", "unknown key of a model", "bad value", "unknown metric")
    names += ("missing model", "unknown attack", "unknown mandatory attack")
    for name in names:
        plan |= MISTAKES[name][0]
    plan["data"] = {"forget": "other.jsonl", "retain": "retian.jsonl"}
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    code = (
        "import sys, time; from auditor.cli.main import run; code = run(sys.argv[1:]); "
        "loaded = {'torch', 'transformers', 'diffusers', 'datasets'} & sys.modules.keys(); "
        "print(code, loaded, time.process_time())"
    )

    def planned():
        result = subprocess.run(
            [sys.executable, "-c", code, "plan", str(folder / "plan.yaml")],
            capture_output=True,
            text=True,
            env=os.environ | {"COLUMNS": "1000"},
            check=True,
        )
        exit_code, loaded, seconds = result.stdout.rsplit(maxsplit=2)
        assert (exit_code, loaded) == ("2", "set()")
        return result, float(seconds)

    tried = [planned() for _ in range(3)]
    result, seconds = min(tried, key=lambda one: one[1])  # what else runs here stretches the others
    assert seconds < 1.5
    for name in names:
        assert MISTAKES[name][1] in result.stderr
    assert "rows (lines 1-96): no column `prompt`; the file has `question`" in result.stderr
    assert "`fields: {prompt: question}`" in result.stderr
    assert "retian.jsonl: no such file; there is retain.jsonl" in result.stderr


def test_keys_and_names_of_earlier_releases_are_understood(plan, folder):
    (folder / "classifier").mkdir()
    former = {
        "probes": {"primary": "rouge-l-recall"},
        "data": {"forget": {"path": "forget.jsonl", "fields": {"subject": "prompt"}}},
        "attacks": [
            {"attack": "latent/linear-readout"},
            {"attack": "relearning/held-out-facts", "parameters": {"split": ["subject"]}},
            {"attack": "tampering/interpolation", "parameters": {"base": "models/original"}},
        ],
    }
    checked = check_plan(plan | former, "plan.yaml", folder)
    assert checked.metrics.primary == "rouge-l-recall"
    assert checked.data.forget.fields == {"entity": "prompt"}
    assert [request.attack for request in checked.attacks] == [
        "probing/linear-probe",
        "relearning/held-out-facts",
        "tampering/interpolation",
    ]
    assert checked.attacks[1].parameters == {"split": ["entity"]}
    assert checked.attacks[2].parameters == {"base": str(folder / "models" / "original")}


def test_the_classifier_of_an_earlier_plan_is_relative_to_it_too(plan, folder):
    (folder / "classifier").mkdir()
    models = {
        name: {"path": f"models/{name}", "kind": "text-to-image"}
        for name in ("unlearned", "original", "retrained-0")
    }
    former = {
        "unlearned": models["unlearned"],
        "original": models["original"],
        "retrained": [models["retrained-0"]],
        "probes": {"classifier": "classifier"},
    }
    checked = check_plan(plan | former, "plan.yaml", folder)
    assert checked.metrics.classifier == str(folder / "classifier")
    former["probes"] = {"classifier": "./clasifier"}
    assert "there is classifier" in said(plan | former, folder)[0]
