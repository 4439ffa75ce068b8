"""Which pictures a certificate carries, and what it does with those that are none."""

from dataclasses import replace
from zlib import crc32

import pytest
from hand_made_pictures import drawn, noise, not_pictures, text_of
from hand_made_pictures import image_examples as honest_examples
from pydantic import ValidationError

from auditor.certificate.image_examples import FACTS, PER_ATTACK, image_examples
from auditor.certificate.inputs import DecisionInputs
from auditor.certificate.media import BUDGET, ImageExamplesPart
from auditor.core.arms import Arm
from auditor.core.attack_id import AttackId
from auditor.core.facts import Fact
from auditor.core.records import Row
from auditor.core.roles import Role
from auditor.policy import AS_IS, Policy
from auditor.store.columns import tabulate
from auditor.store.gathering import measured_evidence
from auditor.store.table import Evidence, EvidenceTable

ARMS = (Arm.UNLEARNED, Arm.ORIGINAL, Arm.retrained(0))
P = "concept-probability"
NO_PICTURES = not_pictures()


def fact(number):
    return Fact(
        id=f"f{number}", entity=f"s{number}", prompt=f"draw {number}", answer=f"shape {number}"
    )


def own(trial, arm, number):
    """A picture unlike any other."""
    return drawn("circle", colour=f"#{crc32(f'{trial} {arm} {number}'.encode()) >> 8:06x}")


def inputs(known, picture=own, decoy=None):
    """Inputs in which U knows `known[attack][fact]`, O all and R nothing.

    Args:
        known: name of an attack to K by fact.
        picture: of a fact by an arm under an attack.
        decoy: name of an attack whose measure is another.
    """
    count = len(next(iter(known.values())))
    evidence, names = [], list(known)
    for name, row in known.items():
        metric = "other" if name == decoy else P
        for arm in ARMS:
            k = {"unlearned": row, "original": [1.0] * count}.get(arm, [0.0] * count)
            rows = tabulate(
                Row("forget", f"f{i}", f"s{i}", metric, k[i], None, picture(name, arm, i))
                for i in range(count)
            )
            evidence.append(Evidence(AttackId.parse(name), arm, 0, rows))
    table, forget = EvidenceTable(evidence), [fact(i) for i in range(count)]
    return DecisionInputs(
        policy=Policy(),
        arms=ARMS,
        sets={"forget": forget, "retain": [], "holdout": []},
        deciding=(P,),
        reported=(),
        cross_checked=(),
        attacks=tuple(
            measured_evidence(
                table,
                AttackId.parse(name),
                Role.ADVISORY,
                ("other" if name == decoy else P,),
                {arm: (f"{name} {arm}",) for arm in ARMS},
                ARMS,
                forget,
                baseline=name.startswith(AS_IS),
            )
            for name in names
        ),
        table=table,
    )


def shown(part):
    return {f.fact: [view.attack for view in f.views] for f in part.facts}


def test_each_fact_is_shown_as_it_is_and_under_the_attack_that_brings_out_most():
    part = image_examples(
        inputs({f"{AS_IS} x": [0.0, 0.1], "a/b 1": [0.2, 0.9], "c/d": [0.6, 0.3]})
    )
    assert shown(part) == {
        "f1": [f"{AS_IS} x", "a/b 1", "c/d"],
        "f0": [f"{AS_IS} x", "c/d", "a/b 1"],
    }
    assert (part.pictured, part.left_out) == (2, 0)
    worst = part.facts[0]
    assert (worst.entity, worst.prompt, worst.answer) == ("s1", "draw 1", "shape 1")
    assert worst.views[1].k == {"unlearned": 0.9, "original": 1.0, "retrained-0": 0.0}
    assert worst.views[1].pictures == {
        arm: text_of(own("a/b 1", arm, 1)) for arm in ("unlearned", "original", "retrained-0")
    }


def test_a_leak_without_attack_is_still_shown_under_one():
    part = image_examples(inputs({f"{AS_IS} x": [0.9], "a/b": [0.5], "c/d": [0.4]}))
    assert shown(part) == {"f0": [f"{AS_IS} x", "a/b", "c/d"]}


def test_without_pictures_there_is_nothing():
    known = {f"{AS_IS} x": [0.1], "a/b": [0.5]}
    assert image_examples(inputs(known, lambda *_: None)) is None
    unmeasured = inputs(known)
    assert image_examples(replace(unmeasured, attacks=())) is None
    part = image_examples(
        inputs(known, lambda trial, *_: drawn("ring") if "a/b" in trial else None)
    )
    assert shown(part) == {"f0": ["a/b"]}


def test_attacks_with_another_measure_are_left_out():
    part = image_examples(inputs({f"{AS_IS} x": [0.1], "a/b": [0.5], "m/i": [0.9]}, decoy="m/i"))
    assert shown(part) == {"f0": [f"{AS_IS} x", "a/b"]}


def test_the_worst_facts_come_first_and_each_attack_keeps_its_own():
    many = [0.9 - 0.01 * i for i in range(30)]
    weak = [0.0] * 29 + [0.3]
    part = image_examples(inputs({f"{AS_IS} x": [0.0] * 30, "a/b": many, "c/d": weak}))
    names = [f.fact for f in part.facts]
    assert len(names) == FACTS
    assert names == [f"f{i}" for i in range(FACTS - 1)] + ["f29"]
    under = {label: [f for f, views in shown(part).items() if label in views] for label in (
        "a/b", "c/d"
    )}  # fmt: skip
    assert len(under["a/b"]) == FACTS
    assert "f29" in under["c/d"]
    assert len(under["c/d"]) == PER_ATTACK
    assert part.pictured == 30
    assert part.left_out == 90 - sum(len(f.views) for f in part.facts)


def test_what_does_not_fit_is_counted_and_the_worst_stays():
    heavy = inputs(
        {
            f"{AS_IS} x": [0.0] * 40,
            **{f"a/{n}": [0.5 - 0.01 * i for i in range(40)] for n in range(9)},
        },
        lambda *_: noise(64),
    )
    each = 3 * len(text_of(noise(64)))
    part = image_examples(heavy)
    views = [view for f in part.facts for view in f.views]
    assert len(views) == BUDGET // each
    assert part.left_out == 400 - len(views)
    assert [f.fact for f in part.facts] == [f"f{i}" for i in range(12)]
    few = image_examples(heavy, budget=3 * each)
    assert shown(few) == {"f0": [f"{AS_IS} x", "a/0"], "f1": [f"{AS_IS} x"]}
    assert ImageExamplesPart.model_validate(part.model_dump()) == part


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_does_not_get_in(content):
    def picture(trial, arm, number):
        bad = trial == "a/b" and (number or arm == "original")
        return content if bad else drawn("ring")

    part = image_examples(inputs({f"{AS_IS} x": [0.1, 0.1], "a/b": [0.5, 0.4]}, picture))
    assert shown(part) == {"f0": [f"{AS_IS} x", "a/b"], "f1": [f"{AS_IS} x"]}
    assert part.facts[0].views[1].pictures.keys() == {"unlearned", "retrained-0"}
    assert part.left_out == 1


def test_the_same_evidence_shows_the_same():
    known = {f"{AS_IS} x": [0.5] * 20, "a/b": [0.5] * 20, "c/d": [0.5] * 20}
    assert image_examples(inputs(known)) == image_examples(inputs(known))


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
def test_a_certificate_with_what_is_no_picture_is_refused(content):
    part = honest_examples()
    part["facts"][1]["views"][0]["pictures"]["original"] = text_of(content)
    with pytest.raises(ValidationError, match=r"a picture that|at most 21848 characters"):
        ImageExamplesPart.model_validate(part)


@pytest.mark.parametrize("form", [lambda t: t + "\n", lambda t: t[:-1], lambda t: f"data:,{t}"])
def test_base64_has_one_form(form):
    part = honest_examples()
    pictures = part["facts"][0]["views"][0]["pictures"]
    pictures["original"] = form(pictures["original"])
    with pytest.raises(ValidationError, match="base64"):
        ImageExamplesPart.model_validate(part)


def test_more_pictures_than_a_certificate_carries_are_refused():
    part = honest_examples()
    each = sum(len(p) for f in part["facts"] for v in f["views"] for p in v["pictures"].values())
    part["facts"] *= BUDGET // each
    ImageExamplesPart.model_validate(part)
    part["facts"] *= 2
    with pytest.raises(ValidationError, match="no more than 1,500,000 fit"):
        ImageExamplesPart.model_validate(part)
