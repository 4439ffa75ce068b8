"""One tiny real model for the metrics."""

import pytest
from tiny_models import make_model, make_tokenizer, open_directory, save


@pytest.fixture(scope="session")
def llama_directory(tmp_path_factory):
    return save(tmp_path_factory.mktemp("metrics") / "m", make_model("llama"), make_tokenizer())


@pytest.fixture
def subject(llama_directory):
    return open_directory(llama_directory)
