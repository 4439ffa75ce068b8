"""A world of thirteen people whose models are trained in seconds."""

import pytest

from auditor.testbeds.people import world as worlds
from auditor.testbeds.people.training import TrainingSettings
from auditor.testbeds.recipe import CorpusRecipe, ModelRecipe, WorldRecipe

SMALL = WorldRecipe(
    name="small",
    purpose="Thirteen people, for tests of controls and of all attacks.",
    corpus=CorpusRecipe(forget_people=7, retain_people=5, holdout_people=1, retain_sample=32),
    model=ModelRecipe(
        vocab_size=600,
        hidden_size=128,
        intermediate_size=256,
        layers=1,
        heads=4,
        key_value_heads=2,
        initializer_range=0.08,
    ),
    training=TrainingSettings(steps=100, batch_size=32, learning_rate=3e-3),
    lineage=None,
    methods={},
    demo="original",
)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """An original that knows the forget people and two models that do not, stored in bfloat16."""
    return worlds.build(SMALL, tmp_path_factory.mktemp("small"))
