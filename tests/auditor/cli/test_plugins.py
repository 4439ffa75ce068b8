"""A third-party package, installed for real, is found, described and run."""

import json
import os
import re
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


def variation(tmp_path, name, code, entry_point=None):
    """The plugin package under another name, with another module and entry point."""
    source = tmp_path / "source"
    (source / name).mkdir(parents=True)
    project = (PACKAGE / "pyproject.toml").read_text()
    if entry_point:
        project = project.replace('"prompting/shouting" = "shouting:Shouting"', entry_point)
    (source / "pyproject.toml").write_text(project.replace("shouting", name))
    (source / name / "__init__.py").write_text(code)
    return install(source, tmp_path / "site")


def listed(site):
    """What `attacks list` says of each attack and of each plug-in that does not load."""
    done = auditor(site, "attacks", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {entry["name"]: entry for entry in json.loads(done.stdout)}


def planned(site, tmp_path, plan, *attacks):
    """Plan an audit with the plug-ins of a site, which this process does not have."""
    content = plan.model_dump(mode="json")
    content["attacks"] += [{"attack": name} for name in attacks]
    (tmp_path / "plan.yaml").write_text(json.dumps(content))
    return auditor(site, "plan", str(tmp_path / "plan.yaml"), "--store", str(tmp_path / "store"))


def test_plugin_file_is_short():
    code = (PACKAGE / "shouting" / "__init__.py").read_text()
    assert len(code.splitlines()) < 40
    assert len(re.findall(r"^(?:from|import) ", code, re.MULTILINE)) <= 4


def test_plugin_is_listed_and_described(site):
    entries = listed(site)
    assert [preset["name"] for preset in entries["prompting/shouting"]["presets"]] == ["!", "?!"]
    assert "quantization/bnb" in entries
    shown = auditor(site, "attacks", "show", "prompting/shouting")
    assert "Ask every question in capitals." in shown.stdout
    assert "What is put after the prompt." in shown.stdout


def test_misspelt_name_is_answered_with_the_right_one(site):
    shown = auditor(site, "attacks", "show", "shuoting")
    assert shown.returncode == 2
    assert "Did you mean prompting/shouting" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_module_may_register_several_attacks(tmp_path):
    code = (PACKAGE / "shouting" / "__init__.py").read_text()
    code += """

@attack("prompting/whispering")
class Whispering(Shouting):
    summary = "Ask every question in capitals, too."
"""
    site = variation(tmp_path, "several", code, 'several = "several"')
    assert {"prompting/shouting", "prompting/whispering"} <= listed(site).keys()


def test_broken_plugin_is_listed_and_stops_an_audit(tmp_path, passing_plan):
    broken = "import nonesuch_package\n"
    site = variation(tmp_path, "breaking", broken, 'breaking = "breaking"')
    entries = listed(site)
    assert "quantization/bnb" in entries
    error = entries["breaking"]["error"]
    assert "auditor-breaking" in error
    assert "No module named 'nonesuch_package'" in error
    shown = auditor(site, "attacks", "show", "none/as-is")
    assert shown.returncode == 0, shown.stderr
    done = planned(site, tmp_path, passing_plan())
    assert done.returncode == 2
    assert "'breaking'" in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_attack_stops_an_audit_that_wants_it(tmp_path, passing_plan):
    code = "import nonesuch_package\n" + (PACKAGE / "shouting" / "__init__.py").read_text()
    site = variation(tmp_path, "breaking", code, '"prompting/shouting" = "shouting:Shouting"')
    done = planned(site, tmp_path, passing_plan(), "prompting/breaking")
    assert done.returncode == 2
    assert "'prompting/breaking'" in done.stderr
    assert planned(site, tmp_path, passing_plan()).returncode == 0


def test_plugin_that_takes_a_taken_name_stops_whoever_wants_it(tmp_path, passing_plan):
    code = (PACKAGE / "shouting" / "__init__.py").read_text()
    code = code.replace("prompting/shouting", "quantization/rtn")
    site = variation(tmp_path, "copying", code, '"quantization/rtn" = "shouting:Shouting"')
    message = "two attacks are called 'quantization/rtn'"
    assert message in listed(site)["quantization/rtn"]["error"]
    done = planned(site, tmp_path, passing_plan(), "quantization/rtn")
    assert done.returncode == 2
    assert message in done.stderr


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
    assert matrix["prompting/shouting !"]["status"] == "measured"
    assert matrix["prompting/shouting ?!"]["forget"]["answer-probability"]["original"] > 0
