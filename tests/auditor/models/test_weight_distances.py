"""Distances between weights, worked out by hand and held against torch."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.models import weight_distances as distances
from auditor.models.manifest import Location, Manifest
from auditor.models.stored_tensors import stored_tensors


@pytest.fixture
def located(tmp_path):
    """Save tensors, in one file or several, as an audit finds them."""

    def save(name, *files):
        folder = tmp_path / name
        folder.mkdir()
        for number, tensors in enumerate(files):
            save_file(tensors, folder / f"model-{number}.safetensors")
        return Location(
            model=folder,
            adapter=None,
            manifest=Manifest(files={f.name: "0" * 64 for f in folder.iterdir()}),
        )

    return save


def compared(seed="s", budget=distances.BUDGET, **locations):
    return distances.weight_distances(locations, seed, SilentProgress(), budget)


def test_by_hand(located):
    one = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.zeros(3), "c": torch.ones(2)}
    two = {"a": torch.tensor([[0.0, 4.0]]), "b": torch.zeros(3), "c": torch.ones(4)}
    [found] = compared(one=located("one", one), two=located("two", two))
    assert (found.one, found.other) == ("one", "two")
    assert (found.shared, found.compared, found.equal) == (2, 2, 1)
    assert found.change == pytest.approx(3 / 4)
    assert found.flips == 0.5, "3 of 4 is code 5 of 7, and nothing is 0"


def test_how_weights_are_split_and_stored_changes_nothing(located):
    torch.manual_seed(0)
    whole = {n: torch.randn(70, 33).to(torch.bfloat16) for n in ("a", "b")}
    shards = ({"b": whole["b"].float()}, {"a": whole["a"].to(torch.float64)})
    [found] = compared(one=located("one", whole), two=located("two", *shards))
    assert (found.equal, found.change, found.flips) == (2, 0.0, 0.0)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_pieces_come_to_what_torch_finds(located, monkeypatch, kind):
    """Each tensor is read in pieces that are no multiple of its rows."""
    monkeypatch.setattr(distances, "_PIECE", 64)
    torch.manual_seed(1)
    made = [torch.randn(50, 37).to(kind) for _ in range(3)]
    places = {n: located(n, {"w": w}) for n, w in zip("abc", made, strict=True)}
    found = {(d.one, d.other): d for d in compared(**places)}
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    weights = dict(zip("abc", made, strict=True))
    for (one, other), distance in found.items():
        x, y = weights[one].double(), weights[other].double()
        assert distance.change == pytest.approx(float((x - y).norm() / y.norm()))
        assert 0.8 < distance.flips < 0.95


def test_noise_is_seen_as_small_as_it_is(located):
    torch.manual_seed(2)
    weights = torch.randn(64, 64)
    noisy = weights + 1e-6 * torch.randn(64, 64)
    [found] = compared(one=located("one", {"w": weights}), two=located("two", {"w": noisy}))
    assert found.equal == 0
    assert found.change == pytest.approx(1e-6, rel=0.1)
    assert found.flips < 1e-3


def test_a_sample_follows_from_the_seed(located):
    torch.manual_seed(3)
    one, two = ({f"{n}": torch.randn(10, 10) for n in range(20)} for _ in range(2))
    places = {"one": located("one", one), "two": located("two", two)}
    [found] = compared(budget=450, **places)
    assert (found.shared, found.compared) == (20, 5)
    assert compared(budget=450, **places) == (found,)
    assert compared("another", budget=450, **places) != (found,)
    [every] = compared(**places)
    assert every.compared == 20


def test_packed_codes_and_other_forms_are_compared_where_they_are_alike(located):
    packed = torch.arange(8, dtype=torch.uint8).reshape(2, 4)
    other = packed.clone()
    other[0, 0] = 9
    places = {
        "a": located("a", {"w": torch.ones(2, 4), "x": torch.ones(3)}),
        "b": located("b", {"w": packed}),
        "c": located("c", {"w": other}),
        "d": located("d", {"w": torch.zeros(2, 4), "x": torch.full((3,), float("nan"))}),
    }
    found = {(d.one, d.other): d for d in compared(**places)}
    assert found["a", "b"].shared == 0
    assert (found["b", "c"].shared, found["b", "c"].equal) == (1, 0)
    assert (found["b", "c"].change, found["b", "c"].flips) == (None, None)
    assert (found["a", "d"].shared, found["a", "d"].change) == (2, None), "not finite"
    assert found["a", "c"].change is None


def test_what_numpy_has_no_type_for_is_compared_byte_by_byte(located):
    one = torch.arange(16, dtype=torch.float32).to(torch.float8_e4m3fn).reshape(4, 4)
    [found] = compared(one=located("one", {"w": one}), two=located("two", {"w": one.clone()}))
    assert (found.shared, found.equal, found.change) == (1, 1, None)


@pytest.mark.parametrize(
    "header",
    [b"{", b"[]", b'{"w": 1}', b'{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'],
)
def test_a_header_that_is_none_is_refused(located, header):
    place = located("one", {"w": torch.ones(2)})
    [file] = place.model.iterdir()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(AuditorError, match="not a whole safetensors file"):
        stored_tensors(place)


def test_tensors_are_found_by_folder_and_name(located):
    place = located("one", {"w": torch.ones(2, 3)})
    found = stored_tensors(place)
    assert list(found) == ["/w"]
    assert (found["/w"].shape, found["/w"].size, found["/w"].is_float) == ((2, 3), 6, True)
    assert np.concatenate(list(found["/w"].pieces(4))).tolist() == [1.0] * 6
