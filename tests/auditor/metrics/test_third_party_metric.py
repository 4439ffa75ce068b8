"""A metric that a package brings: in a plan, in the certificate, in the key of its jobs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
METRIC = '''
"""A third-party metric."""

import math

from auditor.metrics.metric import Metric, Score, metric

SCALE = 1.0


@metric("half-probability")
class HalfProbability(Metric):
    """K = half the geometric mean of the token probabilities."""

    packages = ("pyarrow",)

    def read(self, transcript):
        """Score each fact."""
        return [Score(SCALE * math.exp(s.mean_log_probability) / 2) for s in transcript.answers]
'''


def site(folder, code=METRIC, version="0.1"):
    """A folder in which the metric's package is installed."""
    (folder / "halves").mkdir(parents=True)
    (folder / "halves" / "__init__.py").write_text(code)
    info = folder / f"halves-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: halves\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(
        "[auditor.metrics]\nhalf-probability = halves:HalfProbability\n"
    )
    (info / "RECORD").write_text("halves/__init__.py,,\n")
    (info / "top_level.txt").write_text("halves\n")
    return folder


def python(folder, code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_the_one_in_the_docs():
    assert METRIC.strip() in (ROOT / "docs" / "writing-a-metric.md").read_text()


CODE = """
from auditor.engine.job import measuring_code
from auditor.models.kind import kind_named
import sys
print(measuring_code("none/as-is", sys.argv[1:], kind_named("causal-lm")))
"""


def code_of(folder, *metrics):
    return python(folder, CODE, *metrics)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"code": METRIC + "# a comment\n"}, True),
        ({"code": METRIC.replace("SCALE = 1.0", "SCALE = 0.9")}, False),
        ({"version": "0.2"}, False),
    ],
    ids=["comment", "constant", "version"],
)
def test_code_and_version_of_the_metric_decide_the_key(tmp_path, changes, same):
    before = site(tmp_path / "before")
    after = site(tmp_path / "after", **changes)
    metrics = ("answer-probability", "half-probability")
    assert (code_of(before, *metrics) == code_of(after, *metrics)) is same
    assert code_of(before, metrics[0]) == code_of(after, metrics[0]), "it was not asked for"


def test_the_metric_is_measured_and_stands_in_the_certificate(tmp_path, passing_plan):
    plan = passing_plan(attacks=[], policy={"mandatory": ["none/as-is"]}).model_dump(mode="json")
    plan["metrics"] = {"primary": "answer-probability", "reported": ["half-probability"]}
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    out = tmp_path / "out"
    said = python(
        site(tmp_path / "site"),
        "from auditor.cli.entry import main; main()",
        *("audit", tmp_path / "plan.yaml", "--out", out, "--json", "--quiet"),
    )
    [row] = json.loads(said)["matrix"]
    for arm, known in row["forget"]["answer-probability"].items():
        assert row["forget"]["half-probability"][arm] == pytest.approx(known / 2)
    environments = [json.loads(f.read_text()) for f in out.rglob("environment.json")]
    asked = [environment for environment in environments if "pyarrow" in environment["packages"]]
    assert len(asked) == 3  # the original was asked in two formats before, by the primary metric
    assert len(environments) == 6, "one more compared the weights"
