"""Audits of rectified flows: Stable Diffusion 3 and Flux layouts through the command line."""

import json

import pytest
import torch
import yaml
from PIL import Image
from tiny_pipelines import FLOWS, make_pipeline, sampling

from auditor.cli.main import run
from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)

ARMS = ("unlearned", "original", "retrained")
NOT_AUDITABLE = 3
STEPS = {"num_steps": 2, "batch_size": 2, "images": 2}
ATTACKS = {
    "quantization/unet": {"format": "rtn-4"},
    "prompting/synonyms": {},
    "prompting/concept-inversion": STEPS,
    "prompting/adversarial-prefix": {"prefix_length": 2, "rounds": 1, "iterations": 2},
    "prompting/ring-a-bell": {"prompt_length": 2, "population_size": 4, "generations": 2},
    "prompting/mma-diffusion": {"prompt_length": 2, "num_steps": 2, "search_width": 4},
    "prompting/image-to-image": {"strength": 0.5},
    "relearning/unet": {"checkpoints": [1, 2], "pictures": 2, "batch_size": 2},
    "membership/denoising-loss": {"noises": 1},
    "generation/null-inversion": {"steps": 2, "refinements": 1},
    "tampering/graft-pipeline": {},
}
"""Attacks of the kind, with settings for pipelines that know nothing."""


def facts(concept, count):
    return [
        {
            "id": f"{concept}-{i}",
            "subject": concept,
            "prompt": f"a {concept} {i}",
            "answer": concept,
            "paraphrases": [f"a {concept[::-1]} {i}"],
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder with a random classifier, facts of three concepts and pictures of noise."""
    root = tmp_path_factory.mktemp("flows")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (root / "classifier").mkdir()
        labels = ClassifierConfig(labels=("cat", "dog", "none"))
        ConvolutionalClassifier(labels).save(root / "classifier")
    draws = torch.Generator().manual_seed(0)
    (root / "images").mkdir()
    for name, concept, count in (
        ("forget", "cat", 2),
        ("retain", "dog", 2),
        ("holdout", "elk", 10),
    ):
        lines = facts(concept, count)
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        for fact in lines:
            pixels = torch.randint(256, (16, 16, 3), generator=draws, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(root / "images" / f"{fact['id']}.png")
    return root


@pytest.fixture
def plan_of(world, tmp_path):
    """Writes a plan for three random pipelines of a layout."""

    def write(layout, attacks, retrained_seed=2):
        arms = {}
        for arm, seed in zip(ARMS, (0, 1, retrained_seed), strict=True):
            pipeline = make_pipeline(layout, seed)
            pipeline.set_progress_bar_config(disable=True)
            pipeline.save_pretrained(tmp_path / arm)
            drawing = sampling(tmp_path / arm) | {"steps": 2}
            arms[arm] = {
                "kind": "text-to-image",
                "path": str(tmp_path / arm),
                "sampling": drawing,
            }
        content = arms | {
            "retrained": [arms["retrained"]],
            "data": {name: str(world / f"{name}.jsonl") for name in ("forget", "retain", "holdout")}
            | {"images": str(world / "images")},
            "metrics": {"classifier": str(world / "classifier"), "deciding": []},
            "profile": None,
            "attacks": [{"attack": n, "parameters": p} for n, p in attacks.items()],
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
    code, certificate = audit(plan_of(layout, {}), tmp_path / "out")
    assert code == NOT_AUDITABLE
    assert certificate["verdict"]["verdict"] == "NOT AUDITABLE"
    (row,) = certificate["matrix"]
    assert row["status"] == "measured"
    assert "NOT AUDITABLE" in (tmp_path / "out" / "certificate.html").read_text()


@pytest.mark.parametrize("layout", FLOWS)
@pytest.mark.nightly
def test_every_attack_of_the_kind_measures_a_flow(layout, plan_of, tmp_path):
    plan = plan_of(layout, ATTACKS)
    code, certificate = audit(plan, tmp_path / "out")
    assert code == NOT_AUDITABLE
    status = {row["attack"]: row["status"] for row in certificate["matrix"]}
    assert status == dict.fromkeys(("none/as-is", *ATTACKS), "measured")
    assert run(["verify", str(tmp_path / "out" / "certificate.json"), "--unsigned", "--quiet"]) == 0
