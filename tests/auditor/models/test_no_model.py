"""What is given for a model and is none: refused with the way to one, before anything is opened."""

import pytest

from auditor.core.errors import AuditorError
from auditor.engine.plan_checks import missing
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.files import locate_checkpoint
from auditor.models.no_model import why_no_model

FILES = ("m.gguf", "folder/m.GGUF", "model.safetensors", "notes.txt", "meta/consolidated.00.pth")
FOLDERS = (
    "run/checkpoint-8/config.json",
    "cache/snapshots/ab12/config.json",
    "sd/model_index.json",
)


@pytest.fixture
def root(tmp_path):
    for name in (*FILES, *FOLDERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://localhost:8000/v1", "endpoint"),
        ("https://api.example.com/v1/models/x", "endpoint"),
        ("https://huggingface.co/owner/name/tree/main", "hub: owner/name"),
        ("hf://owner/name", "hub: owner/name"),
        ("s3://bucket/model", "copy"),
        ("model.safetensors", "weights"),
        ("notes.txt", "is a file"),
        ("meta", "Meta"),
        ("run", "checkpoint-8"),
        ("cache", "snapshots/ab12"),
    ],
)
def test_it_is_named_with_the_way_out(root, given, said):
    assert said in why_no_model(given, root / given)
    [problem] = missing(CausalLMSpec(path=given), "unlearned", root)
    assert said in problem
    assert problem.startswith(f"unlearned.path: {given} ")
    path = given if "://" in given else str(root / given)
    with pytest.raises(AuditorError, match=said):
        locate_checkpoint(path)


@pytest.mark.parametrize(
    "given", ["run/checkpoint-8", "owner/name", "name", "sd", "m.gguf", "folder"]
)
def test_what_may_be_a_model_is_left_alone(root, given):
    assert why_no_model(given, root / given) is None
