"""A finished audit of any size, with evidence drawn at random: for timing what comes after it.

The store is written by the evidence store itself, and the certificate's figures are worked out
from it by the same code as an audit's; only the models are missing.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from auditor.attack import ATTACKS
from auditor.certificate.decision import decide_verdict
from auditor.certificate.files import write_certificate
from auditor.certificate.schema import Certificate
from auditor.core.facts import Fact, FactSets
from auditor.core.hashing import digest
from auditor.core.records import Cost, Record, Row
from auditor.engine.plan import parse_plan
from auditor.models.spec import PromptFormat
from auditor.policy import Policy
from auditor.statistics.effect import EFFECT_MEASURES, effect_note
from auditor.store.base import EvidenceStore
from auditor.store.environment import Environment
from auditor.store.folder_store import FolderStore
from auditor.verification.load import load_inputs
from auditor.verification.recompute import recomputed

SEED = 0
ARMS = ("unlearned", "original", "retrained-0", "retrained-1")
DECIDING = ("answer-probability", "answer-recall")
METRICS = (*DECIDING, "rouge-l-recall", "exact-memorisation")
MANDATORY = (
    "none/as-is full precision",
    "quantization/bnb int8",
    "quantization/bnb nf4",
    "quantization/bnb fp4",
    "quantization/gptq 4-bit g128",
    "prompting/prefill 1 token",
    "tampering/graft interfaces",
    "relearning/held-out-facts by attribute",
    "quantization/half-types bfloat16",
    "tampering/revive dormant units",
    "probing/output-probe by entity",
)


def large_audit(
    root: Path, facts: int, variants: int, leaking: int = 0, *, known: bool = True
) -> Path:
    """Write an evidence store and the certificate made from it.

    Args:
        root: folder; the certificate is written to ``certificate.json``, the store beside it.
        facts: facts of the forget set; the retain set is as large.
        variants: attacks at their levels, the mandatory ones of the release gate among them.
        leaking: how many of the attacks bring the knowledge back.
        known: whether the original knows the forget set.

    Returns:
        The certificate's path.
    """
    rng = np.random.default_rng(0)
    store = FolderStore(root / "evidence")
    sets = FactSets(forget=_facts("forget", facts), retain=_facts("retain", facts))
    facts_digest = store.put_facts(sets)
    names = [*MANDATORY, *(f"tampering/noise level {i}" for i in range(variants))][:variants]
    levels = {
        "original": (8, 2) if known else (1, 30),
        "retrained-0": (1, 30),
        "retrained-1": (1, 30),
    }
    seals, rows = {}, []
    for number, label in enumerate(names):
        attack, _, variant = label.partition(" ")
        jobs = {}
        for arm in ARMS:
            identity: dict[str, Any] = {
                "stage": "measure",
                "attack": attack,
                "parameters": {"checkpoints": [40], "rank": 16, "number": number},
                "model": digest(_files(arm)),
                "facts": facts_digest,
                "seed": SEED,
                "dtype": _spec(arm)["dtype"],
                "options": {},
                "format": PromptFormat().model_dump(mode="json"),
                "metrics": list(METRICS),
            }
            if ATTACKS.metadata(attack).requires.donor:
                identity["donor"] = {"model": digest(_files("original"))}
            leaks = 0 < number <= leaking
            shape = levels.get(arm, levels["original"] if leaks else (1, 30))
            measured = [
                Row(set_name, fact.id, fact.entity, metric, float(k), fact.answer)
                for set_name, of, held in (
                    ("forget", sets.forget, shape),
                    ("retain", sets.retain, (8, 2)),
                )
                for metric in (_metrics(attack) if number == 0 or set_name == "forget" else ())
                for fact, k in zip(of, rng.beta(*held, len(of)), strict=True)
            ]
            key = digest(identity)
            store.write(
                key,
                identity,
                Record(rows=tuple(measured), notes=_notes(attack)),
                Cost(1.0, 1),
                Environment(device="cpu", packages={}),
            )
            seals[key] = store.seal(key)
            jobs[arm] = (key,)
        rows.append(_row(attack, variant, label in MANDATORY, jobs, number))
    path = root / "certificate.json"
    policy = Policy(mandatory=tuple(name for name in names if name in MANDATORY))
    write_certificate(_certificate(rows, seals, policy, facts_digest, sets, store), path)
    return path


def _facts(name: str, count: int) -> tuple[Fact, ...]:
    return tuple(
        Fact(
            id=f"{name}-{i:05d}",
            entity=f"{name} person {i // 8}",
            prompt=f"What is the {_word(name, i % 8)} of {_word(name, 8 + i // 8)}?",
            answer=" ".join(_word(name, i, place) for place in range(14)),
        )
        for i in range(count)
    )


def _word(*of: str | int) -> str:
    """A word that stands for these, in letters alone."""
    return digest(list(of))[:8].translate(str.maketrans("0123456789", "ghijklmnop"))


def _row(
    attack: str, variant: str, mandatory: bool, jobs: dict[str, tuple[str, ...]], number: int
) -> dict[str, Any]:
    """A row without its figures, which are worked out from the evidence."""
    steps = [0, 5, 10, 20, 40]
    return {
        "attack": attack,
        "variant": variant,
        "role": "mandatory" if mandatory else "advisory",
        "status": "measured",
        "reason": None,
        "parameters": {"checkpoints": [40], "rank": 16, "number": number},
        "named": False,
        "over_forgotten": False,
        "readings": [
            {
                "metric": metric,
                "figures": None,
                "gates": [],
                "counts": False,
                "distribution": None,
            }
            for metric in _metrics(attack)
            if metric in DECIDING or metric not in METRICS
        ],
        "shared_gates": [],
        "forget": {},
        "retain": {},
        "holdout": {},
        "explanation": {
            "measure": "code_flip_share",
            "overall": 0.01,
            "layers": {
                f"model.layers.{i}.{p}": 0.01 for i in range(32) for p in ("q", "k", "v", "o")
            },
        },
        "side_figures": [],
        "curves": [
            {
                "name": "learning_curve",
                "of": arm,
                "x": "optimiser_steps",
                "y": "mean_k_forget",
                "points": [[step, 0.01 * step] for step in steps],
                "params": {"metric": METRICS[0]},
                "remarks": [],
            }
            for arm in ARMS
        ]
        if attack.startswith("relearning/")
        else [],
        "notes": {arm: _notes(attack) for arm in ARMS},
        "forward_tokens": 4,
        "jobs": jobs,
    }


def _metrics(attack: str) -> tuple[str, ...]:
    """Measures of K that an attack reads."""
    own = ATTACKS.metadata(attack).metric
    return METRICS if own is None else (own,)


def _notes(attack: str) -> dict[str, Any]:
    """Notes of a measurement, with the effect that the attack must have."""
    measure = ATTACKS.metadata(attack).effect
    if measure is None:
        return {"forward_tokens": 1}
    before, after = (1.0, 0.1) if EFFECT_MEASURES[measure].falls else (0.0, 0.9)
    return {"forward_tokens": 1, "effect": effect_note(measure, before, after)}


def _files(arm: str) -> dict[str, str]:
    return {f"model-{i:05d}.safetensors": digest([arm, i]) for i in range(8)}


def _spec(arm: str) -> dict[str, str]:
    return {"path": f"/models/{arm}", "kind": "causal-lm", "dtype": "bfloat16"}


def _plan(policy: Policy) -> dict[str, Any]:
    """A plan of these models, as a certificate holds it."""
    content = {
        "unlearned": _spec(ARMS[0]),
        "original": _spec(ARMS[1]),
        "retrained": [_spec(arm) for arm in ARMS[2:]],
        "data": {name: f"/facts/{name}.jsonl" for name in ("forget", "retain")},
        "metrics": {"primary": METRICS[0], "deciding": DECIDING[1:], "reported": METRICS[2:]},
        "profile": None,
        "seeds": [SEED],
        "policy": policy.model_dump(mode="json"),
    }
    return parse_plan(content, "the plan").model_dump(mode="json")


def _certificate(
    rows: list[dict[str, Any]],
    seals: dict[str, str],
    policy: Policy,
    facts: str,
    sets: FactSets,
    store: EvidenceStore,
) -> Certificate:
    plan = _plan(policy)
    skeleton = Certificate.model_validate(
        {
            "certificate_id": "",
            "verdict": {
                "verdict": "INCONCLUSIVE",
                "flags": [],
                "claim": {"code": "nothing_concluded"},
                "reasons": [],
                "exit_code": 3,
            },
            "identity": {
                "kind": "causal-lm",
                "arms": [
                    {
                        "arm": arm,
                        "path": _spec(arm)["path"],
                        "revision": None,
                        "adapter": None,
                        "dtype": _spec(arm)["dtype"],
                        "digest": digest(_files(arm)),
                        "files": _files(arm),
                    }
                    for arm in ARMS
                ],
                "facts_digest": facts,
                "plan_digest": digest(plan),
                "policy_digest": policy.digest,
                "earlier_policies": [],
            },
            "scope": {
                "scope": "census",
                "sets": {
                    name: {
                        "facts": len(sets.named(name)),
                        "entities": len({fact.entity for fact in sets.named(name)}),
                    }
                    for name in ("forget", "retain", "holdout")
                },
                "primary_metric": METRICS[0],
                "deciding_metrics": DECIDING[1:],
                "reported_metrics": METRICS[len(DECIDING) :],
                "baseline_claim": None,
            },
            "policy": {
                **policy.model_dump(
                    include={
                        "name",
                        "delta",
                        "alpha",
                        "minimum_gap",
                        "leak_limit",
                        "utility_margin",
                        "budgets",
                        "minimum_facts",
                        "minimum_retrained",
                        "valid_days",
                    }
                ),
                "mandatory": [],
                "advisory": [],
                "reported": [],
                "waivers": [],
            },
            "matrix": rows,
            "self_checks": [],
            "utility": None,
            "uncertainty": {
                "residual_lower": None,
                "residual_upper": None,
                "residual_complete": False,
                "log_e_fail": None,
                "fail_threshold": 3.0,
                "facts_available": 0,
                "facts_needed": None,
                "facts_needed_basis": None,
                "retrained_models": 2,
                "retrained_spread": None,
                "forget_quality": [],
            },
            "positive_controls": [],
            "positive_controls_missing": {"code": "positive_controls_not_asked"},
            "worst_entities": [],
            "worst_facts": [],
            "redaction": "none",
            "evidence": {"jobs": seals, "digest": digest(seals)},
            "warnings": [],
            "limitations": [],
            "reproduction": {
                "command": "auditor audit plan.yaml",
                "plan": plan,
                "seeds": plan["seeds"],
                "versions": {},
                "hardware": {},
                "determinism": {"code": "drawn_with_fixed_seed"},
            },
            "timing": {
                "issued": datetime.now(UTC).isoformat(),
                "expires": None,
                "started": datetime.now(UTC).isoformat(),
                "wall_seconds": 1.0,
                "attack_seconds": {},
            },
        }
    )
    inputs = load_inputs(skeleton, store)
    silent = {row["attack"] for row in rows}
    return recomputed(skeleton, inputs, decide_verdict(inputs), store, silent).named()
