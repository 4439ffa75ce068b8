"""Completion in a real bash, with the script that click writes for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.attack import ATTACKS
from auditor.cli import completion
from auditor.policy import ready_made

BASH = shutil.which("bash")
COMMAND = f'#!/bin/sh\nexec {sys.executable} -c "from auditor.cli.entry import main; main()" "$@"\n'
DRIVER = r"""
set -u
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMPREPLY=()
compopt() { echo compopt "$@"; }
_auditor_completion auditor "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\n' "${COMPREPLY[@]-}"
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Returns what bash would offer for words, the last of which is being written."""
    folder = tmp_path_factory.mktemp("shell")
    command = folder / "auditor"
    command.write_text(COMMAND)
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[3])}
    script, driver = folder / "completion.bash", folder / "driver.bash"
    made = subprocess.run(
        [command],
        env=environment | {"_AUDITOR_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    script.write_text(made.stdout)
    driver.write_text(DRIVER)

    def offered(*words):
        done = subprocess.run(
            [BASH, driver, script, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1]

    return offered


bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@bash
def test_bash_completes_names_of_policies_and_files(shell):
    assert shell("auditor", "gate", "c.json", "--policy", "re") == [
        "compopt -o default",
        *[name for name in ready_made() if name.startswith("re")],
    ]


@bash
def test_bash_leaves_a_certificate_to_the_shell(shell):
    assert shell("auditor", "verify", "./")[0] == "compopt -o default"


@bash
def test_bash_completes_forms_and_attacks(shell):
    assert shell("auditor", "render", "c.json", "--as", "sa") == ["sarif"]
    assert shell("auditor", "attacks", "show", "quantization/g") == [
        name for name in ATTACKS.names() if name.startswith("quantization/g")
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["audit", "--profile", ""], {"quick", "standard", "exhaustive"}),
        (["plan", "--policy", "rel"], {"release-gate"}),
        (["certify", "x", "--policy", "lo"], {"logs"}),
        (["policy", "show", "qu"], {"quick"}),
        (["audit", "--con"], {"--controls"}),
        (["audit", "--no-con"], {"--no-controls"}),
        (["audit", "--kind", "s"], {"seq2seq"}),
        (["audit", "--executor", ""], {"local", "processes", "ray"}),
        (["audit", "--report", "ju"], {"junit"}),
        (["render", "--as", "j"], {"json", "junit"}),
        (["export", "--as", ""], {"csv", "parquet"}),
        (["attacks", "list", "--family", "rel"], {"relearning"}),
        (["attacks", "list", "--kind", "text"], {"text-to-image"}),
        (["init", "--benchmark", "tofu-forget05"], {"tofu-forget05"}),
        (["import", "open"], {"open-unlearning"}),
        (["demo", "--world", "sh"], {"shapes"}),
        (["testbed", "build", "shap"], {"shapes"}),
    ],
)
def test_values_are_completed(words, expected, monkeypatch, capsys):
    from auditor.cli.main import COMPLETION_VARIABLE, OK, run

    monkeypatch.setenv(COMPLETION_VARIABLE, "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["auditor", *words[:-1], words[-1] or "''"]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    monkeypatch.setattr(sys, "argv", ["auditor"])
    assert run() == OK
    lines = capsys.readouterr().out.split("\n")
    found = {value for kind, value in zip(lines[::3], lines[1::3], strict=False) if kind == "plain"}
    assert found == expected


def test_models_are_completed_as_folders_and_facts_as_files(monkeypatch, capsys):
    from auditor.cli.main import COMPLETION_VARIABLE, run

    kinds = {}
    for option in ("--unlearned", "--original", "--retrained", "--store", "--forget"):
        monkeypatch.setenv(COMPLETION_VARIABLE, "zsh_complete")
        monkeypatch.setenv("COMP_WORDS", f"auditor audit {option} mo")
        monkeypatch.setenv("COMP_CWORD", "3")
        monkeypatch.setattr(sys, "argv", ["auditor"])
        run()
        kinds[option] = capsys.readouterr().out.split("\n")[0]
    assert kinds == {
        "--unlearned": "dir",
        "--original": "dir",
        "--retrained": "dir",
        "--store": "dir",
        "--forget": "file",
    }


def test_names_come_without_torch():
    code = (
        "import sys, json; from auditor.cli import completion as c; "
        "c.attacks(), c.families(), c.policies(), c.forms(), c.executors(), c.benchmarks(), "
        "c.log_layouts(); print(json.dumps('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False


def test_families_are_those_of_the_attacks():
    assert {"none", "quantization", "relearning"} < set(completion.families())
