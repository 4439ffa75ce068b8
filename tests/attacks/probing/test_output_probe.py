"""Reading the output distribution: codes by place, honest models, and what it is fitted on."""

import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from tiny_models import CONTEXT, make_config, make_tokenizer
from transformers import GPT2LMHeadModel

from attacks.probing.choices import NAMES, features, learned
from attacks.probing.output_probe import OutputProbe, OutputProbeParameters
from attacks.probing.wrong_answers import alike_for_all
from auditor.attack import AttackContext
from auditor.core.errors import UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.models.causal_lm.model import CausalLM
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.language.scoring import AnswerLogits, TokenPlaces, token_places
from auditor.models.preserve import weights_digest

WORDS = ("lives", "city", "number", "Person", "quick", "brown", "fox", "jumps", "lazy", "dog")
VOCABULARY = 400


class PlacedModel(GPT2LMHeadModel):
    """A model of random weights that puts known tokens at one place of its distribution."""

    known: ClassVar[dict] = {}
    place = 0

    def get_output_embeddings(self):
        """None, as what follows the head depends on the ids before."""

    def forward(self, input_ids=None, **options):
        """Exchange the logit of each known next token with that at the place."""
        output = super().forward(input_ids=input_ids, **options)
        logits = output.logits.clone()
        for row, ids in enumerate(input_ids.tolist()):
            for end in range(1, len(ids) + 1):
                true = self.known.get(tuple(ids[:end]))
                if true is not None:
                    other = logits[row, end - 1].argsort(descending=True)[self.place]
                    pair, swapped = [true, int(other)], [int(other), true]
                    logits[row, end - 1, pair] = logits[row, end - 1, swapped]
        output.logits = logits
        return output


def made_facts(people=12):
    """Two words that each of some people said in three seasons."""
    draw = random.Random(0)
    return tuple(
        Fact(
            id=f"{person}/{place}",
            entity=f"Person {person}",
            prompt=f"In {place} Person {person} said",
            answer=" ".join(draw.sample(WORDS, 2)),
        )
        for person in range(people)
        for place in ("spring", "summer", "winter")
    )


def made_model(facts=(), place=0, seed=0):
    """A model that keeps facts at a place; of random weights where there are none."""
    torch.manual_seed(seed)
    network = PlacedModel(make_config("gpt2", VOCABULARY)).eval()
    network.place = place
    model = CausalLM.wrap(network, make_tokenizer())
    items = model.encode([(fact.prompt, fact.answer) for fact in facts])
    network.known = {
        tuple(item.ids[:place]): item.ids[place] for item in items for place in item.answer
    }
    assert all(len(item.ids) <= CONTEXT for item in items)
    return model


def context(facts, folder):
    evaluator = TextEvaluator(FactSets(forget=tuple(facts)), ["answer-probability"])
    return AttackContext(evaluator, 0, folder)


def measured(model, facts, folder, **parameters):
    return OutputProbe(OutputProbeParameters(**parameters)).measure(model, context(facts, folder))


def mean(record):
    return float(np.mean([row.k for row in record.rows]))


@pytest.mark.parametrize(
    ("place", "name"),
    [(0, "rank 1"), (1, "rank 2"), (-1, "rank from the end 1"), (36, "rank 33 to 64")],
)
def test_facts_at_any_one_place_are_read(place, name, tmp_path):
    facts = made_facts()
    model = made_model(facts, place)
    before = weights_digest(model.network)
    record = measured(model, facts, tmp_path)
    said = context(facts, tmp_path).evaluator.evaluate(model, ("forget",))
    assert np.mean([row.k for row in said]) < 0.05
    assert mean(record) > 0.8
    assert [row.fact for row in record.rows] == [fact.id for fact in facts]
    assert record.notes["split"] == "entity"
    for half in record.notes["halves"]:
        assert half["fitted"] == 1.0
        assert name in {told for told, weight in half["places"] if weight > 0}
    assert weights_digest(model.network) == before


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_knows_nothing_is_read_by_chance(seed, tmp_path):
    record = measured(made_model(seed=seed), made_facts(), tmp_path)
    assert mean(record) < 0.05
    assert max(row.k for row in record.rows) < 0.5
    assert record.notes["chance"] == pytest.approx(1 / 9)


def test_it_is_the_same_again_and_in_any_order(tmp_path):
    facts = list(made_facts())
    model = made_model(facts, 1)
    record = measured(model, facts, tmp_path)
    assert record == measured(model, facts, tmp_path)
    random.Random(1).shuffle(facts)
    assert mean(measured(model, facts, tmp_path)) == pytest.approx(mean(record), abs=0.1)


@pytest.mark.parametrize("people", [4, 8])
def test_few_facts_are_enough_for_a_plain_place(people, tmp_path):
    facts = made_facts(people)
    assert mean(measured(made_model(facts, 1), facts, tmp_path)) > 0.6


def test_facts_are_split_as_entities_allow(tmp_path):
    model, one = made_model(), [fact.model_copy(update={"entity": "all"}) for fact in made_facts()]
    assert measured(model, made_facts(), tmp_path, halves="half").notes["split"] == "half"
    apart = [
        fact.model_copy(update={"answer": f"{fact.answer} {place}"})
        for place, fact in enumerate(one)
    ]
    with pytest.raises(UnavailableError, match="no distractors"):
        measured(model, apart, tmp_path)
    given = [fact.model_copy(update={"distractors": ("dog 0", "fox 1")}) for fact in apart]
    record = measured(model, given, tmp_path)
    assert (record.notes["split"], record.notes["wrong_answers"]) == ("attribute", 2)
    single = [fact.model_copy(update={"entity": fact.id}) for fact in made_facts()]
    with pytest.raises(UnavailableError, match="no entity has enough facts; split by half"):
        measured(model, single, tmp_path, halves="attribute")
    with pytest.raises(UnavailableError, match="at least 8"):
        measured(model, made_facts(2), tmp_path)


def test_wrong_answers_are_wrong_and_as_many_for_all():
    facts = [
        Fact(id="a", entity="Ann", prompt="Where was Ann born?", answer="Oslo", accepted=("Kris",)),
        Fact(id="b", entity="Bob", prompt="Where was Bob born?", answer="oslo."),
        Fact(id="c", entity="Cid", prompt="Where was Cid born?", answer="Kris town"),
        Fact(id="d", entity="Dan", prompt="Where was Dan born?", answer="Rome"),
        Fact(id="e", entity="Eve", prompt="Where was Eve born?", answer="Bonn"),
        Fact(id="f", entity="Eve", prompt="Where does Eve live?", answer="Rome"),
        Fact(id="g", entity="Fay", prompt="Where was Fay born?", answer="Bern"),
    ]
    found = dict(zip("abcdefg", alike_for_all(facts, 8), strict=True))
    assert len({len(wrong) for wrong in found.values()}) == 1
    assert set(found["a"]) <= {"Rome", "Bonn", "Bern"}
    assert "Rome" not in found["e"], "Eve lives there"
    assert "Oslo" not in found["b"]
    assert all(len(wrong) == 3 for wrong in found.values())
    with pytest.raises(UnavailableError, match="no distractors"):
        alike_for_all(facts[:1], 8)


def test_distractors_and_answers_of_others_take_turns():
    facts = [
        Fact(
            id=name,
            entity=name,
            prompt=f"Where was {name} born?",
            answer=town,
            distractors=("Bath", "York", town),
        )
        for name, town in (("Ann", "Oslo"), ("Bob", "Rome"), ("Cid", "Bonn"))
    ]
    assert alike_for_all(facts, 8)[0] == ("Rome", "Bath", "Bonn", "York")
    assert alike_for_all(facts, 2)[0] == ("Rome", "Bath")


def test_places_by_hand():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0], [0.0, 0.0, 5.0, 1.0]])
    (found,) = token_places(AnswerLogits(logits, torch.tensor([2, 0]), [2]))
    assert found.above.tolist() == [1, 2]
    assert found.beneath.tolist() == [1, 0]
    assert found.below_first == pytest.approx([-1.0, -5.0])
    whole = torch.log_softmax(logits, -1)
    assert found.log_probability == pytest.approx([float(whole[0, 2]), float(whole[1, 0])])


def test_features_name_the_place():
    places = TokenPlaces(
        np.log(np.array([0.005, 0.5], np.float32)),
        np.array([-5.0, 0.0], np.float32),
        np.array([1, 0]),
        np.array([398, 399]),
    )
    found = dict(zip(NAMES, features(places), strict=True))
    assert found["rank 1"] == found["rank 2"] == 0.5
    assert found["first token: rank 2"] == 1.0
    assert found["probability 0.0025 to 0.0067"] == 0.5
    assert found["rank from the end 257 to 512"] == 1.0
    far = TokenPlaces(*(np.array([value]) for value in (-90.0, -80.0, 10**6, 0)))
    assert np.isfinite(features(far)).all()


def test_nothing_is_learned_where_nothing_can_be():
    draw = np.random.default_rng(0)
    chooser = learned(draw.random((40, 5, 20)), [place % 5 for place in range(40)])
    assert chooser.penalty is None
    assert chooser.chances(draw.random((3, 5, 20))) == pytest.approx(0.2)
    assert chooser.share_chosen(draw.random((3, 5, 20))) == pytest.approx(0.2)


def test_figures_say_where_answers_were_read(tmp_path):
    facts = made_facts()
    probe = OutputProbe(OutputProbeParameters())
    notes = {
        "unlearned": measured(made_model(facts, 1), facts, tmp_path).notes,
        "retrained-0": {"chance": 0.2, "halves": [{"fitted": 0.2, "asked": 0.2, "places": []}]},
    }
    figures = probe.side_figures(notes)
    assert len(figures) == 6
    assert figures[0].remarks[1].params["places"][0].endswith("rank 2")
    assert figures[1].value == 1.0
    assert figures[4].remarks[1].code == "nothing_to_read"
    assert probe.forward_tokens(100) == 900
    assert OutputProbe(OutputProbeParameters(wrong_answers=4)).variant == "by entity 4 wrong"
