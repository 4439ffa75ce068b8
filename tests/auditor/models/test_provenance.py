"""Provenance of a built baseline: it belongs to the weights that it lies beside."""

import json

import pytest

from auditor.core.errors import AuditorError
from auditor.core.hashing import digest_file
from auditor.models.manifest import Location, Manifest
from auditor.models.provenance import FILE, Provenance, provenances, read_provenance, weights_digest

MADE = {
    "built_by": "auditor 1",
    "base": {"name": "base", "files": "a", "weights": "b"},
    "retain": {"facts": 3, "digest": "c"},
    "recipe": {"epochs": 5, "learning_rate": 1e-5, "batch_size": 32},
    "steps": 20,
    "loss": 0.5,
    "code": "d",
    "versions": {"torch": "2"},
    "device": "cpu",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")

    def write(**changes):
        content = MADE | {"weights": weights_digest(tmp_path)} | changes
        (tmp_path / FILE).write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return write


def test_it_is_read_with_the_weights_that_it_belongs_to(folder):
    root = folder()
    found = read_provenance(root)
    assert found == Provenance.model_validate(MADE | {"weights": weights_digest(root)})
    assert found == read_provenance(root, found.weights)
    assert found.recipe.lora is None
    (root / FILE).unlink()
    assert read_provenance(root) is None


def test_the_digest_is_that_of_the_manifest(folder):
    root = folder()
    files = {name: digest_file(root / name) for name in ("config.json", "model.safetensors", FILE)}
    assert weights_digest(root) == Manifest(files=files).weights_digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "0" * 64}, "other weights"),
        ({"steps": "many"}, "steps"),
        ({"loss": None}, "loss"),
        ({"recipe": {"epochs": 5}}, "learning_rate: is missing"),
        ({"surprise": 1}, "surprise"),
        ({"version": 2}, "version"),
    ],
)
def test_what_does_not_belong_is_refused(folder, changes, said):
    with pytest.raises(AuditorError, match=said):
        read_provenance(folder(**changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"loss": NaN}', b"[" * 9000])
def test_a_broken_file_is_refused(folder, content):
    root = folder()
    (root / FILE).write_bytes(content)
    with pytest.raises(AuditorError):
        read_provenance(root)


def located(folder, weights):
    return Location(
        model=folder, adapter=None, manifest=Manifest(files={"model.safetensors": weights})
    )


@pytest.mark.parametrize("base", ["original", "unlearned", "another"])
def test_the_base_is_no_arm_of_the_audit(folder, tmp_path_factory, base):
    elsewhere = tmp_path_factory.mktemp("arms")
    arms = {
        "unlearned": located(elsewhere, "u"),
        "original": located(elsewhere, "o"),
        "another": located(elsewhere, "b"),
    }
    weights = arms.pop(base) if base == "another" else arms[base]
    made = {"base": {"name": "x", "files": "a", "weights": weights.manifest.weights_digest}}
    root = folder(**made, weights=located(elsewhere, "r").manifest.weights_digest)
    arms |= {"retrained-0": located(root, "r"), "retrained-1": located(elsewhere, "s")}
    if base == "another":
        [(arm, found)] = provenances(arms).items()
        assert (arm, found.base.name) == ("retrained-0", "x")
        return
    with pytest.raises(AuditorError, match=f"retrained-0 was built on the {base} model"):
        provenances(arms)
