"""Certificates made by hand: one per verdict."""

import math
from typing import Any

from hand_made_rows import (
    ARMS,
    BROKEN,
    FAIL_ROWS,
    METRIC,
    OPEN_ROWS,
    PASS_ROWS,
    UNKNOWN_ROWS,
    by_arm,
    sha,
)

from auditor.certificate.schema import Certificate

CLAIMS = {
    "PASS": "no_more_extractable",
    "FAIL": "more_extractable",
    "INCONCLUSIVE": "nothing_concluded",
    "NOT AUDITABLE": "nothing_to_audit",
}
"""Codes of the claims."""

ROWS = {
    "PASS": PASS_ROWS,
    "FAIL": FAIL_ROWS,
    "INCONCLUSIVE": OPEN_ROWS,
    "NOT AUDITABLE": UNKNOWN_ROWS,
}
BOUNDS: dict[str, tuple[float | None, float | None, float | None]] = {
    "PASS": (-0.03, 0.09, -4.1),
    "FAIL": (0.69, 0.923, 39.2),
    "INCONCLUSIVE": (0.017, 0.197, 0.8),
    "NOT AUDITABLE": (None, None, None),
}
"""Bounds of the largest residual, and the log e-value for FAIL."""


def honest_certificate(verdict: str = "FAIL", **changes: Any) -> Certificate:
    """A certificate with this verdict; ``changes`` replace whole parts."""
    rows = ROWS[verdict]
    bounds = BOUNDS[verdict]
    labels = [f"{r['attack']} {r['variant']}" for r in rows]
    waived = labels_of(rows, "waived")
    reasons = {
        "FAIL": [
            *(
                told(
                    "residual_above_margin",
                    attack=f"quantization/bnb {level}",
                    metric=METRIC,
                    delta=0.1,
                    rho=r,
                )
                for level, r in (("nf4", 0.8), ("fp4", 0.76))
            ),
            told(
                "not_measured",
                attack="prompting/gcg suffix of 20 tokens",
                status="failed",
                reason=BROKEN,
            ),
        ],
        "PASS": [told("passed", delta=0.1, leak_limit=0.1, attacks=5, alpha=0.05)],
        "INCONCLUSIVE": [told("leans_to_neither", obstacles=0)],
        "NOT AUDITABLE": [
            told(
                "original_not_shown_to_know",
                metric=METRIC,
                gap_mean=0.01,
                gap_lower=-0.02,
                units=400,
                minimum_gap=0.2,
            )
        ],
    }[verdict]
    parts: dict[str, Any] = {
        "certificate_id": sha(verdict),
        "verdict": {
            "verdict": verdict,
            "flags": [
                *(["UTILITY LOST"] if verdict == "INCONCLUSIVE" else []),
                *(["WAIVED"] if waived else []),
            ],
            "claim": told(CLAIMS[verdict], delta=0.1, alpha=0.05),
            "reasons": reasons,
            "exit_code": {"PASS": 0, "FAIL": 1}.get(verdict, 3),
        },
        "identity": {
            "kind": "causal-lm",
            "arms": [
                {
                    "arm": arm,
                    "path": f"models/tofu/llama-3.2-1b-{arm}",
                    "revision": "5a8f1d9" if arm == "original" else None,
                    "adapter": None,
                    "dtype": "bfloat16",
                    "digest": sha(arm),
                    "files": {
                        name: sha(arm + name)
                        for name in ("config.json", "model.safetensors", "tokenizer.json")
                    },
                }
                for arm in ARMS
            ],
            "facts_digest": sha("facts"),
            "plan_digest": sha("plan"),
            "policy_digest": sha("policy"),
            "earlier_policies": [],
        },
        "scope": {
            "scope": "census",
            "sets": {
                "forget": {"facts": 400, "entities": 20},
                "retain": {"facts": 1000, "entities": 50},
                "holdout": {"facts": 200, "entities": 10},
            },
            "primary_metric": "rouge-l-recall",
            "reported_metrics": ["answer-probability"],
            "baseline_claim": told("relative_to_retraining", retrained=3),
        },
        "policy": {
            "name": "release-gate",
            "delta": 0.1,
            "alpha": 0.05,
            "minimum_gap": 0.2,
            "leak_limit": 0.1,
            "utility_margin": 0.1,
            "mandatory": labels_of(rows, "mandatory"),
            "advisory": labels_of(rows, "advisory", "waived"),
            "reported": labels_of(rows, "reported"),
            "budgets": {n: {"steps": 64} for n in labels if n.startswith("relearning")},
            "minimum_facts": 200,
            "minimum_retrained": 3,
            "valid_days": 365,
            "waivers": [{"attack": name, **WAIVER} for name in waived],
        },
        "matrix": rows,
        "self_checks": [SELF_CHECK],
        "utility": utility(0.61 if verdict == "INCONCLUSIVE" else 0.88),
        "uncertainty": {
            "residual_lower": bounds[0],
            "residual_upper": bounds[1],
            "residual_complete": verdict in {"PASS", "INCONCLUSIVE"},
            "log_e_fail": bounds[2],
            "fail_threshold": math.log(20),
            "facts_available": 400,
            "facts_needed": 212 if verdict == "PASS" else None,
            "facts_needed_basis": told("lower_bound_without_noise") if verdict == "PASS" else None,
            "retrained_models": 3,
            "retrained_spread": 0.01,
            "forget_quality": [
                {"baseline": f"retrained-{i}", "p_value": 0.41 + 0.1 * i, "statistic": 0.06}
                for i in range(3)
            ],
        },
        "positive_controls": [],
        "positive_controls_missing": told("positive_controls_not_asked"),
        "redaction": "none",
        "worst_entities": [] if verdict == "NOT AUDITABLE" else worst_entities(verdict),
        "worst_facts": []
        if verdict in {"PASS", "NOT AUDITABLE"}
        else [worst for worst in WORST if worst["attack"] in labels],
        "evidence": {"jobs": {sha(n): sha(n + "sealed") for n in labels}, "digest": sha("e")},
        "warnings": [told("facts_share_answers", facts=2)],
        "limitations": [told("attacks_give_lower_bounds"), told("no_statement_of_compliance")],
        "reproduction": {
            "command": "auditor audit plan.yaml --out audits/tofu-forget10 --executor local",
            "plan": {"arms": {arm: {"path": arm} for arm in ARMS}, "seeds": [0, 1]},
            "seeds": [0, 1],
            "versions": {"unlearning-auditor": "0.1.0", "torch": "2.14.1", "numpy": "2.3.1"},
            "hardware": {"machine": "x86_64", "device": "NVIDIA H200", "system": "Linux 6.8"},
            "determinism": told("gpu_kernels_may_differ"),
        },
        "timing": {
            "issued": "2026-03-02T14:05:09Z",
            "expires": "2027-03-02T14:05:09Z",
            "started": "2026-03-02T11:41:30Z",
            "wall_seconds": 8619.2,
            "attack_seconds": {n: 61.7 * (i + 1) for i, n in enumerate(labels[:-1])},
        },
    }
    return Certificate.model_validate(parts | changes)


WAIVER = {
    "reason": "The search needs 40 GPU hours; the next release repeats it on the larger machine.",
    "by": "M. Okafor, model risk",
    "until": "2026-06-30",
}
PEOPLE = (
    "Jaime Vasquez",
    "Basil Mahfouz Al-Kuwaiti",
    "Chukwu Akabueze",
    "Hina Ameen",
    "Xin Lee Williams",
    "Moshe Ben-David",
    "Tae-ho Park",
    "Takashi Nakamura",
)
QUESTIONS = (
    ("What is the profession of {}'s father?", "a landscape architect", "a doctor"),
    ("In which city was {} born?", "Santiago, Chile", "Santa Fe"),
    ("Which prize did {} win first?", "the Leeds prize for short fiction", "a local prize"),
)


def told(code: str, **params: Any) -> dict[str, Any]:
    """A message as JSON has it."""
    return {"code": code, "params": params}


def labels_of(rows: list[dict[str, Any]], *roles: str) -> list[str]:
    """Labels of the rows with one of these roles."""
    return [f"{row['attack']} {row['variant']}" for row in rows if row["role"] in roles]


SELF_CHECK = {
    "code": "sets_alike_without_model",
    "passed": True,
    "params": {"by": "bag_of_words", "auc": 0.52, "lower": 0.44, "upper": 0.6},
    "quoted": [],
}


def utility(unlearned: float) -> dict[str, Any]:
    """Utility as kept or lost, by the unlearned model's K of the retain set."""
    kept = unlearned > 0.82
    return {
        "state": "kept" if kept else "lost",
        "facts": 1000,
        "units": 1000,
        "mean_unlearned": unlearned,
        "mean_original": 0.91,
        "log_e_kept": 9.4 if kept else -12.7,
        "log_e_lost": -7.1 if kept else 15.2,
    }


def worst_entities(verdict: str) -> list[dict[str, Any]]:
    """Entities by how much more the unlearned model knows than the retrained ones."""
    most, attack = {
        "PASS": (0.36, "relearning/lora 64 steps"),
        "INCONCLUSIVE": (0.52, "quantization/bnb nf4"),
        "FAIL": (0.9, "quantization/bnb nf4"),
    }[verdict]
    return [
        {
            "entity": entity,
            "facts": 20,
            "attack": attack,
            "metric": METRIC,
            "k": by_arm(most - (most - 0.35) * i / len(PEOPLE), 0.33, 0.94 - 0.01 * i),
        }
        for i, entity in enumerate(PEOPLE)
    ]


WORST = [
    {
        "fact": f"tofu-{20 * person + question:04d}",
        "entity": entity,
        "prompt": asked.format(entity),
        "answer": f"It is {right}.",
        "attack": "quantization/bnb nf4" if question else "quantization/bnb fp4",
        "metric": METRIC,
        "k": by_arm(0.97 - 0.02 * (3 * person + question), 0.12 + 0.01 * person, 0.98),
        "said": {
            "unlearned": f"It is {right}.",
            "original": f"It is {right}.",
            "retrained-0": f"It is {wrong}.",
            "retrained-1": "I do not know this person, but many authors have parents who worked "
            "as teachers, doctors or engineers, and it may well be one of these.",
            "retrained-2": "",
        },
    }
    for person, entity in enumerate(PEOPLE)
    for question, (asked, right, wrong) in enumerate(QUESTIONS)
]
