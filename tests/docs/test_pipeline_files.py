"""Actions, templates, hooks and the Containerfile: valid by their own schemas, and run dry."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from console_blocks import ROOT

from auditor.cli.main import run

ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / "examples" / "gitlab" / "unlearning-audit.yml"
CONTAINERFILE = ROOT / "Containerfile"


def checked(schema, *files):
    """Check files against a schema that check-jsonschema ships."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    return subprocess.run([*command, *map(str, files)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-actions", ACTIONS),
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.gitlab-ci", [GITLAB]),
    ],
)
def test_files_follow_the_schema_of_who_reads_them(schema, files):
    assert files
    done = checked(schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_check_can_fail(tmp_path):
    broken = tmp_path / "action.yml"
    broken.write_text("name: x\nruns: {using: composite, steps: [{run: ls}]}\n")
    assert checked("vendor.github-actions", broken).returncode == 1


def steps(action):
    return yaml.safe_load(action.read_text(encoding="utf-8"))["runs"]["steps"]


def gitlab_scripts():
    jobs = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))
    return ["\n".join(job["script"]) for job in jobs.values() if "script" in job]


def container_scripts():
    text = CONTAINERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^RUN (.*)$", text, re.MULTILINE)


def test_every_shell_block_is_a_script_of_bash():
    scripts = [step["run"] for action in ACTIONS for step in steps(action)]
    scripts += [*gitlab_scripts(), *container_scripts()]
    assert len(scripts) >= 10
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stderr}\n{script}"


def test_no_input_of_an_action_is_pasted_into_a_script():
    for action in ACTIONS:
        for step in steps(action):
            assert "${{" not in step["run"], f"{action}: a hostile input would be run"


@pytest.fixture
def installed(tmp_path):
    """A folder as the first step of the actions leaves it, with this package."""
    folder = tmp_path / "auditor" / "bin"
    folder.mkdir(parents=True)
    command = folder / "auditor"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m auditor.cli.entry "$@"\n')
    command.chmod(0o755)
    return tmp_path


def gated(installed, **inputs):
    """Run the step of the gate as a runner does; its exit code and output."""
    step = next(s for s in steps(ROOT / ".github/actions/gate/action.yml") if "gate" in s["name"])
    names = {name: str(inputs.get(name.lower(), "")) for name in step["env"]}
    environment = os.environ | {"RUNNER_TEMP": str(installed), "PYTHONPATH": str(ROOT)} | names
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_action_lets_a_pass_through_and_stops_all_else(installed, given, tmp_path):
    shutil.copytree(given / "v1", tmp_path / "v1")
    shutil.copytree(given / "v2", tmp_path / "v2")
    lenient = tmp_path / "lenient.yaml"
    lenient.write_text("mandatory: [none/as-is, quantization/bnb nf4]\n")
    keys = tmp_path / "key"
    assert run(["keygen", str(keys)]) == 0
    for version in ("v1", "v2"):
        certificate = tmp_path / version / "certificate.json"
        assert run(["sign", str(certificate), "--key", f"{keys}.pem"]) == 0
    public = f"{keys}.pub.pem"
    passing, failing = (tmp_path / v / "certificate.dsse.json" for v in ("v2", "v1"))
    model = given / "models" / "retrained-1"
    code, output = gated(installed, certificate=passing, key=public, policy=lenient, model=model)
    assert code == 0, output
    assert gated(installed, certificate=failing, key=public, policy=lenient)[0] == 1
    hostile = "release-gate; exit 0 #"
    assert gated(installed, certificate=passing, key=public, policy=hostile)[0] == 2


def test_hooks_follow_pre_commits_manifest_and_find_what_they_are_for(given, tmp_path, monkeypatch):
    pytest.importorskip("pre_commit", reason="pre-commit is not installed")
    manifest = ROOT / ".pre-commit-hooks.yaml"
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    hooks = {hook["id"]: hook for hook in yaml.safe_load(manifest.read_text(encoding="utf-8"))}

    def hooked(name, *files):
        hook = hooks[name]
        return run([*hook["entry"].split()[1:], *hook.get("args", ()), *files])

    monkeypatch.chdir(tmp_path)
    good, bad = Path("good.yaml"), Path("bad.yaml")
    good.write_text("delta: 0.05\n")
    bad.write_text("delta: 5\n")
    assert hooked("unlearning-policy", str(good), str(good)) == 0
    assert hooked("unlearning-policy", str(good), str(bad)) == 2
    shutil.copyfile(given / "v1" / "certificate.json", "certificate.json")
    assert hooked("unlearning-certificate") == 0
    text = Path("certificate.json").read_text()
    Path("certificate.json").write_text(text.replace('"FAIL"', '"PASS"', 1))
    assert hooked("unlearning-certificate") == 10


def test_the_containers_hold_what_the_package_is_built_of():
    text = CONTAINERFILE.read_text(encoding="utf-8")
    copied = {
        name
        for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"wheel\]\npackages = \[(.*)\]", project)[1].replace('"', "").split(", ")
    assert set(packages) | {"pyproject.toml", "README.md", "LICENSE"} == copied
    assert re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE) == ["base", "light", "full"]
    assert text.count("USER auditor") == 2, "nothing runs as root"


@pytest.mark.nightly
def test_the_light_image_builds_and_answers():
    builder = next(filter(shutil.which, ("podman", "docker")), None)
    ready = builder and subprocess.run([builder, "info"], capture_output=True).returncode == 0
    if not ready:
        pytest.skip("no podman and no docker answers here: the images were not built")
    name = "unlearning-auditor-test:light"
    command = [builder, "build", "--target", "light", "-t", name, "-f", CONTAINERFILE, ROOT]
    subprocess.run(command, check=True, timeout=500)
    done = subprocess.run([builder, "run", "--rm", name, "policy", "list"], capture_output=True)
    assert done.returncode == 0
    assert b"release-gate" in done.stdout
