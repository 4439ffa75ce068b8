"""Gradient norms against autograd, neighbours against their definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from attacks.membership.gradient_norm import GradientNorm, GradientNormParameters, gradient_norms
from attacks.membership.neighbourhood import Neighbourhood, NeighbourhoodParameters
from attacks.membership.neighbours import corpus_neighbours, masked_neighbours
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError
from auditor.core.facts import Fact, FactSets
from auditor.models.language.evaluator import TextEvaluator

NOWHERE = Path("unused")


def facts(prefix, count):
    return tuple(
        Fact(
            id=f"{prefix}{i}",
            entity=f"{prefix}{i // 2}",
            prompt=f"Person {prefix}{i} lives in",
            answer=f"city number {i * 7}",
        )
        for i in range(count)
    )


SETS = FactSets(forget=facts("f", 6), retain=facts("r", 4), holdout=facts("h", 20))
EXAMINER = TextEvaluator(SETS, ["answer-probability"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gradient_norm_is_autograds(architecture, subjects):
    subject = subjects[architecture]
    pair = ("Person 3 lives in", "city number 21.")
    item = subject.encode([pair])[0]
    ids = torch.tensor([item.ids])
    logits = subject.network(ids).logits[0].log_softmax(-1)
    loss = -torch.stack([logits[t - 1, ids[0, t]] for t in item.answer]).mean()
    parameters = list(subject.network.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    expected = np.mean([float(g.norm()) for g in gradients if g is not None])
    before = {n: t.clone() for n, t in subject.network.state_dict().items()}
    assert gradient_norms(subject, [pair, pair], 2.0) == pytest.approx([expected] * 2, rel=1e-4)
    assert all(parameter.grad is None for parameter in parameters)
    assert all(torch.equal(t, before[n]) for n, t in subject.network.state_dict().items())


def test_gradient_norms_rank_the_facts(subjects):
    ask = GradientNorm(GradientNormParameters(order=1.0))
    record = ask.measure(subjects["llama"], AttackContext(EXAMINER, 0, NOWHERE))
    pairs = [(f.prompt, f.answer) for f in SETS.forget]
    expected = -gradient_norms(subjects["llama"], pairs, 1.0)
    np.testing.assert_allclose(record.arrays["scores/forget"][0], expected)


def test_a_text_is_compared_with_the_mean_of_its_neighbours(subjects):
    ask = Neighbourhood(NeighbourhoodParameters(neighbours=5))
    subject = subjects["llama"]
    record = ask.measure(subject, AttackContext(EXAMINER, 3, NOWHERE))
    corpus = [fact.answer for fact in (*SETS.retain, *SETS.holdout)]
    fact = SETS.forget[4]
    around = corpus_neighbours([fact.answer], corpus, 5, 3)[0]
    own, *others = (
        s.mean_log_probability
        for s in subject.score([(fact.prompt, a) for a in (fact.answer, *around)])
    )
    assert record.arrays["scores/forget"][0, 4] == pytest.approx(own - np.mean(others), abs=1e-4)


def test_corpus_neighbours_keep_the_form_and_follow_the_seed():
    corpus = ["Anna sold 3 red lamps.", "Berta found 12 blue chairs."]
    text = "Carla kept 7 green doors."
    found = corpus_neighbours([text], corpus, 40, 0)[0]
    assert found == corpus_neighbours([text, "x"], corpus, 40, 0)[0]
    assert found != corpus_neighbours([text], corpus, 40, 1)[0]
    for neighbour in found:
        changed = [(a, b) for a, b in zip(text.split(), neighbour.split(), strict=True) if a != b]
        assert len(changed) == 2  # 30 % of five words
        for old, new in changed:
            assert old[0].isupper() == new[0].isupper()
            assert old[0].isdigit() == new[0].isdigit()
            assert old.endswith(".") == new.endswith(".")
    assert corpus_neighbours(["ÄÖ!"], corpus, 2, 0) == [["ÄÖ!", "ÄÖ!"]]


@pytest.fixture
def masked_model(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "berta", "sold", "lamps", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def test_masked_neighbours_are_the_best_rated_replacements(masked_model):
    model = BertForMaskedLM.from_pretrained(masked_model).eval()
    found = masked_neighbours(["anna sold lamps"], masked_model, 4)[0]
    rated = {}
    for place, ids in enumerate(([4, 7, 8], [5, 4, 8], [5, 7, 4])):
        with torch.no_grad():
            p = model(torch.tensor([[2, *ids, 3]])).logits[0, place + 1].double().softmax(-1)
        old = (5, 7, 8)[place]
        for new, word in ((5, "anna"), (6, "berta"), (7, "sold"), (8, "lamps")):
            if new != old:
                words = ["anna", "sold", "lamps"]
                words[place] = word
                rated[" ".join(words)] = float(p[new] / (1 - p[old]))
    assert found == sorted(rated, key=rated.get, reverse=True)[:4]
    with pytest.raises(MeasurementError, match="only 9 neighbours"):
        masked_neighbours(["anna sold lamps"], masked_model, 10)


def test_a_masked_model_is_part_of_what_decides(masked_model, subjects):
    ask = Neighbourhood(NeighbourhoodParameters(mask_model=str(masked_model), neighbours=2))
    assert "mask_model" in ask.inputs()
    assert ask.variant == "2 neighbours of a masked model"
    record = ask.measure(subjects["llama"], AttackContext(EXAMINER, 0, NOWHERE))
    assert len(record.rows) == 2 * len(SETS.forget)
