"""Tiny real models, built once a session."""

import os
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def directories(tmp_path_factory, tokenizer):
    """Architecture to the folder of a saved model."""
    root = tmp_path_factory.mktemp("models")
    return {a: save(root / a, make_model(a), tokenizer) for a in ARCHITECTURES}


@pytest.fixture(scope="session")
def subjects(directories):
    """Architecture to an opened subject; a test leaves it as it found it."""
    opened = {a: open_directory(d) for a, d in directories.items()}
    for subject in opened.values():
        assert not subject.network.training  # loads it, outside any test's inference mode
    return opened


@pytest.fixture
def llama(directories, tmp_path):
    """A copy of the Llama that a test may break."""
    return shutil.copytree(directories["llama"], tmp_path / "llama")
