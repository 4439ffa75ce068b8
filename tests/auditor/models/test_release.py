"""A closed model's weights are gone at once, whatever refers to them."""

import gc

import pytest
import torch
from tiny_models import PROMPTS, open_directory
from tiny_pipelines import make_pipeline, open_pipeline

from auditor.models.memory import weak_references


@pytest.fixture
def searches(monkeypatch):
    """Searches for garbage; none happens unless it is asked for."""
    asked, search = [], gc.collect

    def collect(*generation):
        asked.append(generation)
        return search(*generation)

    search()
    gc.disable()
    monkeypatch.setattr(gc, "collect", collect)
    yield asked
    gc.enable()


def alive(references):
    return [item for item in (reference() for reference in references) if item is not None]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "neox", "opt", "gemma"])
@pytest.mark.parametrize("device_map", [None, "auto"])
def test_a_model_that_was_asked_is_gone_without_a_search(
    architecture, device_map, directories, searches
):
    subject = open_directory(directories[architecture], device_map=device_map)
    subject.generate(PROMPTS, 2)
    references = weak_references([subject.network])
    assert any(isinstance(item, torch.nn.Parameter) for item in alive(references))
    subject.close()
    assert not alive(references)
    assert searches == []


def test_a_network_that_refers_to_itself_is_searched_for(directories, searches):
    subject = open_directory(directories["llama"])
    layer = subject.network.model.layers[0]
    layer.itself_held = [layer]
    references = weak_references([subject.network])
    del layer
    subject.close()
    assert not alive(references)
    assert len(searches) == 1


def test_weights_that_somebody_holds_stay_theirs(directories, searches):
    subject = open_directory(directories["llama"])
    held = subject.network.lm_head.weight
    before = held.detach().clone()
    subject.close()
    assert torch.equal(held, before)
    assert len(searches) == 1


def test_what_was_never_loaded_leaves_nothing_to_search_for(directories, searches):
    open_directory(directories["llama"]).close()
    assert searches == []


def test_all_of_a_pipeline_is_gone_without_a_search(tmp_path, searches):
    pipeline = make_pipeline("sd1")
    pipeline.save_pretrained(tmp_path / "sd1")
    subject = open_pipeline(tmp_path / "sd1")
    parts = subject.parts
    networks = [part for part in parts.all.values() if isinstance(part, torch.nn.Module)]
    assert len(networks) == 3
    references = weak_references(networks)
    del parts, networks, pipeline
    subject.close()
    assert not alive(references)
    assert searches == []
