"""Files that change after they were hashed: what is loaded of them is not measured."""

import pytest
from tiny_models import make_model, make_tokenizer, open_directory, save

from auditor.core.errors import OpeningError
from auditor.models.manifest import Manifest


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", make_model("llama"), make_tokenizer())


def test_weights_that_are_written_anew_before_they_are_loaded_are_refused(folder):
    subject = open_directory(folder)
    save(folder, make_model("llama", seed=1), make_tokenizer())
    with pytest.raises(OpeningError, match=r"changed since it was hashed: model\.safetensors"):
        _ = subject.network


def test_a_file_that_is_gone_is_a_change(folder):
    subject = open_directory(folder)
    (folder / "generation_config.json").unlink()
    with pytest.raises(OpeningError, match=r"changed since it was hashed: generation_config"):
        _ = subject.network


@pytest.mark.parametrize("name", ["model.gguf", "MODEL.GGUF", "Model.Safetensors"])
def test_weights_are_weights_in_letters_of_any_size(name):
    """Two models are not one because nothing of either counts as weights."""
    one, other = (Manifest(files={name: digest}) for digest in ("a" * 64, "b" * 64))
    assert one.weights_digest != other.weights_digest
