"""The suffix search as an attack: what is given, what is asked, what is pooled and reported."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import ARCHITECTURES, open_directory

from attacks.prompting.cross_fitted import CrossFittedSearch, drawn_pairs
from attacks.prompting.gcg import GCG, GCGParameters
from attacks.prompting.soft_prompt import SoftPrompt, SoftPromptParameters
from auditor.attack import AttackContext
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.facts import Fact, FactSets
from auditor.core.findings import Finding
from auditor.core.records import Record
from auditor.models.language.evaluator import TextEvaluator
from auditor.models.preserve import weights_digest
from auditor.statistics.effect import effect_note

FACTS = tuple(
    Fact(
        id=f"{person}/{attribute}",
        entity=f"person {person}",
        prompt=f"Person {person} {attribute} in",
        paraphrases=(f"Where person {person} {attribute}:",),
        answer=f"{attribute} city {person * 7}",
    )
    for person in range(4)
    for attribute in ("lives", "works")
)
SMALL = {
    "suffix_length": 3,
    "num_steps": 3,
    "search_width": 6,
    "topk": 8,
    "batch_size": 3,
}


def evaluator(facts=FACTS):
    return TextEvaluator(FactSets(forget=facts), ["answer-probability", "rouge-l-recall"])


class Recording(CrossFittedSearch):
    """Keeps what a search is given instead of searching."""

    variant = "recording"
    search_tokens = evaluated = None

    def search_part(self, subject, pairs, seed):
        self.pairs = pairs
        return Record()


Recording.__abstractmethods__ = frozenset()


@pytest.mark.parametrize("split", ["attribute", "entity"])
@pytest.mark.parametrize("scope", ["universal", "per-entity"])
@pytest.mark.parametrize("phrasings", [1, 2, 5])
@pytest.mark.parametrize("parameters", [GCGParameters, SoftPromptParameters])
def test_held_out_facts_are_never_in_a_search(split, scope, phrasings, parameters):
    if scope == "per-entity" and split == "entity":
        with pytest.raises(ValueError, match="per-entity"):
            parameters(split=split, scope=scope)
        return
    attack = Recording(parameters(split=split, scope=scope, phrasings=phrasings))
    attack.search(None, AttackContext(evaluator(), 0, Path("unused")))
    parts = attack.parts(FACTS)
    assert sorted(f.id for part in parts for f in part.asked) == sorted(f.id for f in FACTS)
    for part, pairs in zip(parts, attack.pairs, strict=True):
        prompts, answers = {p for p, _ in pairs}, {a for _, a in pairs}
        for fact in part.asked:
            assert not prompts & {fact.prompt, *fact.paraphrases}
            assert fact.answer not in answers
        assert len(pairs) == len(part.given) * min(phrasings, 2)
        assert answers == {f.answer for f in part.given}
        if scope == "per-entity":
            assert len({f.entity for f in (*part.given, *part.asked)}) == 1


def found(subject, attack, own=True, arm="unlearned", seed=0):
    return Finding(
        arm, own, attack.search(subject, AttackContext(evaluator(), seed, Path("unused")))
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gcg_on_every_architecture(subjects, architecture, tmp_path):
    subject, attack = subjects[architecture], GCG(GCGParameters(**SMALL))
    before = weights_digest(subject.network)
    own = found(subject, attack)
    assert own.record.notes == found(subject, attack).record.notes
    pool = [own, found(subject, attack, own=False, arm="original", seed=1)]
    record = attack.measure(subject, AttackContext(evaluator(), 0, tmp_path, pool))
    plain = {(r.fact, r.metric): r.k for r in evaluator().evaluate(subject, ("forget",))}
    assert {(r.fact, r.metric) for r in record.rows} == plain.keys()
    assert all(row.k >= plain[row.fact, row.metric] for row in record.rows)
    assert weights_digest(subject.network) == before
    json.dumps(record.notes)


def test_k_is_the_strongest_of_the_pool_and_the_plain_prompt(subjects, tmp_path):
    subject, attack = subjects["llama"], GCG(GCGParameters(**SMALL))
    suffixes = {"unlearned": [" city", " lives"], "original": [" works in", " Person"]}
    losses = {"loss_before": [2.0, 2.0], "loss_after": [1.0, 1.5]}
    pool = [
        Finding(arm, arm == "unlearned", Record(notes={"suffixes": texts, **losses}))
        for arm, texts in suffixes.items()
    ]
    record = attack.measure(subject, AttackContext(evaluator(), 0, tmp_path, pool))

    def k(fact, suffix):
        (score,) = subject.score([(fact.prompt + suffix, fact.answer)])
        return float(np.exp(score.mean_log_probability))

    # facts of a person alternate between the halves: lives 0, works 1
    part = {fact.id: index % 2 for index, fact in enumerate(FACTS)}
    rows = {row.fact: row.k for row in record.rows if row.metric == "answer-probability"}
    for fact in FACTS:
        tried = ["", *(texts[part[fact.id]] for texts in suffixes.values())]
        assert rows[fact.id] == pytest.approx(max(k(fact, s) for s in tried), rel=1e-4)
    own = suffixes["unlearned"]
    held_out = np.mean([k(f, own[part[f.id]]) for f in FACTS])
    given = np.mean([k(f, own[1 - part[f.id]]) for f in FACTS])
    assert record.notes["held_out"]["after"] == pytest.approx(held_out, rel=1e-4)
    assert record.notes["given"]["after"] == pytest.approx(given, rel=1e-4)
    plain = np.mean([k(f, "") for f in FACTS])
    assert record.notes["given"]["before"] == pytest.approx(plain, rel=1e-4)
    assert record.notes["search_loss"] == {"before": 2.0, "after": 1.25}

    figures = {(f.name, f.of): f.value for f in attack.side_figures({"unlearned": record.notes})}
    assert figures["final_search_loss", "unlearned"] == 1.25
    assert figures["k_of_facts_searched_with", "unlearned"] == pytest.approx(given)
    assert figures["k_of_facts_held_out", "unlearned"] == pytest.approx(held_out)
    assert record.notes["effect"] == effect_note("search_loss", 2.0, 1.25)


def test_no_more_prompts_are_searched_with_than_asked_for(subjects):
    pairs = [[(f"prompt {i}", f"answer {i}") for i in range(20)]]
    few = GCG(GCGParameters(**SMALL, prompts=5))
    drawn = drawn_pairs(pairs[0], 5, 0)
    assert len(drawn) == 5
    assert drawn == sorted(drawn, key=pairs[0].index)
    assert drawn == drawn_pairs(pairs[0], 5, 0) != drawn_pairs(pairs[0], 5, 1)
    assert drawn_pairs(pairs[0], 96, 0) == pairs[0]
    context = AttackContext(evaluator(), 0, Path("unused"), progress=(steps := []).append)
    assert few.search_part(subjects["llama"], pairs, context).notes["evaluated"] == [18]
    assert steps == [f"suffix 1 of 1, step {step} of 3" for step in (1, 2, 3)]


def test_a_pool_without_the_measured_arm_is_no_measurement(subjects, tmp_path):
    attack = GCG(GCGParameters(**SMALL))
    with pytest.raises(MeasurementError, match="pool"):
        attack.measure(subjects["llama"], AttackContext(evaluator(), 0, tmp_path))


def test_facts_that_cannot_be_split_say_what_to_do(directories):
    single = tuple(f.model_copy(update={"entity": f.id}) for f in FACTS)
    subject = open_directory(directories["llama"])
    for scope in ("universal", "per-entity"):
        with pytest.raises(UnavailableError, match="split: entity"):
            GCG(GCGParameters(scope=scope)).search(
                subject, AttackContext(evaluator(single), 0, Path("unused"))
            )
    with pytest.raises(UnavailableError, match="split: attribute"):
        GCG(GCGParameters(split="entity", folds=5)).search(
            subject, AttackContext(evaluator(), 0, Path("unused"))
        )


@pytest.mark.parametrize("attack", [GCG, SoftPrompt])
def test_levels_have_names_of_their_own(attack):
    variants = [attack(attack.parameters_type(**preset.parameters)) for preset in attack.presets]
    assert len({v.variant for v in variants}) == len(variants)
    assert all(v.forward_tokens(1000) > 1000 for v in variants)
    assert not any(preset.mandatory for preset in attack.presets)
