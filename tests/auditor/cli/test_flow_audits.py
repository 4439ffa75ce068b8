"""Audits of rectified flows: Stable Diffusion 3 and Flux layouts through the command line."""

import json

import pytest
import yaml
from drawing_worlds import write_arms, write_facts
from every_attack import names_in, requests
from tiny_pipelines import FLOWS

from auditor.cli.main import run

NOT_AUDITABLE = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Sections of data and metrics: a random classifier and pictures of noise."""
    return write_facts(tmp_path_factory.mktemp("flows"))


@pytest.fixture
def plan_of(world, tmp_path):
    """Writes a plan for three random pipelines of a layout."""

    def write(layout, names=()):
        content = world | write_arms(tmp_path, layout)
        content |= {
            "profile": None,
            "attacks": [request for name in names for request in requests(name, {})],
            "policy": {"mandatory": ["none/as-is"]},
            "seeds": [0],
        }
        file = tmp_path / "plan.yaml"
        file.write_text(yaml.safe_dump(content))
        return str(file)

    return write


def audit(plan, out):
    code = run(["audit", plan, "--out", str(out), "--quiet"])
    return code, json.loads((out / "certificate.json").read_text())


@pytest.mark.parametrize("layout", FLOWS)
def test_a_random_flow_runs_through_and_is_not_auditable(layout, plan_of, tmp_path):
    code, certificate = audit(plan_of(layout), tmp_path / "out")
    assert code == NOT_AUDITABLE
    assert certificate["verdict"]["verdict"] == "NOT AUDITABLE"
    (row,) = certificate["matrix"]
    assert row["status"] == "measured"
    assert "NOT AUDITABLE" in (tmp_path / "out" / "certificate.html").read_text()


@pytest.mark.parametrize("layout", FLOWS)
@pytest.mark.nightly
def test_every_attack_of_the_kind_measures_a_flow(layout, plan_of, tmp_path):
    names = names_in(layout)
    code, certificate = audit(plan_of(layout, names), tmp_path / "out")
    assert code == NOT_AUDITABLE
    status = {row["attack"]: row["status"] for row in certificate["matrix"]}
    assert status == dict.fromkeys(("none/as-is", *names), "measured")
    assert run(["verify", str(tmp_path / "out" / "certificate.json"), "--unsigned", "--quiet"]) == 0
