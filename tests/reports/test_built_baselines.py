"""A built baseline in the certificate: its recipe is shown, and it belongs to its weights."""

import pytest
from hand_made_certificates import honest_certificate
from parsed_page import Page
from pydantic import ValidationError

from auditor.certificate.schema import Certificate
from auditor.models.manifest import Manifest
from reports.html import render

HOSTILE = "<script>alert(1)</script>"


def certificate(**changes):
    content = honest_certificate().model_dump(mode="json")
    arm = next(arm for arm in content["identity"]["arms"] if arm["arm"] == "retrained-0")
    arm["built"] = {
        "built_by": "auditor 1",
        "base": {"name": HOSTILE, "files": "a", "weights": "b"},
        "retain": {"facts": 3600, "digest": "c", "left_out": 7},
        "recipe": {"epochs": 5, "learning_rate": 1e-5, "batch_size": 32},
        "steps": 565,
        "loss": 0.25,
        "code": "d",
        "versions": {"torch": "2"},
        "device": "cpu",
        "weights": Manifest(files=arm["files"]).weights_digest,
    } | changes
    return Certificate.model_validate(content)


def test_its_recipe_is_shown_and_nothing_in_it_runs():
    content = render(certificate())
    assert HOSTILE not in content
    text = " ".join(" ".join(Page(content).text).split())
    assert "Baselines that were built" in text
    assert "3,600 retain facts, without 7 copies of forget facts; 565 steps" in text
    assert "learning_rate" in text


def test_without_one_nothing_is_said_of_it():
    content = honest_certificate()
    assert "built" not in content.model_dump(mode="json")["identity"]["arms"][0]
    assert "Baselines that were built" not in render(content)


def test_it_belongs_to_the_weights_of_its_arm():
    with pytest.raises(ValidationError, match="belongs to other weights"):
        certificate(weights="0" * 64)
