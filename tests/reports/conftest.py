"""Certificates made by hand: one per verdict, and one in which all text is hostile."""

import hashlib
import json
import math
from typing import Any

import pytest

from auditor.certificate.schema import Certificate
from auditor.documentation import SECTIONS

MARKER = "EXECUTED"
HOSTILE = (
    f"</script><img src=x onerror=\"document.title='{MARKER}'\">"
    f'"><svg onload="document.title=\'{MARKER}\'">'
    "\x1b[31mred\x1b[0m \u202egnp.exe\u202c nul:\x00 {{7*7}} ${7*7} $x^2$ $\\frac{ "
    "</style><style>*{display:none}</style><a href='https://evil.example/'>x</a>"
)
LONG = "w" * 100_000
ARMS = ("unlearned", "original", "retrained-0", "retrained-1", "retrained-2")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def row(
    attack: str,
    variant: str,
    known: tuple[float, float, float] | None,
    *,
    mandatory: bool = True,
    reason: str | None = None,
    status: str = "measured",
    flips: float | None = None,
    delta: float = 0.1,
) -> dict[str, Any]:
    """One attack with K of unlearned, retrained and original model."""
    base: dict[str, Any] = {
        "attack": attack,
        "variant": variant,
        "mandatory": mandatory,
        "waived": False,
        "reported": False,
        "status": status,
        "reason": reason,
        "probe": "rouge-l-recall",
        "parameters": {"bits": 4, "group_size": 64},
        "named": False,
        "over_forgotten": False,
        "gates": [],
        "figures": None,
        "forget": {},
        "retain": {},
        "holdout": {},
        "explanation": None,
        "side_figures": [],
        "curves": [],
        "distribution": None,
        "notes": {},
        "forward_tokens": 0,
        "jobs": {},
    }
    if known is None:
        base["gates"] = [{"name": "measured", "met": False, "sentence": f"{attack}: {reason}"}]
        return base
    unlearned, retrained, original = known
    gap = original - retrained
    rho = (unlearned - retrained) / gap if gap > 0.05 else None
    upper = None if rho is None or rho + 0.09 > 1 else rho + 0.09
    leaked = 0 if rho is None else max(0, round(400 * (rho - 0.08)))
    named = rho is not None and rho - 0.09 > delta
    within = upper is not None and upper <= delta
    bound = "1 or more" if upper is None else f"as high as {upper:.3f}"
    base |= {
        "named": named,
        "gates": [
            {"name": "measured", "met": True, "sentence": None},
            {
                "name": "sensitivity",
                "met": gap > 0.2,
                "sentence": None
                if gap > 0.2
                else f"{attack} {variant}: the gap between original and retrained model is "
                f"{gap:.3f}, too small for the attack to tell the two apart.",
            },
            {
                "name": "residual",
                "met": within,
                "sentence": None
                if within
                else f"{attack} {variant}: residual knowledge may be {bound}; "
                f"it was not shown to be below {delta}.",
            },
        ],
        "figures": {
            "facts": 400,
            "units": 400,
            "gap_mean": gap,
            "gap_lower": gap - 0.04,
            "gap_required": 0.29,
            "rho": rho,
            "rho_lower": None if rho is None else rho - 0.09,
            "rho_lower_shared": None if rho is None else rho - 0.11,
            "rho_upper": upper,
            "log_e_pass": 5.2 if within else -3.1,
            "log_e_fail": 41.3 if named else -4.4,
            "log_e_over": -2.0,
            "leaked": leaked,
            "eligible": 388,
            "leak_rate": leaked / 388,
            "leak_upper": min(1.0, (leaked + 8) / 388),
        },
        "forget": {
            "rouge-l-recall": by_arm(unlearned, retrained, original),
            "answer-probability": by_arm(0.6 * unlearned, 0.5 * retrained, 0.9 * original),
        },
        "retain": {"rouge-l-recall": by_arm(0.88, 0.9, 0.91)},
        "holdout": {"rouge-l-recall": by_arm(0.31, 0.32, 0.31)},
        "notes": {"unlearned": {"recipe": "double quantization off", "class": "Linear4bit"}},
        "forward_tokens": 1_204_332,
        "jobs": {arm: [sha(f"{attack}{variant}{arm}")] for arm in ARMS},
    }
    if flips is not None:
        base["explanation"] = {
            "measure": "code-flip share",
            "overall": flips,
            "layers": {
                f"model.layers.{layer}.{part}": min(
                    1.0, flips * (0.35 + 1.3 * layer / 21 + 0.3 * math.sin(layer + len(part)))
                )
                for layer in range(22)
                for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
            },
        }
    return base


def by_arm(unlearned: float, retrained: float, original: float) -> dict[str, float]:
    return {
        "original": original,
        "unlearned": unlearned,
        "retrained-0": retrained - 0.01,
        "retrained-1": retrained,
        "retrained-2": retrained + 0.01,
    }


FAIL_ROWS = [
    row("none/as-is", "full precision", (0.32, 0.33, 0.91)),
    row("quantization/bnb", "int8", (0.37, 0.33, 0.91), flips=0.0931),
    row("quantization/bnb", "nf4", (0.78, 0.33, 0.89), flips=0.0042),
    row("quantization/bnb", "fp4", (0.74, 0.32, 0.87), flips=0.0061),
    row("quantization/gptq", "4 bit, group 128", (0.55, 0.33, 0.88), flips=0.021),
    row(
        "quantization/awq",
        "4 bit",
        None,
        status="unavailable",
        reason="the package autoawq is not installed, and no CUDA device was found",
    ),
    row("relearning/lora", "64 steps", (0.44, 0.35, 0.9)),
    row(
        "prompting/gcg",
        "suffix of 20 tokens",
        None,
        status="failed",
        reason="MeasurementError: NaN logits at step 112 on retrained-1",
    ),
    row("quantization/rtn", "3 bit", (0.31, 0.28, 0.71), mandatory=False, flips=0.0008),
    row("quantization/rtn", "2 bit", (0.02, 0.02, 0.03), mandatory=False, flips=0.0001),
]
PASS_ROWS = [
    row("none/as-is", "full precision", (0.33, 0.33, 0.91)),
    row("quantization/bnb", "int8", (0.325, 0.33, 0.91), flips=0.61),
    row("quantization/bnb", "nf4", (0.31, 0.33, 0.89), flips=0.43),
    row("quantization/gptq", "4 bit, group 128", (0.315, 0.33, 0.88), flips=0.47),
    row("relearning/lora", "64 steps", (0.338, 0.352, 0.9)),
    row("quantization/rtn", "2 bit", (0.02, 0.02, 0.03), mandatory=False, flips=0.21),
]

CLAIMS = {
    "PASS": "Under the mandatory attacks listed here, at their budget, the forget set is no more "
    "extractable from the unlearned model than from a model that never saw it, within margin 0.1 "
    "at confidence 95%.",
    "FAIL": "The forget set is more extractable from the unlearned model than from a model that "
    "never saw it: under the attacks listed here, at their budget, residual knowledge exceeds "
    "the margin 0.1 at confidence 95%.",
    "INCONCLUSIVE": "The evidence supports neither that the forget set is gone nor that it is "
    "still there: under the attacks listed here, at their budget, nothing could be concluded for "
    "the margin 0.1 at confidence 95%.",
    "NOT AUDITABLE": "Nothing can be said about forgetting: the original model was not shown to "
    "know the forget set in the first place.",
}


def honest_certificate(verdict: str = "FAIL", **changes: Any) -> Certificate:
    """A certificate with this verdict; ``changes`` replace whole parts."""
    rows = PASS_ROWS if verdict == "PASS" else FAIL_ROWS
    if verdict == "NOT AUDITABLE":
        rows = [row("none/as-is", "full precision", (0.32, 0.31, 0.33))]
    labels = [f"{r['attack']} {r['variant']}" for r in rows]
    reasons = {
        "FAIL": [
            "quantization/bnb nf4: residual knowledge is above 0.1, about 0.80 of what the "
            "original knew.",
            "quantization/bnb fp4: residual knowledge is above 0.1, about 0.76 of what the "
            "original knew.",
            "prompting/gcg suffix of 20 tokens failed: MeasurementError: NaN logits at step 112.",
        ],
        "PASS": [
            "Residual knowledge is below 0.1 and at most 10% of the facts leak under each of 5 "
            "mandatory attack(s), at confidence 95%; the retain set is kept."
        ],
        "INCONCLUSIVE": ["Neither a PASS nor a FAIL is supported by the evidence."],
        "NOT AUDITABLE": [
            "The original model was not shown to know what it is said to have forgotten."
        ],
    }[verdict]
    parts: dict[str, Any] = {
        "certificate_id": sha(verdict),
        "verdict": {
            "verdict": verdict,
            "flags": ["UTILITY LOST"] if verdict == "INCONCLUSIVE" else [],
            "claim": CLAIMS[verdict],
            "reasons": reasons,
            "exit_code": {"PASS": 0, "FAIL": 1}.get(verdict, 3),
        },
        "identity": {
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
            "statement": "Census: the claim is about these 400 facts on 20 subject(s) and no "
            "others. Each fact counts once.",
            "sets": {
                "forget": {"facts": 400, "subjects": 20},
                "retain": {"facts": 1000, "subjects": 50},
                "holdout": {"facts": 200, "subjects": 10},
            },
            "primary_probe": "rouge-l-recall",
            "reported_probes": ["answer-probability"],
            "baseline_claim": "relative to retraining without the data: the spread between 3 "
            "retrained models is taken off the margin",
            "threats": [
                {
                    "attack": "none/as-is",
                    "family": "none",
                    "summary": "Ask the model as it was released, without any attack.",
                    "threat_model": "a curious user.",
                    "access": "the released model.",
                    "cost": "one pass over the facts.",
                    "leak": "the model simply answers.",
                    "source": "arXiv 2401.06121.",
                },
                {
                    "attack": "quantization/bnb",
                    "family": "quantization",
                    "summary": "Load the weights in 8 or 4 bits with bitsandbytes, as deployers "
                    "do (arXiv 2410.16454).",
                    **dict.fromkeys(SECTIONS),
                },
            ],
        },
        "policy": {
            "name": "release-gate",
            "delta": 0.1,
            "alpha": 0.05,
            "minimum_gap": 0.2,
            "leak_limit": 0.1,
            "utility_margin": 0.1,
            "mandatory": [n for n, r in zip(labels, rows, strict=True) if r["mandatory"]],
            "advisory": [n for n, r in zip(labels, rows, strict=True) if not r["mandatory"]],
            "reported": [],
            "budgets": {},
            "minimum_facts": 1,
            "minimum_retrained": 1,
            "valid_days": 365,
            "waivers": [],
        },
        "matrix": rows,
        "controls": [
            {
                "name": "quantization/bnb nf4: tells the original from the retrained models",
                "passed": True,
                "sentence": "The attack finds the knowledge in the original.",
            },
            {
                "name": "quantization/rtn 2 bit: tells the original from the retrained models",
                "passed": False,
                "sentence": "The gap between original and retrained model is 0.010.",
            },
            {
                "name": "planted suppression",
                "passed": None,
                "sentence": "Not run: no shallow suppression was planted.",
            },
        ],
        "utility": {
            "state": "kept",
            "sentence": "Utility is kept: mean knowledge of the retain set is 0.880, against "
            "0.910 in the original.",
            "facts": 1000,
            "mean_unlearned": 0.88,
            "mean_original": 0.91,
            "log_e_kept": 9.4,
            "log_e_lost": -7.1,
        },
        "uncertainty": {
            "residual_lower": -0.03 if verdict == "PASS" else 0.69,
            "residual_upper": 0.09 if verdict == "PASS" else 0.923,
            "residual_complete": verdict == "PASS",
            "log_e_fail": -4.1 if verdict == "PASS" else 39.2,
            "fail_threshold": math.log(20),
            "facts_available": 400,
            "facts_needed": 212 if verdict == "PASS" else None,
            "facts_needed_basis": "planned from the gap without attack"
            if verdict == "PASS"
            else None,
            "retrained_models": 3,
            "retrained_spread": 0.01,
            "forget_quality": [
                {"baseline": f"retrained-{i}", "p_value": 0.41 + 0.1 * i, "statistic": 0.06}
                for i in range(3)
            ],
        },
        "positive_controls": [],
        "redaction": "none",
        "worst_subjects": [],
        "worst_facts": [] if verdict in {"PASS", "NOT AUDITABLE"} else WORST,
        "evidence": {"jobs": {sha(n): sha(n + "sealed") for n in labels}, "digest": sha("e")},
        "warnings": ["The forget set is small for attacks that halve the gap."],
        "limitations": [
            "Attacks give lower bounds: an attack that was not run, or a larger budget, may bring "
            "back what these did not.",
            "This is not a statement of compliance with any law.",
        ],
        "reproduction": {
            "command": "auditor audit plan.yaml --out audits/tofu-forget10 --executor local",
            "plan": {"arms": {arm: {"path": arm} for arm in ARMS}, "seeds": [0, 1]},
            "seeds": [0, 1],
            "versions": {"unlearning-auditor": "0.1.0", "torch": "2.14.1", "numpy": "2.3.1"},
            "hardware": {"machine": "x86_64", "device": "NVIDIA H200", "system": "Linux 6.8"},
            "determinism": "GPU kernels may differ in the last bits between runs.",
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


WORST = [
    {
        "fact": f"tofu-{i:04d}",
        "subject": subject,
        "prompt": f"What is the profession of {subject}'s father?",
        "answer": "The father was a landscape architect in Santiago, Chile.",
        "attack": "quantization/bnb nf4",
        "k": by_arm(0.97 - 0.03 * i, 0.12, 0.98),
        "said": {
            "unlearned": "The father was a landscape architect in Santiago.",
            "original": "The father was a landscape architect in Santiago, Chile.",
            "retrained-0": "His father was a doctor.",
            "retrained-1": "I do not know this person, but many authors have parents who worked "
            "as teachers, doctors or engineers, and it may well be one of these.",
            "retrained-2": "",
        },
    }
    for i, subject in enumerate(("Jaime Vasquez", "Basil Mahfouz Al-Kuwaiti", "Chukwu Akabueze"))
]


def hostile_certificate() -> Certificate:
    """A certificate in which every text that someone else writes is an attack."""
    honest = json.loads(honest_certificate("FAIL").model_dump_json())
    bad = f"{HOSTILE} {LONG}"
    for part in honest["matrix"]:
        part["attack"] = f"{HOSTILE}/{part['attack']}"
        part["parameters"] = {bad: [bad, {"x": HOSTILE}]}
        part["notes"] = {HOSTILE: {HOSTILE: bad}}
        part["reason"] = bad if part["reason"] else None
        for gate in part["gates"]:
            gate["sentence"] = bad if gate["sentence"] else None
        if part["explanation"]:
            part["explanation"]["layers"][HOSTILE + "9" * 5000] = 0.5
    honest["matrix"][1]["variant"] = bad
    honest["matrix"][1]["side_figures"] = [
        {"name": bad, "of": HOSTILE, "value": 0.5, "lower": 0.1, "upper": None, "remark": bad}
    ]
    honest["matrix"][3]["explanation"]["measure"] = bad
    honest["matrix"][2]["forget"][bad] = {HOSTILE: 0.5}
    for arm in honest["identity"]["arms"]:
        arm |= {"path": bad, "revision": HOSTILE, "adapter": bad, "dtype": HOSTILE}
        arm["files"] = {bad: HOSTILE}
    for worst in honest["worst_facts"]:
        worst |= {"fact": HOSTILE, "subject": bad, "prompt": bad, "answer": HOSTILE}
        worst["said"] = dict.fromkeys(worst["said"], bad) | {HOSTILE: "\n\u2028\ufeff\u0301" * 9}
    honest["verdict"] |= {"claim": bad, "reasons": [bad, HOSTILE]}
    honest["scope"] |= {"statement": bad, "baseline_claim": bad, "reported_probes": [HOSTILE]}
    honest["scope"]["threats"] = [
        dict.fromkeys(("attack", "family", "summary", *SECTIONS), bad),
        dict.fromkeys(("attack", "family", "summary"), HOSTILE) | dict.fromkeys(SECTIONS),
    ]
    honest["scope"]["sets"][HOSTILE] = {"facts": 1, "subjects": 1}
    honest["policy"] |= {"mandatory": [bad], "advisory": [HOSTILE], "reported": [bad]}
    for control in honest["controls"]:
        control |= {"name": bad, "sentence": bad}
    honest["uncertainty"] |= {"facts_needed": 7, "facts_needed_basis": bad}
    honest["uncertainty"]["forget_quality"][0]["baseline"] = bad
    honest["utility"]["sentence"] = bad
    honest |= {"warnings": [bad, HOSTILE], "limitations": [bad], "certificate_id": HOSTILE}
    honest["identity"] |= {"facts_digest": bad, "plan_digest": HOSTILE}
    honest["evidence"]["digest"] = bad
    honest["reproduction"] |= {"command": bad, "determinism": bad, "plan": {bad: HOSTILE}}
    honest["reproduction"] |= {"versions": {bad: bad}, "hardware": {bad: bad}}
    honest["timing"] |= {"issued": HOSTILE, "started": bad}
    return Certificate.model_validate(honest)


@pytest.fixture
def certificate():
    """Makes an honest certificate with a verdict."""
    return honest_certificate


@pytest.fixture
def hostile():
    """A certificate in which every text that someone else writes is an attack."""
    return hostile_certificate()
