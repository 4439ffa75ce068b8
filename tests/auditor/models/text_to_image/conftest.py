"""Tiny pipelines of every layout, built once a session."""

import shutil

import pytest
from tiny_pipelines import LAYOUTS, make_pipeline, open_pipeline


@pytest.fixture(scope="session")
def pipelines():
    """Layout to a pipeline in memory, as its deployer has it."""
    return {layout: make_pipeline(layout) for layout in LAYOUTS}


@pytest.fixture(scope="session")
def folders(tmp_path_factory, pipelines):
    """Layout to the folder of a saved pipeline."""
    root = tmp_path_factory.mktemp("pipelines")
    for layout, pipeline in pipelines.items():
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(root / layout)
    return {layout: root / layout for layout in pipelines}


@pytest.fixture(scope="session")
def subjects(folders):
    """Layout to an opened subject; a test leaves it as it found it."""
    return {layout: open_pipeline(folder) for layout, folder in folders.items()}


@pytest.fixture
def sd1(folders, tmp_path):
    """A copy of the Stable Diffusion 1 folder that a test may break."""
    return shutil.copytree(folders["sd1"], tmp_path / "sd1")
