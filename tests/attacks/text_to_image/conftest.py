"""Tiny pipelines of every layout, built once a session, and an evaluator of a few facts."""

import pytest
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import LAYOUTS, make_pipeline, open_pipeline


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """Folder with a pipeline of each layout, and with an `original` of the first."""
    root = tmp_path_factory.mktemp("pipelines")
    for layout in LAYOUTS:
        make_pipeline(layout).save_pretrained(root / layout)
    make_pipeline("sd1", seed=1).save_pretrained(root / "original")
    return root


@pytest.fixture(scope="session")
def subjects(pipelines):
    """Layout to a tiny subject; a test leaves it as it found it."""
    return {layout: open_pipeline(pipelines / layout) for layout in LAYOUTS}


@pytest.fixture
def subject(subjects):
    """The tiny subject that draws in pixels."""
    return subjects["pixel"]


@pytest.fixture
def evaluator(tmp_path):
    """Every fact has a picture of noise."""
    return image_evaluator(tmp_path)
