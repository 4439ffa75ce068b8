"""What the doctor says of the machine, and of packages in each other's way."""

import json
import os
import subprocess
import sys

from auditor.cli.main import OK, USAGE, run


def test_extras_cache_and_versions_are_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARNING_AUDITOR_CACHE", str(tmp_path))
    assert run(["doctor", "--json"]) == OK
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert found["extra audit"]["ok"]
    assert "torch 2" in found["extra audit"]["found"]
    assert found["cache"]["found"] == str(tmp_path)
    for check in found.values():
        if "not installed: " in check["found"]:
            assert check["found"].startswith("not installed: "), "what is there is not repeated"
    assert found["package attacks"]["ok"]
    assert found["package reports"]["ok"]


def test_another_distribution_with_the_name_of_ours_is_named(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "__init__.py").touch()
    metadata = tmp_path / "reports_of_others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: reports-of-others\nVersion: 1")
    (metadata / "top_level.txt").write_text("reports\n")
    result = subprocess.run(
        [sys.executable, "-c", "from auditor.cli.entry import main; main()", "doctor", "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert result.returncode == USAGE
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert not found["package reports"]["ok"]
    assert "reports-of-others" in found["package reports"]["found"]
    assert found["package attacks"]["ok"]
