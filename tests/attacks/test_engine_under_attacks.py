"""Attacks that change models find with an engine what they find without one."""

import pytest
from text_engines import open_served, use_worker

from auditor.api.measuring import attack_with, load_facts, load_model, record_of
from auditor.core.arms import Arm
from auditor.core.facts import FactSets
from auditor.core.findings import Finding

METRICS = ("answer-probability", "rouge-l-recall")
STRONG = (
    ("tampering/noise", {"relative_std": 1.5}),
    ("tampering/pruning", {"sparsity": 0.9}),
    ("quantization/rtn", {"bits": 2}),
    ("tampering/interpolation", {"step": 2.0}),
    ("relearning/benign", {"checkpoints": (20,)}),
    ("prompting/soft", {"num_steps": 8}),
)
"""Attacks whose texts are others than those of the model as it is."""
OTHERS = (
    ("quantization/bnb", {"format": "nf4"}),
    ("quantization/half-types", {}),
    ("relearning/same-facts", {"method": "full", "max_steps": 4, "eval_steps": 4}),
    ("relearning/same-facts", {"max_steps": 4, "eval_steps": 2}),
    ("relearning/held-out-facts", {"checkpoints": (2,)}),
    ("steering/suppression", {"layers": 1, "steps": 1, "strengths": (1.0,)}),
    ("steering/refusal-direction", {"min_refusal_rate": 0.0}),
    ("tampering/graft", {}),
    ("tampering/graft-blocks", {}),
    ("tampering/revive", {}),
    ("probing/mode-connectivity", {}),
    ("prompting/original-tokenizer", {}),
)
"""Attacks that may leave them as they are on so few facts."""


@pytest.fixture(scope="module")
def sets(people):
    forget, retain, holdout = (
        load_facts(people.facts(name), set_name=name)[:8]
        for name in ("forget", "retain", "holdout")
    )
    return FactSets(forget=forget, retain=retain, holdout=holdout)


def found(name, parameters, model, sets, original):
    """Rows of an attack, after its searches where it has some."""
    attack, pool = attack_with(name, parameters), []
    if attack.searches:
        searched = record_of(attack, model, sets, metrics=METRICS, searching=True)
        pool = [Finding(Arm.UNLEARNED, own=True, record=searched)]
    return record_of(attack, model, sets, metrics=METRICS, pool=pool, original=original).rows


def written(rows):
    return [(row.set, row.fact, row.answer) for row in rows if row.metric == "rouge-l-recall"]


def compared(name, parameters, people, sets, monkeypatch):
    """Rows as released and under attack, with an engine, which must be those without."""
    use_worker(monkeypatch)
    if name == "tampering/interpolation":
        parameters = {**parameters, "base": str(people.model_path("retrained-0"))}
    folder = people.model_path("npo_gdr")
    plain, original = load_model(folder), load_model(people.model_path("original"))
    served = open_served(folder)
    try:
        as_is = found("none/as-is", {}, plain, sets, original)
        assert found("none/as-is", {}, served, sets, original) == as_is
        engine = served.use.engine
        assert engine > 0
        rows = found(name, parameters, served, sets, original)
        assert served.use.refused is None
        assert rows == found(name, parameters, plain, sets, original)
        before = served.use.engine
        assert found("none/as-is", {}, served, sets, original) == as_is
        assert served.use.engine - before == engine, "what is as it was is written by the engine"
    finally:
        served.close()
    return as_is, rows


@pytest.mark.parametrize(("name", "parameters"), STRONG, ids=lambda each: str(each))
def test_attacks_that_change_texts_change_them_with_an_engine(
    name, parameters, people, sets, monkeypatch
):
    as_is, rows = compared(name, parameters, people, sets, monkeypatch)
    assert written(rows)
    assert set(written(rows)) - set(written(as_is))


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "parameters"), OTHERS, ids=lambda each: str(each))
def test_an_engine_changes_nothing_of_what_other_attacks_find(
    name, parameters, people, sets, monkeypatch
):
    compared(name, parameters, people, sets, monkeypatch)
