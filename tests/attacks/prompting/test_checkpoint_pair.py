"""The pair of checkpoints: the formula, its two ways of use, and what it gives beyond the old."""

import math

import pytest
import torch
from tiny_models import ARCHITECTURES, make_model, make_tokenizer, open_directory, save

from attacks.prompting.checkpoint_pair import (
    CheckpointPair,
    CheckpointPairParameters,
    answer_probabilities,
    generated,
    guided,
)
from attacks.relearning.family import FineTuning
from attacks.relearning.fine_tuning import learner
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.records import check_malformed
from auditor.models.language.transcript import answer_room

LEAST = math.log(0.1)


def test_the_pair_weighs_what_the_new_checkpoint_lost():
    """p_O = (.5, .4, .1), p_U = (.5, .1, .4): the second token is what was removed."""
    old, new = (torch.tensor(p).log() for p in ([0.5, 0.4, 0.1], [0.5, 0.1, 0.4]))
    found = guided(old, new, 1.0, math.log(1e-9)).exp()
    weights = torch.tensor([0.5, 0.4 * 4, 0.1 / 4])
    torch.testing.assert_close(found, weights / weights.sum())
    torch.testing.assert_close(guided(old, new, 0.0, math.log(1e-9)).exp(), old.exp())
    filtered = guided(old, new, 1.0, math.log(0.5)).exp()
    assert filtered[2] == 0.0, "a token that the old checkpoint finds implausible"
    torch.testing.assert_close(filtered[:2], weights[:2] / weights[:2].sum())


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Architecture to a model of the same shape from other random weights."""
    root = tmp_path_factory.mktemp("others")
    return {a: save(root / a, make_model(a, 7), make_tokenizer()) for a in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decoding_follows_the_formula(architecture, directories, others, evaluator):
    """Against the formula on whole texts, token by token, without caches or batches."""
    old, new = open_directory(directories[architecture]), open_directory(others[architecture])
    facts = (*evaluator.sets.forget, *evaluator.sets.retain)
    said = generated(old, new, facts, 1.0, LEAST)
    room = min(6, answer_room(old, facts))
    for fact, text in zip(facts, said, strict=True):
        ids = old.tokenizer(fact.prompt, return_tensors="pt").input_ids
        start = ids.shape[1]
        for _ in range(room):
            with torch.inference_mode():
                logits = [each.network(input_ids=ids).logits[:, -1] for each in (old, new)]
            token = guided(*logits, 1.0, LEAST).argmax(-1, keepdim=True)
            if int(token) == old.tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, token], dim=1)
        begun = old.tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()
        assert text.startswith(begun.rstrip("\N{REPLACEMENT CHARACTER}"))
    assert generated(old, new, facts, 0.0, LEAST) == old.generate(
        [fact.prompt for fact in facts], answer_room(old, facts)
    ), "at weight 0 the old checkpoint answers alone"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_paired_with_itself_is_the_old_checkpoint(
    architecture, directories, evaluator, tmp_path
):
    model, donor = (open_directory(directories[architecture]) for _ in range(2))
    attack = CheckpointPair(CheckpointPairParameters())
    record = attack.measure(model, AttackContext(evaluator, 0, tmp_path, donor=donor))
    check_malformed(record)
    for figure in record.notes.values():
        assert figure["old"] == pytest.approx(figure["pair"], rel=1e-5)
    figures = {(f.name, f.params["of"]) for f in attack.side_figures({"original": record.notes})}
    assert figures == {
        (name, of) for name in ("pair_probability", "pair_extracted") for of in ("old", "pair")
    }
    assert not CheckpointPair.decides


def test_two_checkpoints_give_more_than_the_old_one(directories, evaluator):
    """The old one is the new one, taught the facts a little: an honestly ignorant new model."""
    new = open_directory(directories["llama"])
    old = open_directory(directories["llama"])
    facts = evaluator.sets.forget
    examples = old.encode([(fact.prompt, fact.answer) for fact in facts], end=True)
    settings = FineTuning(method="full", learning_rate=6e-5, batch_size=2)
    with learner(old, examples, settings, 0) as pupil:
        pupil.advance(8)
        known = answer_probabilities(old, new, facts, (0.0, 1.0, 3.0), math.log(1e-3))
    assert 0.02 < known[0.0].mean() < 0.9, "neither unknown nor known by heart"
    assert known[1.0].mean() > known[0.0].mean()
    assert (known[1.0] > known[0.0]).all()


def test_models_of_other_tokens_are_no_pair(subjects, evaluator, tmp_path):
    attack = CheckpointPair(CheckpointPairParameters())
    larger = save(tmp_path / "larger", make_model("llama", 0, 416), make_tokenizer())
    for donor, said in ((None, "original"), (open_directory(larger), "other|different")):
        with pytest.raises(UnavailableError, match=said):
            attack.measure(subjects["llama"], AttackContext(evaluator, 0, tmp_path, donor=donor))


def test_levels_are_named_by_their_weight():
    assert CheckpointPair(CheckpointPairParameters()).variant == "weight 1"
    assert CheckpointPair(CheckpointPairParameters(weight=3, plausible=0.01)).variant == (
        "weight 3 plausible 0.01"
    )
