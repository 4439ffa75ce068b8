"""The recipes in docs/pipelines.md are made of what exists."""

import re
from pathlib import Path

import click
import pytest
import yaml
from hand_made_certificates import honest_certificate

import reports.html
import reports.junit
import reports.markdown
import reports.model_card
import reports.sarif
import reports.test_result  # noqa: F401 - registers its form, as the others do
from auditor.certificate.files import write_certificate
from auditor.cli.main import cli
from auditor.core import errors
from auditor.report import REPORTS
from reports.model_card import BEGIN

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
WORKFLOWS = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
COMMANDS = re.findall(
    r"auditor ((?:audit|render|gate|verify|plan) [^`|\n]*(?:\n +--[^`|\n]*)*)", PAGE
)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_are_yaml_with_few_rights(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert "|| true" not in step.get("run", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_those_of_the_command(command):
    name, *rest = command.split()
    found = cli.get_command(click.Context(cli), name)
    options = {flag for parameter in found.params for flag in parameter.opts}
    assert {part for part in rest if part.startswith("--")} <= options


def test_forms_are_those_that_exist():
    rows = re.findall(r"^\| `([\w-]+)` \| `([\w.-]+)` \|", PAGE, re.MULTILINE)
    assert dict(rows) == {name: report.suffix for name, report in REPORTS}


def test_exit_codes_are_those_of_the_errors():
    codes = {int(code) for code in re.findall(r"^\| ([0-9]+) \|", PAGE, re.MULTILINE)}
    named = {e.exit_code for e in vars(errors).values() if hasattr(e, "exit_code")}
    assert codes == named | {0, 1, 3, 4, 130}


def test_the_snippet_puts_the_block_into_a_card(tmp_path, monkeypatch):
    (snippet,) = [text for language, text in BLOCKS if language == "python"]
    made = honest_certificate("PASS")
    named = made.model_copy(update={"certificate_id": made.content_digest})
    (tmp_path / "audit").mkdir()
    write_certificate(named, tmp_path / "audit" / "certificate.json")
    (tmp_path / "README.md").write_text("# My model\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/pipelines.md", "exec"), {})  # noqa: S102 - our own page
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "# My model" in card
    assert named.certificate_id in card
    assert BEGIN in card
