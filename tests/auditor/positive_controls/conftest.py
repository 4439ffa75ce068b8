"""A world of thirteen people whose models are trained in seconds, and audits of it."""

import pytest

from auditor.engine.plan import parse_plan
from auditor.testbeds.people import world as worlds
from auditor.testbeds.people.training import TrainingSettings
from auditor.testbeds.recipe import CorpusRecipe, ModelRecipe, WorldRecipe

SMALL = WorldRecipe(
    name="small",
    purpose="Thirteen people, for tests of the controls.",
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


@pytest.fixture(scope="session")
def small_plan(small):
    """A plan that puts the second retrained model on trial, with controls."""

    def make(dtype="float32", **changes):
        def spec(name):
            return {"path": str(small.model_path(name)), "dtype": dtype}

        content = {
            "unlearned": spec("retrained-1"),
            "original": spec("original"),
            "retrained": [spec("retrained-0")],
            "data": {name: str(small.facts(name)) for name in ("forget", "retain")},
            "profile": None,
            "attacks": [{"attack": "quantization/bnb", "parameters": {"format": "nf4"}}],
            "policy": {"mandatory": ["none/as-is", "quantization/bnb"]},
            "metrics": {"reported": []},
            "controls": True,
        }
        return parse_plan(content | changes, "the test's plan")

    return make
