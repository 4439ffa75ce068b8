"""The three attacks on tiny models: what is taught, what is asked, and how K comes about."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import open_directory
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from attacks.quantization.calibration import generic_texts
from attacks.relearning import held_out_facts
from attacks.relearning.benign import Benign, BenignParameters
from attacks.relearning.family import phrasings
from attacks.relearning.fine_tuning import learner
from attacks.relearning.held_out_facts import HeldOutFacts, HeldOutFactsParameters
from attacks.relearning.rates import chosen_rate
from attacks.relearning.same_facts import SameFacts, SameFactsParameters
from auditor.attack import ATTACKS, AttackContext
from auditor.core.errors import (
    AuditorError,
    MeasurementError,
    MemoryExhaustedError,
    UnavailableError,
)
from auditor.core.facts import Fact, FactSets
from auditor.core.records import check_malformed
from auditor.data.folds import folds
from auditor.engine.expansion import instantiate
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.opening import locate
from auditor.models.preserve import weights_digest
from auditor.models.spec import PromptFormat

NAMES = ("relearning/held-out-facts", "relearning/benign", "relearning/same-facts")


def fact(person, attribute, answer):
    return Fact(
        id=f"{person}/{attribute}",
        entity=person,
        prompt=f"{person} {attribute}",
        answer=answer,
        paraphrases=(f"Tell me: {person} {attribute}",),
    )


def people(names):
    return tuple(
        fact(name, attribute, f"number {7 * i + j}")
        for i, name in enumerate(names)
        for j, attribute in enumerate(("lives in", "works in"))
    )


SETS = FactSets(forget=people(["Ann", "Bob", "Cy", "Di"]), retain=people(["Eve", "Flo"]))
SHORT = {"checkpoints": (2, 4), "batch_size": 4}


@pytest.fixture
def asking():
    return TextEvaluator(SETS, ["answer-probability", "exact-memorisation"])


def run(attack, subject, evaluator, tmp_path, seed=0):
    record = attack.measure(subject, AttackContext(evaluator, seed, tmp_path))
    check_malformed(record)
    return record


def attacks():
    return [
        HeldOutFacts(HeldOutFactsParameters(split="attribute", **SHORT)),
        HeldOutFacts(HeldOutFactsParameters(split="entity", method="full", **SHORT)),
        Benign(BenignParameters(data="retain", **SHORT)),
        Benign(BenignParameters(data="generic", **SHORT)),
        SameFacts(SameFactsParameters(max_steps=4, eval_steps=2, batch_size=4)),
        SameFacts(SameFactsParameters(max_steps=4, eval_steps=2, batch_size=4, known_by="exact")),
    ]


@pytest.mark.parametrize("index", range(6))
def test_every_forget_fact_once_and_the_same_again_with_the_same_seed(
    index, subjects, directories, asking, tmp_path
):
    attack, subject = attacks()[index], subjects["llama"]
    digest = weights_digest(subject.network)
    first = run(attack, subject, asking, tmp_path)
    assert weights_digest(subject.network) == digest
    metrics = [attack.metric] if attack.metric else list(asking.metrics)
    assert sorted((r.fact, r.metric) for r in first.rows) == sorted(
        (f.id, p) for f in SETS.forget for p in metrics
    )
    again = run(attack, open_directory(directories["llama"]), asking, tmp_path)
    assert (first.rows, first.notes) == (again.rows, again.notes)
    if not attack.metric:
        assert run(attack, subject, asking, tmp_path, seed=1).rows != first.rows


@pytest.mark.parametrize("name", NAMES)
def test_presets_have_names_of_their_own(name):
    levels = [instantiate(name, dict(preset.parameters)) for preset in ATTACKS.get(name).presets]
    assert len({level.variant for level in levels}) == len(levels)


def test_settings_that_differ_have_names_that_differ():
    def variant(**settings):
        return HeldOutFacts(HeldOutFactsParameters(**settings)).variant

    assert variant() == variant(learning_rates=(2e-4, 6e-4, 2e-3)) == "by attribute"
    assert variant(learning_rate=1e-3) == "by attribute rate 0.001"
    assert variant(learning_rates=(1e-4, 1e-3)) == "by attribute rates 0.0001 0.001"
    assert variant(method="full", learning_rate=1e-5, batch_size=8) == (
        "by attribute full rate 1e-05 batch 8"
    )
    assert variant(split="entity", rank=4) == "by entity rank 4"
    assert SameFacts(SameFactsParameters()).variant == "40 steps to K 0.5"
    assert SameFacts(SameFactsParameters(known_by="exact")).variant == "40 steps to exact"


@pytest.mark.parametrize("split", ["attribute", "entity"])
def test_a_fact_that_is_asked_was_not_taught(split, subjects, asking, tmp_path, monkeypatch):
    """Read off the tokens that are really trained on."""
    subject, plain, calls = subjects["llama"], held_out_facts.readings, []

    def spy(subject, evaluator, examples, settings, seed, checkpoints, taught, asked, rate):
        texts = [subject.tokenizer.decode(e.ids, skip_special_tokens=True) for e in examples]
        calls.append((texts, asked))
        return plain(subject, evaluator, examples, settings, seed, checkpoints, taught, asked, rate)

    monkeypatch.setattr(held_out_facts, "readings", spy)
    run(HeldOutFacts(HeldOutFactsParameters(split=split, **SHORT)), subject, asking, tmp_path)
    assert sorted(id_ for _, asked in calls for id_ in asked) == sorted(f.id for f in SETS.forget)
    for texts, asked in calls:
        taught = {f.id for f in SETS.forget if any(f.prompt in text for text in texts)}
        assert taught == {f.id for f in SETS.forget} - asked
        assert len(texts) == 2 * len(taught)  # the prompt and its paraphrase
        assert not taught & asked
        if split == "entity":
            assert not {i.partition("/")[0] for i in taught} & {i.partition("/")[0] for i in asked}


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 4)), min_size=1, max_size=8),
    st.sampled_from(["attribute", "entity"]),
)
def test_no_held_out_pair_is_among_the_training_pairs(people, split):
    facts = [
        Fact(
            id=f"{n}-{i}",
            entity=s,
            prompt=f"{n} {s} {i}?",
            answer=f"{i}",
            paraphrases=(f"{n}{i}",),
        )
        for n, (s, count) in enumerate(people)
        for i in range(count)
    ]
    try:
        parts = folds(facts, split)
    except ValueError:
        return
    for part in parts:
        assert not set(phrasings(part.given)) & set(phrasings(part.asked))
    assert sorted(f.id for part in parts for f in part.asked) == sorted(f.id for f in facts)
    assert min(len(part.given) for part in parts) >= len(facts) / 4, "no part is starved"


def test_entities_of_one_fact_each_starve_no_half():
    """Facts whose entities are their own ids would be taught one by one."""
    facts = [Fact(id=str(n), entity=str(max(n, 1)), prompt=f"q {n}", answer="a") for n in range(96)]
    with pytest.raises(ValueError, match="uneven: its parts hold 95, 1 facts"):
        folds(facts, "attribute")
    assert [len(part.asked) for part in folds(facts, "entity")] == [49, 47]


def test_k_is_the_mean_over_the_grid_and_the_curve_starts_untaught(subjects, asking, tmp_path):
    """Against one training a checkpoint, each by itself."""
    subject, seed = subjects["qwen2"], 3
    attack = Benign(BenignParameters(data="retain", **SHORT))
    record = run(attack, subject, asking, tmp_path, seed)
    pairs = [(p, f.answer) for f in SETS.retain for p in (f.prompt, *f.paraphrases)]
    questions = [(f.prompt, f.answer) for f in SETS.forget]

    def ks():
        return np.exp([score.mean_log_probability for score in subject.score(questions)])

    at = {0: ks()}
    for step in (2, 4):
        examples = subject.encode(pairs, end=True)
        with learner(subject, examples, attack.parameters, seed) as taught:
            taught.advance(step)
            at[step] = ks()
    found = [row.k for row in record.rows if row.metric == "answer-probability"]
    np.testing.assert_allclose(found, (at[2] + at[4]) / 2, rtol=1e-6)
    steps, means = zip(*record.notes["curve"], strict=True)
    assert steps == (0, 2, 4)
    np.testing.assert_allclose(means, [at[s].mean() for s in steps], rtol=1e-6)
    assert json.loads(json.dumps(record.notes))["examples"] == 8


def test_the_same_facts_are_learned_at_last(subjects, tmp_path):
    """A long training makes all known; K is 1 - t / limit, as the notes count it."""
    subject, sets = subjects["llama"], FactSets(forget=SETS.forget[:4])
    evaluator = TextEvaluator(sets, ["answer-probability"])
    settings = SameFactsParameters(max_steps=60, eval_steps=5, batch_size=8, learning_rate=3e-3)
    record = run(SameFacts(settings), subject, evaluator, tmp_path)
    known_after = dict(record.notes["known_after"])
    assert record.notes["never"] == 0
    assert sum(known_after.values()) == 4
    assert sorted(row.k for row in record.rows) == sorted(
        1 - step / 60 for step, count in known_after.items() for _ in range(count)
    )
    assert {row.metric for row in record.rows} == {"recovery-speed"}
    exact = settings.model_copy(update={"known_by": "exact"})
    assert run(SameFacts(exact), subject, evaluator, tmp_path).notes["never"] == 0
    untaught = settings.model_copy(update={"max_steps": 2, "eval_steps": 1})
    record = run(SameFacts(untaught), subject, evaluator, tmp_path)
    assert record.notes["never"] == 4
    assert {row.k for row in record.rows} == {0.0}


def test_no_retain_set_no_benign_facts(subjects, tmp_path):
    alone = TextEvaluator(FactSets(forget=SETS.forget), ["answer-probability"])
    with pytest.raises(UnavailableError, match="no retain set to train on"):
        run(Benign(BenignParameters()), subjects["llama"], alone, tmp_path)
    generic = Benign(BenignParameters(data="generic", **SHORT))
    assert len(run(generic, subjects["llama"], alone, tmp_path).rows) == len(SETS.forget)


def test_generic_text_is_shown_to_the_checks_and_decides_the_job():
    generic, retain = (Benign(BenignParameters(data=on)) for on in ("generic", "retain"))
    assert list(generic.texts()) == generic_texts(256, 2)
    assert generic.inputs().keys() == {"texts"}
    assert not retain.texts()
    assert not retain.inputs()


@pytest.mark.parametrize(
    ("split", "facts", "reason"),
    [
        ("entity", SETS.forget[:2], "too few entities"),
        ("attribute", SETS.forget[::2], "no entity has enough facts"),
    ],
)
def test_a_split_that_cannot_be_is_said_to_be_unavailable(split, facts, reason, subjects, tmp_path):
    evaluator = TextEvaluator(FactSets(forget=facts), ["answer-probability"])
    with pytest.raises(UnavailableError, match=reason):
        run(
            HeldOutFacts(HeldOutFactsParameters(split=split)),
            subjects["llama"],
            evaluator,
            tmp_path,
        )


@pytest.mark.parametrize(
    "settings", [{"checkpoints": []}, {"checkpoints": [4, 4]}, {"checkpoints": [0]}]
)
def test_a_grid_that_is_none_is_refused(settings):
    for name in NAMES[:2]:
        with pytest.raises(AuditorError, match="ascending order"):
            instantiate(name, settings)


def test_intervals_that_miss_the_limit_are_refused():
    with pytest.raises(AuditorError, match=r"`eval_steps` \(7\) must divide `max_steps` \(40\)"):
        instantiate("relearning/same-facts", {"eval_steps": 7})


def test_prompts_in_a_chat_template_are_taught_as_they_are_asked(directories, asking, tmp_path):
    subject = open_directory(directories["llama"], prompt_format=PromptFormat(chat=True))
    subject.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    )
    for attack in attacks()[:4]:
        assert len(run(attack, subject, asking, tmp_path).rows) == 2 * len(SETS.forget)


def test_rounded_weights_are_trained_beside_and_never_themselves(directories, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(
        directories["llama"], quantization_config=BitsAndBytesConfig(load_in_8bit=True)
    )
    model.save_pretrained(tmp_path / "int8")
    location = locate(CausalLMSpec(path=str(tmp_path / "int8")))
    for name in NAMES:
        assert instantiate(name, {}).unavailable(location) is None
        reason = instantiate(name, {"method": "full"}).unavailable(location)
        assert reason.code == "quantized_weights_not_trainable"
        assert reason.params == {"method": "bitsandbytes"}


def test_want_of_memory_chooses_no_learning_rate():
    """A rate that diverges ends the trials; memory that runs out would have at any rate."""
    faults = {2e-3: MeasurementError("the loss is not finite")}

    def attempt(rate):
        if rate in faults:
            raise faults[rate]
        return 0.5

    assert [trial.rate for trial in chosen_rate(attempt, (2e-4, 6e-4, 2e-3))] == [6e-4, 2e-4]
    faults[2e-3] = MemoryExhaustedError("out of memory while training on one example")
    with pytest.raises(MemoryExhaustedError):
        chosen_rate(attempt, (2e-4, 6e-4, 2e-3))
