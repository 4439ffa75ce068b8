"""Tiny real models of six architectures for the quantizers."""

import pytest
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save

from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator


@pytest.fixture(scope="session")
def directories(tmp_path_factory):
    """Architecture to the folder of a saved model."""
    root = tmp_path_factory.mktemp("attacked")
    return {a: save(root / a, make_model(a), make_tokenizer()) for a in ARCHITECTURES}


@pytest.fixture
def subjects(directories):
    """Architecture to a subject, opened afresh."""
    return {a: open_directory(d) for a, d in directories.items()}


@pytest.fixture(scope="session")
def evaluator():
    facts = tuple(
        Fact(id=f"f{i}", entity="s", prompt=f"Person {i} lives in", answer=f"city number {i * 7}")
        for i in range(4)
    )
    return TextEvaluator(FactSets(forget=facts[:2], retain=facts[2:]), ["answer-probability"])
