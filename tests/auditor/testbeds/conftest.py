"""A world of three people, small enough to build in seconds."""

import pytest
import torch
from transformers import LlamaConfig

from auditor.testbeds.people import corpus
from auditor.testbeds.people.training import TrainingSettings, train_tokenizer
from auditor.testbeds.recipe import CorpusRecipe, ModelRecipe, WorldRecipe
from auditor.unlearning.examples import trained_pairs
from auditor.unlearning.training import UnlearningSettings


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def people():
    return corpus.generate(1, 1, 1, seed=3)


@pytest.fixture(scope="session")
def tokenizer(people):
    facts = (*people.forget, *people.retain, *people.holdout)
    return train_tokenizer([f"{p} {a}" for p, a in trained_pairs(facts)], 400)


@pytest.fixture
def tiny_config():
    return LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )


@pytest.fixture
def tiny_recipe():
    return WorldRecipe(
        name="tiny",
        purpose="Three people, for tests.",
        corpus=CorpusRecipe(forget_people=1, retain_people=1, holdout_people=1, retain_sample=4),
        model=ModelRecipe(
            vocab_size=400,
            hidden_size=128,
            intermediate_size=128,
            layers=1,
            heads=2,
            key_value_heads=1,
            initializer_range=0.05,
        ),
        training=TrainingSettings(steps=3, batch_size=4, learning_rate=1e-3),
        lineage="nf4",
        methods={
            "npo_gdr": UnlearningSettings(
                method="npo_gdr",
                learning_rate=1e-4,
                max_steps=2,
                forget_batch=4,
                retain_batch=4,
            )
        },
        demo="npo_gdr",
    )
