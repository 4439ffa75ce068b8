import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hand_made_certificates import honest_certificate
from hand_made_pictures import pictured_certificate, text_of

from auditor.certificate import files
from auditor.certificate.build import build_certificate
from auditor.certificate.files import (
    json_schema,
    parse_certificate,
    read_certificate,
    shipped_schema,
    write_certificate,
)
from auditor.certificate.schema import SCHEMA_VERSION
from auditor.core.errors import AuditorError, MalformedError
from auditor.core.hashing import digest
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.store.folder_store import FolderStore


@pytest.fixture
def outcome(passing_plan, store_root):
    def run(**changes):
        store = FolderStore(store_root)
        prepared = prepare(passing_plan(**changes), store, SilentProgress())
        return run_audit(prepared, store, LocalExecutor(), SilentProgress())

    return run


@pytest.fixture
def failing(people):
    """Changes that put the demo's unlearned model on trial, against two baselines."""
    return {
        "unlearned": {"path": str(people.model_path(people.recipe.demo)), "dtype": "float32"},
        "retrained": [
            {"path": str(people.model_path(name)), "dtype": "float32"}
            for name in people.recipe.retrained[:2]
        ],
    }


def test_shipped_schema_is_that_of_the_model():
    assert form(shipped_schema()) == form(json.loads(json.dumps(json_schema()))), (
        "the certificate's form changed: raise SCHEMA_VERSION and ship its schema"
    )
    assert shipped_schema()["properties"]["schema_version"]["default"] == SCHEMA_VERSION


RELEASED = {
    "3.0.0": "c0863836cbbe0425ba25fb304f61ea20ec213e733a77506e5d0fa62a90592adf",
    "3.1.0": "8cadbf2d7be937da92f9e92f215b4e7be9ee4392b600c191fa8329f71adc0fef",
    "4.0.0": "3f55fef7487625fbbcd204b8fb3f21e88feb3d8bfaf018cadeffeb051b4666d3",
}
"""Version to digest of its JSON Schema, descriptions left out. A new form is a new line."""


def form(schema):
    """A schema without its words, which may change."""
    if isinstance(schema, dict):
        return {
            name: form(item)
            for name, item in schema.items()
            if name != "description" or not isinstance(item, str)
        }
    return [form(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("version", RELEASED)
def test_a_change_of_form_is_a_change_of_version(version):
    file = Path(files.__file__).with_name(f"certificate-{version}.schema.json")
    assert digest(form(json.loads(file.read_text(encoding="utf-8")))) == RELEASED[version], (
        "the certificate's form changed: raise SCHEMA_VERSION and add a line to RELEASED"
    )


def test_what_has_pictures_follows_the_schema_and_comes_back(tmp_path):
    certificate = pictured_certificate().named()
    written = certificate.model_dump(mode="json")
    jsonschema.Draft202012Validator(shipped_schema()).validate(written)
    write_certificate(certificate, tmp_path / "certificate.json")
    assert read_certificate(tmp_path / "certificate.json") == certificate
    replaced, other = (arm["options"] for arm in written["identity"]["arms"][:2])
    assert replaced["replacement"] == "erased/esd-x-circle.safetensors"
    assert other["sampling"]["steps"] == 15
    plain = honest_certificate("FAIL").model_dump(mode="json")
    assert "image_examples" not in plain
    assert "options" not in plain["identity"]["arms"][0]


@pytest.mark.parametrize(
    "content", [b"<svg onload='alert(1)'/>", b"<script>alert(1)</script>", b""], ids=repr
)
def test_a_certificate_with_something_else_for_a_picture_is_refused(content):
    written = pictured_certificate().model_dump(mode="json")
    written["image_examples"]["facts"][0]["views"][0]["pictures"]["original"] = text_of(content)
    with pytest.raises(
        MalformedError, match=r"image_examples\.facts\.0\.views\.0\.pictures\.original"
    ):
        parse_certificate(written, "it")


def test_certificates_follow_their_schema(outcome, failing):
    for changes in ({}, failing):
        certificate = build_certificate(outcome(**changes), "auditor audit plan.yaml")
        jsonschema.Draft202012Validator(shipped_schema()).validate(
            certificate.model_dump(mode="json")
        )


def test_leaking_model_fails_and_the_certificate_says_where(outcome, failing, people):
    certificate = build_certificate(outcome(**failing), "auditor audit plan.yaml")
    assert certificate.verdict.verdict == "FAIL"
    assert certificate.verdict.exit_code == 1
    rows = {row.label: row for row in certificate.matrix}
    nf4, as_is = rows["quantization/bnb nf4"], rows["none/as-is full precision"]
    assert nf4.named
    assert not as_is.named
    metric = certificate.scope.primary_metric
    gained = nf4.forget[metric]["unlearned"] - as_is.forget[metric]["unlearned"]
    over_retrained = nf4.forget[metric]["unlearned"] - nf4.forget[metric]["retrained-0"]
    assert gained > 0.25
    assert over_retrained > 0.25
    assert certificate.utility.state == "kept"
    assert nf4.explanation.overall < 0.1, "few codes flip, so the quantized U is the quantized O"
    assert set(nf4.explanation.layers) >= {"model.layers.0.mlp.down_proj"}


def test_worst_facts_show_the_answers_side_by_side(outcome, failing, people):
    certificate = build_certificate(outcome(**failing), "auditor audit plan.yaml")
    worst = certificate.worst_facts[0]
    assert worst.attack == "quantization/bnb nf4"
    assert set(worst.said) == {"unlearned", "original", "retrained-0", "retrained-1"}
    assert worst.said["unlearned"] == worst.answer == worst.said["original"]
    assert worst.said["retrained-0"] != worst.answer
    excess = [w.k["unlearned"] - w.k["retrained-0"] for w in certificate.worst_facts]
    assert excess[0] > 0.5


def test_id_covers_the_content_and_not_the_timing(outcome):
    ran = outcome()
    first, second = (
        build_certificate(replace(ran, wall_seconds=wall), "auditor audit plan.yaml")
        for wall in (1.0, 2.0)
    )
    assert first.timing != second.timing
    assert first.certificate_id == second.certificate_id
    assert first.certificate_id != build_certificate(outcome(), "another command").certificate_id


def test_round_trip_and_edits(outcome, tmp_path):
    path = tmp_path / "certificate.json"
    certificate = build_certificate(outcome(), "auditor audit plan.yaml")
    write_certificate(certificate, path)
    assert read_certificate(path) == certificate

    edited = json.loads(path.read_text())
    edited["verdict"]["verdict"] = "FAIL"
    path.write_text(json.dumps(edited))
    with pytest.raises(AuditorError, match="was edited"):
        read_certificate(path)

    edited["schema_version"] = "1.0.0"
    path.write_text(json.dumps(edited))
    with pytest.raises(AuditorError, match=r"schema version 1\.0\.0"):
        read_certificate(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{}", "no schema_version"),
        ('{"schema_version": "1.0.0"}', "schema"),
    ],
)
def test_what_is_no_certificate_is_refused(tmp_path, text, said):
    path = tmp_path / "certificate.json"
    path.write_text(text)
    with pytest.raises(AuditorError, match=said):
        read_certificate(path)
    with pytest.raises(AuditorError, match="cannot be read"):
        read_certificate(tmp_path / "nonesuch.json")


def test_original_that_never_knew_is_not_auditable(outcome, people):
    def spec(name):
        return {"path": str(people.model_path(name)), "dtype": "float32"}

    certificate = build_certificate(
        outcome(
            unlearned=spec("original"),
            original=spec("retrained-1"),
            retrained=[spec("retrained-0")],
        ),
        "auditor audit plan.yaml",
    )
    assert certificate.verdict.verdict == "NOT AUDITABLE"
    assert certificate.verdict.exit_code == 3
