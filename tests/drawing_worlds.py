"""Random pipelines that an audit can be run on: a classifier, facts and pictures of noise."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_pipelines import make_pipeline, sampling

from auditor.models.text_to_image.convolutional_classifier import (
    ClassifierConfig,
    ConvolutionalClassifier,
)

SEEDS = {"unlearned": 0, "original": 1, "retrained": 2}
"""Seeds of the arms' weights."""
SETS = (("forget", "cat", 2), ("retain", "dog", 2), ("holdout", "elk", 10))
"""Sets with their concepts and numbers of facts."""


def _facts(concept: str, count: int) -> list[dict[str, Any]]:
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


def write_facts(root: Path) -> dict[str, Any]:
    """Write a random classifier, facts of three concepts, and a picture of noise for each.

    Returns:
        The plan's sections of data and metrics.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        (root / "classifier").mkdir()
        labels = ClassifierConfig(labels=("cat", "dog", "none"))
        ConvolutionalClassifier(labels).save(root / "classifier")
    draws = torch.Generator().manual_seed(0)
    (root / "images").mkdir()
    for name, concept, count in SETS:
        lines = _facts(concept, count)
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        for fact in lines:
            pixels = torch.randint(256, (16, 16, 3), generator=draws, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(root / "images" / f"{fact['id']}.png")
    data = {name: str(root / f"{name}.jsonl") for name, _, _ in SETS}
    return {
        "data": data | {"images": str(root / "images")},
        "metrics": {"classifier": str(root / "classifier"), "deciding": []},
    }


def write_arms(root: Path, layout: str, seeds: Mapping[str, int] = SEEDS) -> dict[str, Any]:
    """Write three random pipelines of a layout.

    Returns:
        The plan's arms.
    """
    arms = {}
    for arm, seed in seeds.items():
        pipeline = make_pipeline(layout, seed)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(root / arm)
        drawing = sampling(root / arm) | {"steps": 2}
        arms[arm] = {"kind": "text-to-image", "path": str(root / arm), "sampling": drawing}
    return arms | {"retrained": [arms["retrained"]]}
