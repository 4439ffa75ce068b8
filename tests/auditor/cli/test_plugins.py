"""A third-party package, installed for real, is found, described and run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "plugin_package"


def install(source, target):
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check"),
            *("--target", str(target), str(source)),
        ],
        check=True,
        capture_output=True,
    )
    return target


def auditor(site, *arguments):
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-c", "from auditor.cli.entry import main; main()", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return install(PACKAGE, tmp_path_factory.mktemp("site"))


def variation(tmp_path, name, code):
    """The plugin package under another name, with another module."""
    source = tmp_path / "source"
    (source / name).mkdir(parents=True)
    project = (
        (PACKAGE / "pyproject.toml").read_text().replace("auditor-shouting", f"auditor-{name}")
    )
    (source / "pyproject.toml").write_text(project.replace("shouting", name))
    (source / name / "__init__.py").write_text(code)
    return install(source, tmp_path / "site")


def test_plugin_file_is_short():
    assert len((PACKAGE / "shouting" / "__init__.py").read_text().splitlines()) < 60


def test_plugin_is_listed_and_described(site):
    listed = auditor(site, "attacks", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    names = [entry["name"] for entry in json.loads(listed.stdout)]
    assert "prompting/shouting" in names
    assert "quantization/bnb" in names
    shown = auditor(site, "attacks", "show", "prompting/shouting")
    assert "Ask every question in capitals." in shown.stdout
    assert "What is put after the prompt." in shown.stdout


def test_misspelt_name_is_answered_with_the_right_one(site):
    shown = auditor(site, "attacks", "show", "shuoting")
    assert shown.returncode == 2
    assert "Did you mean prompting/shouting" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_broken_plugin_stops_everything(tmp_path):
    site = variation(tmp_path, "breaking", "import nonesuch_package\n")
    listed = auditor(site, "attacks", "list")
    assert listed.returncode == 2
    assert "'breaking'" in listed.stderr
    assert "auditor-breaking" in listed.stderr
    assert "No module named 'nonesuch_package'" in listed.stderr
    assert "Traceback" not in listed.stderr


def test_plugin_that_takes_a_taken_name_stops_everything(tmp_path):
    code = (PACKAGE / "shouting" / "__init__.py").read_text()
    site = variation(tmp_path, "copying", code.replace("prompting/shouting", "quantization/rtn"))
    listed = auditor(site, "attacks", "list")
    assert listed.returncode == 2
    assert "two attacks are called 'quantization/rtn'" in listed.stderr


def test_plugin_runs_in_an_audit(site, passing_plan, tmp_path):
    plan = passing_plan(
        attacks=[{"attack": "quantization/rtn", "parameters": {"bits": 8}}],
        policy={"mandatory": ["none/as-is"]},
    ).model_dump(mode="json")
    plan["attacks"].append({"attack": "prompting/shouting", "parameters": {"ending": ["!", "?!"]}})
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    result = auditor(
        site, "audit", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out"), "--json"
    )
    assert result.returncode == 0, result.stderr
    matrix = {f"{r['attack']} {r['variant']}": r for r in json.loads(result.stdout)["matrix"]}
    assert matrix["prompting/shouting capitals !"]["status"] == "measured"
    assert matrix["prompting/shouting capitals ?!"]["forget"]["answer-probability"]["original"] > 0
