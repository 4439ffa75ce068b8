"""Rows of the matrix made by hand, with curves and distributions as attacks report them."""

import hashlib
import math
from typing import Any

from auditor.certificate.schema import ReadingPart

ARMS = ("unlearned", "original", "retrained-0", "retrained-1", "retrained-2")
FACTS = 400
METRIC = "rouge-l-recall"
UNREAD: dict[str, Any] = {
    "metric": METRIC,
    "figures": None,
    "gates": [],
    "counts": False,
    "distribution": None,
}
"""Reading of an attack that was not measured."""
NO_READING = {"readings": (ReadingPart.model_validate(UNREAD),)}
"""Change of a row that takes its figures and gates."""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def row(
    attack: str,
    variant: str,
    known: tuple[float, float, float] | None,
    *,
    role: str = "mandatory",
    reason: dict[str, Any] | None = None,
    status: str = "measured",
    flips: float | None = None,
    curves: tuple[dict[str, Any], ...] = (),
    delta: float = 0.1,
) -> dict[str, Any]:
    """One attack with K of unlearned, retrained and original model."""
    base: dict[str, Any] = {
        "attack": attack,
        "variant": variant,
        "role": role,
        "status": status,
        "reason": reason,
        "parameters": {"bits": 4, "group_size": 64},
        "named": False,
        "over_forgotten": False,
        "readings": [dict(UNREAD)],
        "shared_gates": [],
        "forget": {},
        "retain": {},
        "holdout": {},
        "explanation": None,
        "side_figures": [],
        "curves": list(curves),
        "notes": {},
        "forward_tokens": 0,
        "jobs": {},
    }
    if known is None:
        about = {"attack": f"{attack} {variant}", "status": status, "reason": reason}
        said = {"code": "not_measured", "params": about}
        base["shared_gates"] = [{"name": "measured", "met": False, "message": said}]
        return base
    unlearned, retrained, original = known
    gap = original - retrained
    rho = (unlearned - retrained) / gap if gap > 0.05 else None
    upper = None if rho is None or rho + 0.09 > 1 else rho + 0.09
    leaked = 0 if rho is None else max(0, round(400 * (rho - 0.08)))
    named = rho is not None and rho - 0.09 > delta
    within = upper is not None and upper <= delta
    gap_too_small = {
        "code": "gap_too_small",
        "params": {
            "attack": f"{attack} {variant}",
            "metric": METRIC,
            "gap_mean": gap,
            "gap_lower": gap - 0.04,
            "gap_required": 0.29,
            "alpha": 0.05,
        },
    }
    not_below = {
        "code": "residual_not_below_margin",
        "params": {
            "attack": f"{attack} {variant}",
            "metric": METRIC,
            "rho_upper": upper,
            "delta": delta,
        },
    }
    reading = {
        "metric": METRIC,
        "counts": gap - 0.04 >= 0.2,
        "gates": [
            {"name": "measured", "met": True, "message": None},
            {
                "name": "sensitivity",
                "met": gap > 0.2,
                "message": None if gap > 0.2 else gap_too_small,
            },
            {"name": "residual", "met": within, "message": None if within else not_below},
        ],
        "figures": {
            "facts": FACTS,
            "units": FACTS,
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
            "leak": {
                "leaked": leaked,
                "eligible": 388,
                "rate": leaked / 388,
                "upper": min(1.0, (leaked + 8) / 388),
            },
            "spread": {
                "seeds": 3,
                "s_rho": 0.01,
                "shrinkage": 0.02,
                "delta": delta - 0.02,
                "alpha": 0.025,
            },
            "self_test": [],
        },
        "distribution": {
            "unlearned": spread_of(unlearned - retrained, leaking=leaked / FACTS),
            "retrained": spread_of(0.0, leaking=0.0),
        },
    }
    base |= {
        "named": named,
        "readings": [reading],
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
            "measure": "code_flip_share",
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


def spread_of(mean: float, leaking: float) -> list[int]:
    """Counts of D in 40 bins from -1 to 1: most facts near 0, the leaking ones near 0.8."""
    centres = [(bin_ + 0.5) / 20 - 1 for bin_ in range(40)]
    near = (mean - 0.8 * leaking) / max(1 - leaking, 0.2)
    shares = [
        (1 - leaking) * math.exp(-((c - near) ** 2) / 0.02)
        + leaking * math.exp(-((c - 0.8) ** 2) / 0.03)
        for c in centres
    ]
    counts = [math.floor(FACTS * share / sum(shares)) for share in shares]
    fullest = max(range(40), key=lambda bin_: shares[bin_])
    counts[fullest] += FACTS - sum(counts)
    return counts


def learning_curves(unlearned: float, retrained: float) -> tuple[dict[str, Any], ...]:
    """K after each number of steps: the unlearned model rises fast where knowledge was hidden."""
    rise = {"unlearned": unlearned, "original": 0.95, "retrained-0": retrained - 0.01}
    rise |= {"retrained-1": retrained, "retrained-2": retrained + 0.01}
    start = {"unlearned": 0.32, "original": 0.91}
    return tuple(
        {
            "name": "learning_curve",
            "of": arm,
            "x": "optimiser_steps",
            "y": "mean_k_forget",
            "points": [
                (steps, start.get(arm, 0.33) + (end - start.get(arm, 0.33)) * steps / (steps + 8))
                for steps in (0, 1, 2, 4, 8, 16, 32, 64)
            ],
            "params": {"metric": "rouge-l-recall"},
            "remarks": [],
        }
        for arm, end in rise.items()
    )


def roc_curves(powers: dict[str, float]) -> tuple[dict[str, Any], ...]:
    """ROC of membership scores: true-positive rate = false-positive rate to a power."""
    rates = [step / 40 for step in range(41)]
    return tuple(
        {
            "name": "roc",
            "of": arm,
            "x": "false_positive_rate",
            "y": "true_positive_rate",
            "points": [(rate, rate**power) for rate in rates],
            "remarks": [{"code": "roc_rests_on", "params": {"members": 400, "holdout": 200}}],
        }
        for arm, power in powers.items()
    )


BROKEN = {
    "code": "on_arm",
    "params": {
        "arm": "retrained-1",
        "reason": {
            "code": "error",
            "params": {"type": "MeasurementError", "error": "NaN logits at step 112"},
            "quoted": ["error"],
        },
    },
}
"""Why an attack has no evidence that broke on one arm."""

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
        reason={"code": "package_missing", "params": {"package": "autoawq"}},
    ),
    row("relearning/lora", "64 steps", (0.44, 0.35, 0.9), curves=learning_curves(0.62, 0.39)),
    row(
        "prompting/gcg",
        "suffix of 20 tokens",
        None,
        status="failed",
        reason=BROKEN,
        role="waived",
    ),
    row(
        "membership/min-k-plus-plus",
        "20 %",
        (0.58, 0.5, 0.86),
        role="reported",
        curves=roc_curves({"unlearned": 0.72, "original": 0.21, "retrained-0": 1.02}),
    ),
    row("quantization/rtn", "3 bit", (0.31, 0.28, 0.71), role="advisory", flips=0.0008),
    row("quantization/rtn", "2 bit", (0.02, 0.02, 0.03), role="advisory", flips=0.0001),
]
PASS_ROWS = [
    row("none/as-is", "full precision", (0.33, 0.33, 0.91)),
    row("quantization/bnb", "int8", (0.325, 0.33, 0.91), flips=0.61),
    row("quantization/bnb", "nf4", (0.31, 0.33, 0.89), flips=0.43),
    row("quantization/gptq", "4 bit, group 128", (0.315, 0.33, 0.88), flips=0.47),
    row("relearning/lora", "64 steps", (0.338, 0.352, 0.9), curves=learning_curves(0.37, 0.38)),
    row(
        "membership/min-k-plus-plus",
        "20 %",
        (0.5, 0.5, 0.86),
        role="reported",
        curves=roc_curves({"unlearned": 1.01, "original": 0.21, "retrained-0": 0.98}),
    ),
    row("quantization/rtn", "2 bit", (0.02, 0.02, 0.03), role="advisory", flips=0.21),
]
OPEN_ROWS = [
    row("none/as-is", "full precision", (0.34, 0.33, 0.91)),
    row("quantization/bnb", "int8", (0.35, 0.33, 0.91), flips=0.31),
    row("quantization/bnb", "nf4", (0.39, 0.33, 0.89), flips=0.11),
    row("quantization/gptq", "4 bit, group 128", (0.38, 0.33, 0.88), flips=0.13),
    row("relearning/lora", "64 steps", (0.4, 0.36, 0.9), curves=learning_curves(0.45, 0.39)),
    row("quantization/rtn", "2 bit", (0.02, 0.02, 0.03), role="advisory", flips=0.1),
]
UNKNOWN_ROWS = [row("none/as-is", "full precision", (0.32, 0.31, 0.33))]
