"""A certificate as large as audits get: 40 variants on 5,000 facts, five models, three seeds."""

import random
from typing import Any

from hand_made_certificates import QUESTIONS, honest_certificate, labels_of
from hand_made_rows import ARMS, BROKEN, METRIC, by_arm, learning_curves, roc_curves, row, sha

from auditor.certificate.schema import Certificate

FACTS, VARIANTS, SEEDS = 5000, 40, 3
ENTITIES, WORST_FACTS = 200, 100
LAYERS = tuple(
    f"model.layers.{layer}.{part}"
    for layer in range(22)
    for part in (
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    )
)


def large_certificate() -> Certificate:
    """A FAIL: two leaks, one of them of a single fact among thousands that are gone."""
    draw = random.Random(0)
    rows = [_row(number, draw) for number in range(VARIANTS)]
    labels = [f"{told['attack']} {told['variant']}" for told in rows]
    entities = [f"Person {number} of the forget set" for number in range(ENTITIES)]
    keys = [key for told in rows for keys in told["jobs"].values() for key in keys]
    small = honest_certificate("FAIL")
    identity = small.identity.model_dump()
    scope = small.scope.model_dump()
    scope["sets"] = {
        name: {"facts": FACTS, "entities": FACTS // 20} for name in ("forget", "retain", "holdout")
    }
    policy = small.policy.model_dump() | {
        "mandatory": labels_of(rows, "mandatory"),
        "advisory": labels_of(rows, "advisory"),
        "reported": [],
        "waivers": [],
    }
    return honest_certificate(
        "FAIL",
        matrix=rows,
        identity=identity,
        scope=scope,
        policy=policy,
        worst_entities=[
            {
                "entity": entity,
                "facts": 20,
                "attack": labels[1],
                "metric": METRIC,
                "k": by_arm(0.95 - 0.003 * number, 0.2, 0.97),
            }
            for number, entity in enumerate(entities)
        ],
        worst_facts=[_worst_fact(number, entities, labels[1]) for number in range(WORST_FACTS)],
        evidence={"jobs": {key: sha(key) for key in keys}, "digest": sha("all")},
        timing=small.timing.model_dump() | {"attack_seconds": dict.fromkeys(labels, 612.5)},
    )


def _row(number: int, draw: random.Random) -> dict[str, Any]:
    leaks = number == 1
    known = (0.8 if leaks else draw.uniform(0.2, 0.24), 0.22, 0.93)
    role = "mandatory" if number < 30 else "advisory"
    if number % 13 == 12:
        told = row(
            f"prompting/search-{number}",
            "suffix of 20 tokens",
            None,
            status="failed",
            reason=BROKEN,
            role=role,
        )
    elif number % 8 == 7:
        curves = learning_curves(draw.uniform(0.2, 0.5), 0.3)
        told = row(f"relearning/lora-{number}", "64 steps", known, curves=curves)
    elif number % 8 == 6:
        powers = {arm: 0.2 if arm == "original" else draw.uniform(0.8, 1.2) for arm in ARMS}
        curves = tuple(
            curve | {"points": _fine(powers[curve["of"]])} for curve in roc_curves(powers)
        )
        told = row(f"membership/score-{number}", "20 %", known, role="advisory", curves=curves)
    else:
        name = f"{2 + number % 7} bit, group {16 << number % 4}"
        flips = 0.002 if leaks else draw.uniform(0.1, 0.5)
        told = row(f"quantization/method-{number}", name, known, role=role, flips=flips)
        told["explanation"]["layers"] = {
            layer: min(1.0, flips * draw.uniform(0.3, 1.7)) for layer in LAYERS
        }
    [reading] = told["readings"]
    if reading["figures"]:
        leaked = 3900 if leaks else int(number == 2)
        leak = {"leaked": leaked, "eligible": FACTS, "rate": leaked / FACTS, "upper": 1.0}
        reading["figures"] |= {"facts": FACTS, "units": FACTS, "leak": leak}
        reading["distribution"] = {
            "unlearned": _spread(draw, leaked=leaked),
            "retrained": _spread(draw, leaked=0),
        }
        told["jobs"] = {
            arm: [sha(f"{number} {arm} {seed}") for seed in range(SEEDS)] for arm in ARMS
        }
    return told


def _fine(power: float) -> list[tuple[float, float]]:
    """As many points as an attack may report."""
    return [(step / 199, (step / 199) ** power) for step in range(200)]


def _spread(draw: random.Random, leaked: int) -> list[int]:
    """Facts by D: all near 0 but for those that leaked, which are at 0.9."""
    counts = [0] * 40
    for _ in range(FACTS - leaked):
        counts[min(max(int(20 + draw.gauss(0, 3)), 5), 29)] += 1
    counts[38] += leaked
    return counts


def _worst_fact(number: int, entities: list[str], attack: str) -> dict[str, Any]:
    asked, right, _ = QUESTIONS[number % len(QUESTIONS)]
    entity = entities[number % len(entities)]
    long = f"{entity} is said to be known for many things, and {right} is one of them. " * 6
    return {
        "fact": f"fact-{number:05d}",
        "entity": entity,
        "prompt": asked.format(entity),
        "answer": f"It is {right}.",
        "attack": attack,
        "metric": METRIC,
        "k": by_arm(0.98, 0.1, 0.99),
        "said": dict.fromkeys(ARMS, long),
    }
