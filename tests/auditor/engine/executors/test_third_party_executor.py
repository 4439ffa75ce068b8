"""An executor that a package brings: found by name, and no other verdict or evidence for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from auditor.cli.main import OK, run

ROOT = Path(__file__).parents[4]
EXECUTOR = '''
"""A third-party executor: as `local`, last job first."""

from auditor.engine.executors.base import Executor
from auditor.engine.executors.local import LocalExecutor


class Backwards(Executor):
    """One process; jobs in the reverse of the usual order."""

    def run(self, jobs, models, store, progress):
        """Run the jobs that the store lacks; return those that failed."""
        return LocalExecutor().run(list(reversed(jobs)), models, store, progress)
'''


def site(folder):
    """A folder in which the executor's package is installed."""
    (folder / "backwards").mkdir(parents=True)
    (folder / "backwards" / "__init__.py").write_text(EXECUTOR)
    info = folder / "backwards-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: backwards\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[auditor.executors]\nbackwards = backwards:Backwards\n")
    return folder


def test_it_is_the_one_in_the_docs():
    assert EXECUTOR.strip() in (ROOT / "docs" / "writing-a-metric.md").read_text()


def test_it_is_chosen_by_name_and_changes_no_evidence(tmp_path, passing_plan, capsys):
    plan = tmp_path / "plan.yaml"
    policy = {"mandatory": ["none/as-is"]}
    plan.write_text(passing_plan(attacks=[], policy=policy).model_dump_json())
    asked = ["audit", str(plan), "--json", "--quiet"]
    assert run([*asked, "--out", str(tmp_path / "local")]) == OK
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from auditor.cli.entry import main; main()", *asked),
            *("--out", str(tmp_path / "backwards"), "--executor", "backwards"),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{site(tmp_path / 'site')}{os.pathsep}{ROOT}"},
    )
    assert done.returncode == OK, done.stderr
    seals = []
    for said in (capsys.readouterr().out, done.stdout):
        certificate = json.loads(said)
        assert certificate["verdict"]["verdict"] == "PASS"
        seals.append((certificate["evidence"]["digest"], certificate["matrix"]))
    assert seals[0] == seals[1]
