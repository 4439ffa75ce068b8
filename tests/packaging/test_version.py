"""One version, wherever it is named."""

import re
import tomllib
from pathlib import Path

import yaml

import auditor

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"^## \[(.+?)\](?: - (.+))?$", re.MULTILINE)


def test_package_citation_and_change_log_name_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (first, _), (newest, date), *_ = SECTION.findall((ROOT / "CHANGELOG.md").read_text())
    assert first == "Unreleased"
    assert {project["version"], citation["version"], newest} == {auditor.__version__}
    assert str(citation["date-released"]) == date
