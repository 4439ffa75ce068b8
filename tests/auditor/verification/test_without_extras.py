"""What reads certificates runs where no extra is installed, and the rest says what it lacks."""

import json
import subprocess
import sys

import pytest
import yaml

EXTRA_PACKAGES = (
    *("accelerate", "bitsandbytes", "datasets", "diffusers", "gptqmodel", "huggingface_hub"),
    *("optimum", "pandas", "peft", "rouge_score", "sklearn", "tokenizers", "torch", "torchao"),
    *("torchmetrics", "transformers"),
)
"""Import packages that the extras audit and images bring."""

SCRIPT = """
import contextlib, importlib.abc, io, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from auditor.cli.main import run

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
"""Runs commands in one process in which the packages cannot be imported."""


@pytest.fixture(scope="module")
def answers(finished, people, tmp_path_factory):
    """Command to exit code, output and errors; all run one after another without the extras."""
    folder = tmp_path_factory.mktemp("light")
    certificate, store = str(finished / "pass" / "certificate.json"), str(finished / "evidence")
    unlearned = str(finished / "models" / "retrained-1")
    policy = folder / "policy.yaml"
    demanded = ["none/as-is", "quantization/bnb nf4"]
    policy.write_text(yaml.safe_dump({"mandatory": demanded, "valid_days": 30}))
    plan = finished / "pass" / "plan.resolved.yaml"
    evidence = ["--evidence", store]
    commands = {
        "help": ["--help"],
        "attacks list": ["attacks", "list", "--json"],
        "attacks show": ["attacks", "show", "quantization/gptq", "--json"],
        "policy list": ["policy", "list", "--json"],
        "policy check": ["policy", "check", str(policy), "--json"],
        "verify": ["verify", certificate, "--unsigned", "--model", unlearned, "--json", *evidence],
        "gate": ["gate", certificate, "--policy", str(policy), "--unsigned", "--json", *evidence],
        "gate FAIL": [
            *("gate", str(finished / "fail" / "certificate.json"), "--policy", str(policy)),
            "--unsigned",
            *evidence,
        ],
        "render": ["render", certificate, "--out", str(folder / "page.html")],
        "render pipelines": [
            *("render", certificate, "--as", "junit", "--as", "sarif", "--as", "markdown"),
            *("--as", "test-result", "--out", str(folder / "rendered")),
        ],
        "model card": ["render", certificate, "--as", "model-card", "--out", str(folder / "c.md")],
        "compare": ["compare", certificate, certificate, "--json"],
        "leaderboard": ["leaderboard", str(finished), "--json"],
        "keygen": ["keygen", str(folder / "key"), "--json"],
        "sign": [
            *("sign", certificate, "--key", str(folder / "key.pem")),
            *("--out", str(folder / "signed.dsse.json")),
        ],
        "verify signed": [
            *("verify", str(folder / "signed.dsse.json"), "--key", str(folder / "key.pub.pem")),
            *evidence,
        ],
        "export": [
            *("export", certificate, "--store", store, "--json"),
            *("--as", "parquet", "--out", str(folder / "rows.parquet")),
        ],
        "doctor": ["doctor", "--json"],
        "init": ["init", str(folder / "new.yaml")],
        "faulty plan": ["plan", str(folder / "new.yaml")],
        "plan": ["plan", str(plan)],
        "audit": ["audit", str(plan), "--out", str(folder / "out")],
        "demo": ["demo", "--out", str(folder / "demo")],
        "testbed": ["testbed", "list"],
    }
    given = "".join(json.dumps(command) + "\n" for command in commands.values())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ",".join(EXTRA_PACKAGES)],
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(commands, map(json.loads, done.stdout.splitlines()), strict=True))


READERS = (
    *("help", "attacks list", "attacks show", "policy list", "policy check", "verify", "gate"),
    *("render", "render pipelines", "compare", "leaderboard", "keygen", "sign", "verify signed"),
    *("export", "doctor", "init"),
)


@pytest.mark.parametrize("command", READERS)
def test_what_opens_no_model_needs_no_extra(command, answers):
    code, _, errors = answers[command]
    assert code == 0, errors


def test_verification_says_whose_reports_it_could_not_work_out(answers):
    checks = json.loads(answers["verify"][1])["checks"]
    assert "follows from the evidence" in checks["verdict"]
    assert "is the one that was audited" in checks["model unlearned"]
    assert checks["reports of attacks"].startswith("not checked: ")
    for attack in ("quantization/bnb nf4", "relearning/held-out-facts by attribute"):
        assert attack in checks["reports of attacks"]
    assert "unlearning-auditor[audit]" in checks["reports of attacks"]


def test_a_gate_decides_as_it_does_with_everything_installed(answers):
    assert json.loads(answers["gate"][1])["verdict"]["verdict"] == "PASS"
    assert answers["gate FAIL"][0] == 1


def test_mistakes_of_a_plan_are_found(answers):
    code, _, errors = answers["faulty plan"]
    assert code == 2
    assert "data.forget: " in errors
    assert "data.retain: " in errors
    assert "pip install" not in errors


@pytest.mark.parametrize("command", ["plan", "audit", "demo", "testbed", "model card"])
def test_what_needs_an_extra_names_it_in_one_sentence(command, answers):
    code, _, errors = answers[command]
    assert code == 2
    assert errors.count("\n") == 1
    assert "pip install 'unlearning-auditor[audit]'" in errors


def test_language_models_need_no_package_of_the_images(people):
    """What the README's first commands do, with the extra `audit` alone."""
    model = people.recipe.demo
    commands = [
        ["testbed", "list"],
        ["testbed", "build", "people", "--only", model, "-q"],
        ["demo", "--world", "shapes"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "diffusers,torchmetrics"],
        input="".join(json.dumps(command) + "\n" for command in commands),
        capture_output=True,
        text=True,
        check=True,
    )
    listed, built, drawing = map(json.loads, done.stdout.splitlines())
    assert listed[0] == 0, listed
    assert "shapes: pip install 'unlearning-auditor[images]'" in listed[1]
    assert built[0] == 0, built
    assert drawing[0] == 2
    assert "unlearning-auditor[images]" in drawing[2]
