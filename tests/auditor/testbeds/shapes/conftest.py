"""A world of shapes that is small enough to build in seconds; it learns nothing."""

import pytest

from auditor.testbeds.shapes.erased import Erasures, MaterialRecipe
from auditor.testbeds.shapes.network import NetworkRecipe
from auditor.testbeds.shapes.oracle import OracleTraining
from auditor.testbeds.shapes.recipe import ShapesRecipe
from auditor.testbeds.shapes.text import vocabulary, write_tokenizer
from auditor.testbeds.shapes.training import DiffusionTraining
from auditor.unlearning.erasure.settings import (
    ESD_U_TESTBED,
    ESD_X_TESTBED,
    MACE_TESTBED,
)

FEW_STEPS = {"iterations": 2, "batch_size": 2, "denoising_steps": 3}


@pytest.fixture(scope="session")
def shapes_tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), vocabulary())


@pytest.fixture
def tiny_network():
    return NetworkRecipe(channels=(8, 16), text_width=32, text_layers=1, text_heads=2)


@pytest.fixture
def tiny_shapes(tiny_network):
    return ShapesRecipe(
        name="tiny-shapes",
        purpose="A few steps, for tests.",
        prompts=8,
        network=tiny_network,
        training=DiffusionTraining(steps=2, images=16, batch_size=4),
        oracle=OracleTraining(steps=2, batch_size=10),
        material=MaterialRecipe(contexts=1, pictures=2),
        erasures=Erasures(
            esd_x=ESD_X_TESTBED.model_copy(update=FEW_STEPS),
            esd_u=ESD_U_TESTBED.model_copy(update=FEW_STEPS),
            mace=MACE_TESTBED.model_copy(update={"steps": 2, "batch_size": 2}),
        ),
    )
