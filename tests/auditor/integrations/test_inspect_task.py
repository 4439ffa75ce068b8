"""The task of inspect_ai, on real tiny models behind its own Hugging Face provider."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import auditor
from auditor.core.errors import AuditorError

pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")

TEMPLATE = "{{ messages[0].content }}"
"""The testbed's own form: the prompt alone, after which the model writes a blank and the answer."""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Python of an environment with our wheel; inspect gives names of editable ones no prefix."""
    folder = tmp_path_factory.mktemp("environment")
    root = Path(__file__).parents[3]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (wheel,) = (folder / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "shared.pth").write_text("\n".join(shared), encoding="utf-8")
    return folder / "venv" / "bin" / "python"


def evaluated(python, model, few_facts, folder):
    """Run `inspect eval` as a user does; the log."""
    command = [str(python), "-m", "inspect_ai", "eval", "auditor/unlearning"]
    command += [
        "--model",
        "hf/local",
        "-M",
        f"model_path={model}",
        "-M",
        "device=cpu",
        "-M",
        "do_sample=false",
    ]
    command += ["-M", f"chat_template={json.dumps(TEMPLATE)}", "--display", "plain"]
    command += ["-T", f"forget={few_facts['forget']}", "-T", f"retain={few_facts['retain']}"]
    command += ["-T", "max_tokens=16", "--log-dir", str(folder / "logs"), "--log-format", "json"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=500, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    logs = list((folder / "logs").glob("*.json"))
    assert logs, done.stdout + done.stderr
    return json.loads(logs[0].read_text(encoding="utf-8"))


@pytest.mark.slow
def test_inspect_says_of_a_model_what_an_audit_says(python, people, few_facts, tmp_path):
    log = evaluated(python, people.model_path("retrained-0"), few_facts, tmp_path)
    assert log["status"] == "success"
    inspected = {
        s["id"].partition("/")[2]: s["scores"]["answer_recall"]["value"]
        for s in log["samples"]
        if s["metadata"]["set"] == "forget"
    }
    model = auditor.load_model(people.model_path("retrained-0"), dtype="float32")
    facts = auditor.load_facts(few_facts["forget"])
    frame = auditor.run_attack("none/as-is", model, facts, metrics=["answer-recall"])
    measured = dict(zip(frame.fact, frame.k, strict=True))
    assert set(inspected) == set(measured)
    assert sum(abs(inspected[f] - measured[f]) < 1e-9 for f in measured) >= len(measured) - 1
    means = {
        name: metric["value"]
        for score in log["results"]["scores"]
        for name, metric in score["metrics"].items()
        if "mean" in score["name"] or name in ("forget", "retain")
    }
    assert means["forget"] < 0.4
    assert means["retain"] > 0.9


def test_one_sample_a_fact_with_its_set_and_all_accepted_answers(tmp_path):
    from auditor.integrations.inspect_task import unlearning

    file = tmp_path / "forget.jsonl"
    row = {"id": "f", "entity": "Ada", "prompt": "Where?", "answer": "Rome", "accepted": ["Roma"]}
    file.write_text(json.dumps(row), encoding="utf-8")
    (sample,) = unlearning(str(file)).dataset
    assert sample.id == "forget/f"
    assert sample.target == ["Rome", "Roma"]
    assert sample.metadata == {"set": "forget", "entity": "Ada"}


def test_hazardous_texts_are_kept_out_of_logs(tmp_path):
    from auditor.integrations.inspect_task import unlearning

    file = tmp_path / "wmdp_bio.jsonl"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(AuditorError, match="hazardous"):
        unlearning(str(file))
