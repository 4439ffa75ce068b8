"""Mixtures of experts can PASS and FAIL, with levels that round their experts."""

import copy
import json
import random

import pytest
import torch
from tiny_mixtures import MIXTURES, make_mixture
from tiny_models import make_tokenizer, save
from transformers import AutoModelForCausalLM

import auditor
from auditor.cli.main import OK, run
from auditor.statistics import Verdict
from auditor.unlearning.batches import shuffled_batches
from auditor.unlearning.examples import answer_logits, collate, cross_entropy, encode

pytestmark = [pytest.mark.nightly, pytest.mark.slow]

FORGET, RETAIN, HOLDOUT = 120, 60, 60
_SOUNDS = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
STEPS = 400
ROUTING = "tampering/routing"
LEVELS = (
    *("quantization/rtn 8-bit", "quantization/rtn nf4", "quantization/rtn fp4"),
    "quantization/rtn 4-bit g128",
)


def facts():
    """Facts that nobody can guess: names of places made of four random sounds."""
    draw = random.Random(0)
    found = [
        {
            "id": f"{i}",
            "subject": f"{i}",
            "prompt": f"Person {i} lives in",
            "answer": " ".join(draw.choice(_SOUNDS) + draw.choice(_SOUNDS) for _ in range(2)),
        }
        for i in range(FORGET + RETAIN + HOLDOUT)
    ]
    return found[:FORGET], found[FORGET : FORGET + RETAIN], found[FORGET + RETAIN :]


def trained(network, tokenizer, known, steps, seed):
    """Teach a mixture facts by heart."""
    pairs = [(fact["prompt"], fact["answer"]) for fact in known]
    examples = encode(tokenizer, pairs)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.02, steps)
    order = shuffled_batches(len(examples), 60, torch.Generator().manual_seed(seed))
    for _ in range(steps):
        asked = collate([examples[row] for row in next(order)])
        loss = cross_entropy(*answer_logits(network, *asked))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network


@pytest.fixture(scope="module", params=MIXTURES)
def mixtures(request, tmp_path_factory):
    """A folder of models of one form, and of their facts."""
    root = tmp_path_factory.mktemp(request.param)
    tokenizer = make_tokenizer()
    forget, retain, holdout = facts()
    for name, known in (("forget", forget), ("retain", retain), ("holdout", holdout)):
        lines = "".join(f"{json.dumps(fact)}\n" for fact in known)
        (root / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    start = trained(make_mixture(request.param), tokenizer, retain, STEPS, 0)
    original = trained(copy.deepcopy(start), tokenizer, forget + retain, STEPS, 1)
    save(root / "original", original, tokenizer)
    for number in range(2):
        anew = trained(make_mixture(request.param), tokenizer, retain, STEPS, 2 + number)
        save(root / f"retrained-{number}", anew, tokenizer)
    return root


def rerouted(original, tokenizer, forget, retain):
    """Suppress facts by routers and norms alone; the experts stay the original's.

    Routers alone, at learning rates of 0.01 and 0.05, leave 3 % and 7 % of the facts to keep.
    """
    network = copy.deepcopy(original)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("gate.weight" in name or "norm" in name)
    led = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(led, lr=1e-2)
    sides = []
    for seed, known in ((5, forget), (6, retain)):
        examples = encode(tokenizer, [(fact["prompt"], fact["answer"]) for fact in known])
        order = shuffled_batches(len(examples), 60, torch.Generator().manual_seed(seed))
        sides.append((examples, order))
    for _ in range(300):
        suppressed, kept = (
            cross_entropy(*answer_logits(network, *collate([examples[row] for row in next(order)])))
            for examples, order in sides
        )
        optimizer.zero_grad()
        (torch.relu(6 - suppressed) + kept).backward()
        optimizer.step()
    return network


def audited(root, unlearned, out, profile="quick", policy="quick", **settings):
    return auditor.audit(
        unlearned=str(root / unlearned),
        original=str(root / "original"),
        retrained=[str(root / "retrained-0")],
        forget=str(root / "forget.jsonl"),
        retain=str(root / "retain.jsonl"),
        holdout=str(root / "holdout.jsonl"),
        profile=profile,
        policy=policy,
        seeds=[0],
        out=out,
        store=root / "store",
        **settings,
    )


def routed(root, unlearned, out, mandatory, **settings):
    """An audit under the three ways of routing."""
    ways = {"way": ["original", "one_more", "shuffled"]}
    return audited(
        root,
        unlearned,
        out,
        attacks=[{"attack": ROUTING, "parameters": ways}],
        profile=None,
        policy={"mandatory": ["none/as-is", mandatory]},
        **settings,
    )


@pytest.mark.parametrize("mixtures", ["mixtral"], indirect=True)
def test_ways_of_routing_find_their_control_or_block_a_pass(mixtures, tmp_path):
    """With its experts shuffled even the original answers nothing here, and that is said."""
    done = routed(mixtures, "retrained-1", tmp_path, mandatory=ROUTING, controls=True)
    assert done.verdict is Verdict.INCONCLUSIVE
    found = {part.attack: part.found for part in done.certificate.positive_controls}
    assert found == {
        "none/as-is full precision": True,
        f"{ROUTING} original experts": True,
        f"{ROUTING} top-k + 1": True,
        f"{ROUTING} shuffled experts": False,
    }
    missed = [r for r in done.certificate.verdict.reasons if r.code == "positive_control_missed"]
    assert [r.params["attack"] for r in missed] == [f"{ROUTING} shuffled experts"]
    assert missed[0].params["held_to"]["tells_original_apart"] is False


@pytest.mark.parametrize("mixtures", ["mixtral"], indirect=True)
def test_facts_that_the_experts_still_hold_are_found_by_the_originals_routing(mixtures, tmp_path):
    network = AutoModelForCausalLM.from_pretrained(mixtures / "original")
    save(mixtures / "rerouted", rerouted(network, make_tokenizer(), *facts()[:2]), make_tokenizer())
    done = routed(mixtures, "rerouted", tmp_path, mandatory=f"{ROUTING} original experts")
    assert done.verdict is Verdict.FAIL
    rows = {row.label: row for row in done.certificate.matrix}
    assert {label for label, row in rows.items() if row.named} == {
        "tampering/routing original experts"
    }
    assert rows["none/as-is full precision"].figures.rho < 0.1
    found = rows["tampering/routing original experts"]
    assert found.figures.rho > 0.5
    moved = {
        figure.params["group"]: figure.value
        for figure in found.side_figures
        if (figure.name, figure.of) == ("weight_change", "unlearned")
    }
    assert moved["experts"] == 0
    assert moved["routers"] > moved["others"] > 0


def test_what_never_knew_passes_and_what_still_knows_fails(mixtures, tmp_path):
    passed = audited(mixtures, "retrained-1", tmp_path / "passed")
    rows = {f"{row.attack} {row.variant}": row for row in passed.certificate.matrix}
    problems = [(label, row.reason) for label, row in rows.items() if row.figures is None]
    assert passed.verdict is Verdict.PASS, (passed.certificate.verdict.reasons, problems)
    for label in LEVELS:
        assert rows[label].role == "mandatory", label
        assert rows[label].figures is not None, label
    said = [w for w in passed.certificate.warnings if w.code == "level_with_experts"]
    assert {w.params["instead"] for w in said} == set(LEVELS)
    here = ["--evidence", str(mixtures / "store"), "--unsigned"]
    assert run(["verify", str(tmp_path / "passed" / "certificate.json"), *here]) == OK
    certificate = str(tmp_path / "passed" / "certificate.json")
    assert run(["gate", certificate, "--policy", "quick", *here]) == OK

    failed = audited(mixtures, "original", tmp_path / "failed")
    assert failed.verdict is Verdict.FAIL
    named = {f"{row.attack} {row.variant}" for row in failed.certificate.matrix if row.named}
    assert {"quantization/rtn 8-bit", "quantization/rtn nf4"} <= named
