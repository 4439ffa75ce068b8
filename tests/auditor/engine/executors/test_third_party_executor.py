"""An executor that a package brings: found by name, and no other verdict or evidence for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_it_is_chosen_by_name_and_changes_no_evidence(tmp_path, passing_plan):
    plan = tmp_path / "plan.yaml"
    policy = {"mandatory": ["none/as-is"]}
    plan.write_text(passing_plan(attacks=[], policy=policy).model_dump_json())
    environment = os.environ | {
        "PYTHONPATH": f"{site(tmp_path / 'site')}{os.pathsep}{ROOT}",
    }
    seals = {}
    for name in ("local", "backwards"):
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from auditor.cli.entry import main; main()", "audit"),
                *(str(plan), "--out", str(tmp_path / name), "--executor", name),
                *("--json", "--quiet"),
            ],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        certificate = json.loads(done.stdout)
        assert certificate["verdict"]["verdict"] == "PASS"
        seals[name] = certificate["evidence"]["digest"], certificate["matrix"]
    assert seals["local"] == seals["backwards"]
