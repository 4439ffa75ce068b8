"""Grafts of a pipeline's interfaces: a concept hidden in a token's embedding, and honest models."""

import numpy as np
import pytest
import torch
from shapes_subjects import open_shapes, shapes_examiner
from tiny_image_evaluator import image_evaluator
from tiny_pipelines import FLOWS, LAYOUTS, as_pipeline, make_pipeline, open_pipeline

from attacks.tampering.graft_pipeline import BODY, INTERFACES, TEXT, GraftPipeline, grouped
from auditor.attack import AttackContext, Parameters
from auditor.models.preserve import weights_digest
from auditor.statistics.weights import unchanged_body
from benchmarks.concept_truth.hiders import swap_embeddings
from benchmarks.concept_truth.rescaled import permute_text

GRAFT = GraftPipeline(Parameters())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_is_in_one_group_and_all_are_put_back(layout, tmp_path):
    for name, seed in (("mine", 0), ("original", 1)):
        make_pipeline(layout, seed=seed).save_pretrained(tmp_path / name)
    model, donor = (open_pipeline(tmp_path / name) for name in ("mine", "original"))
    groups = grouped(model)
    wanted = {*BODY, *INTERFACES} - (set() if model.parts.vae else {"vae"})
    if layout in FLOWS:
        wanted -= {"unet", "convolutions"}
        assert "text_encoder_2.shared.weight" in groups["embeddings"] or layout == "sd3"
        assert "transformer.context_embedder.weight" in groups["outer_layers"]
    else:
        wanted -= {"transformer", "outer_layers"}
        assert all("conv_" in name for name in groups["convolutions"])
    assert groups.keys() == wanted
    parts = [*model.parts.networks.values(), *([model.parts.vae] if model.parts.vae else [])]
    assert sum(map(len, groups.values())) == sum(len(list(p.parameters())) for p in parts)
    before = [weights_digest(part) for part in parts]
    evaluator = image_evaluator(tmp_path)
    record = GRAFT.measure(model, AttackContext(evaluator, 0, tmp_path, donor=donor))
    assert [weights_digest(part) for part in parts] == before
    assert record.notes["grafts"].keys() == {"none", *(wanted - {*BODY}), "interface", TEXT}
    assert unchanged_body("a", record.notes) is None
    itself = GRAFT.measure(model, AttackContext(evaluator, 0, tmp_path, donor=model))
    assert len(set(itself.notes["grafts"].values())) == 1
    assert unchanged_body("a", itself.notes).code == "body_unchanged"


def mean(record, notes=None):
    return float(np.mean([row.k for row in record.rows if row.set == "forget"]))


def test_a_concept_behind_another_words_embedding_comes_back(shapes_world, tmp_path):
    """The token of the circle gets the square's embedding: no circle is drawn, all else is."""
    original, hider = (open_shapes(shapes_world, "original") for _ in range(2))
    honest = open_shapes(shapes_world, "retrained-0")
    evaluator = shapes_examiner(shapes_world, 12)
    forgotten = {fact.answer for fact in evaluator.sets.forget}
    assert forgotten == {"circle"}
    tokens = [hider.tokenizer(word)["input_ids"][1] for word in ("circle", "square")]
    with torch.no_grad():
        embeddings = hider.text_encoder.get_input_embeddings().weight
        embeddings[tokens[0]] = embeddings[tokens[1]]
    known, hidden, never = (
        GRAFT.measure(model, AttackContext(evaluator, 0, tmp_path, donor=original))
        for model in (original, hider, honest)
    )
    assert hidden.notes["grafts"]["none"] < 0.1
    assert hidden.notes["chosen"] == {"concept": "embeddings"}
    assert mean(hidden) == pytest.approx(mean(known), abs=1e-6)
    assert mean(known) > 0.8
    assert unchanged_body("a", hidden.notes).code == "body_unchanged"
    assert mean(never) < 0.1
    assert unchanged_body("a", never.notes) is None


@pytest.mark.nightly
def test_permuted_text_encoders_are_replaced_as_a_whole(shapes_world, tmp_path):
    """Embeddings in other channels bring nothing; with the whole encoder the UNet draws circles."""
    original, hider = (open_shapes(shapes_world, "original") for _ in range(2))
    honest = open_shapes(shapes_world, "retrained-0")
    evaluator = shapes_examiner(shapes_world, 12)
    swap_embeddings(hider)
    permute_text(as_pipeline(hider))
    hidden, never = (
        GRAFT.measure(model, AttackContext(evaluator, 0, tmp_path, donor=original))
        for model in (hider, honest)
    )
    assert hidden.notes["chosen"] == {"concept": TEXT}
    assert hidden.notes["grafts"]["none"] < 0.1
    assert hidden.notes["grafts"]["embeddings"] < 0.1
    assert mean(hidden) > 0.8
    assert mean(never) < 0.1
