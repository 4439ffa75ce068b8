"""Weights in the package: what is unpacked is what was trained."""

import pytest
import torch
from click.testing import CliRunner

from auditor.cli.testbed import command
from auditor.core.errors import AuditorError
from auditor.testbeds import catalogue
from auditor.testbeds.shapes import world as world_module
from auditor.testbeds.shapes.packing import pack
from auditor.testbeds.shapes.recipe import SHAPES
from auditor.testbeds.shapes.shipped import PACKAGED, ShippedWeights, rounded
from auditor.testbeds.shapes.world import build, locate
from auditor.unlearning.erasure.settings import UceSettings

MOST = 12_000_000
"""Bytes that the package may grow by."""


def files(world):
    return {
        path.relative_to(world.root): path.read_bytes()
        for path in world.root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def packed(tiny_shapes, tmp_path):
    """A tiny world built from scratch, and its weights in a folder."""
    world = build(tiny_shapes, tmp_path, weights=None)
    weights = ShippedWeights(tmp_path / "weights")
    pack(world, weights)
    return world, weights


def check_to_train(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("was trained, though it ships")

    monkeypatch.setattr(world_module, "train", refuse)
    monkeypatch.setattr(world_module, "erase", refuse)
    monkeypatch.setattr(world_module.oracle, "train_oracle", refuse)


def test_unpacked_and_from_scratch_are_the_same_bytes(packed, tiny_shapes, tmp_path, monkeypatch):
    scratch, weights = packed
    check_to_train(monkeypatch)
    unpacked = build(tiny_shapes, tmp_path, weights=weights)
    assert unpacked.root != scratch.root
    assert files(unpacked) == files(scratch)


def test_another_recipe_is_trained(packed, tiny_shapes, tmp_path, monkeypatch):
    _, weights = packed
    erasures = tiny_shapes.erasures.model_copy(update={"uce": UceSettings(ridge=2)})
    other = tiny_shapes.model_copy(update={"erasures": erasures})
    training = tiny_shapes.training.model_copy(update={"steps": 1})
    longer = tiny_shapes.model_copy(update={"training": training})
    check_to_train(monkeypatch)
    assert build(other, tmp_path, ["rece"], weights=weights).built() == ("original", "rece")
    with pytest.raises(AssertionError, match="though it ships"):
        build(other, tmp_path, ["uce"], weights=weights)
    with pytest.raises(AssertionError, match="though it ships"):
        build(longer, tmp_path, ["original"], weights=weights)


def test_damaged_weights_are_an_error_that_says_what_to_do(packed, tiny_shapes, tmp_path):
    _, weights = packed
    (weights.folder / "retrained-0.safetensors").write_bytes(b"half")
    with pytest.raises(AuditorError, match=r"retrained-0.*install the package again"):
        build(tiny_shapes, tmp_path, weights=weights)


def test_only_rounded_weights_are_packed(tmp_path):
    weights = ShippedWeights(tmp_path)
    third = {"third": torch.tensor([1 / 3])}
    with pytest.raises(ValueError, match="third of model is not rounded"):
        weights.write("model", "digest", third)
    weights.write("model", "digest", rounded(third))
    found = weights.read("model", "digest")
    assert torch.equal(found["third"], rounded(third)["third"])
    assert found["third"].dtype == torch.float32
    assert found["third"].item() == pytest.approx(1 / 3, rel=2**-8)
    assert weights.read("model", "another") is None


def test_an_unfinished_world_is_not_packed(tiny_shapes, tmp_path):
    world = build(tiny_shapes, tmp_path, ["original"], weights=None)
    with pytest.raises(AuditorError, match=r"retrained-0, .*mace of .* not built"):
        pack(world, ShippedWeights(tmp_path / "weights"))
    assert not (tmp_path / "weights").exists()


def test_the_package_holds_all_of_the_world_and_nothing_else():
    names = ("classifier", *SHAPES.models)
    for name in names:
        assert PACKAGED.read(name, SHAPES.shipped_digest(name)) is not None, name
    found = {path.stem: path.stat().st_size for path in PACKAGED.folder.iterdir()}
    assert found.keys() == set(names)
    assert sum(found.values()) < MOST


def test_the_world_is_unpacked_and_never_trained(tmp_path, monkeypatch):
    check_to_train(monkeypatch)
    ran = CliRunner().invoke(
        command, ["build", "shapes", "--only", "rece", "--cache", str(tmp_path), "--quiet"]
    )
    assert ran.exit_code == 0, ran.output
    assert locate(SHAPES, tmp_path).built() == ("original", "rece")


def test_packing_is_for_the_world_that_ships(tmp_path):
    with pytest.raises(AuditorError, match="only shapes ships"):
        catalogue.pack("people", tmp_path)
    with pytest.raises(AuditorError, match=r"not built in .* --from-scratch"):
        catalogue.pack("shapes", tmp_path)
