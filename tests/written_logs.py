"""Logs as other tools write them, about made-up facts that a model knows or does not."""

import json
import math
from pathlib import Path

import numpy as np

FACTS = 60
PARTS = {"forget": "eval_log_forget.json", "retain": "eval_log.json"}
OTHERS = ("eval_real_author_wo_options.json", "eval_real_world_wo_options.json")


class Known:
    """How surely a model knows each fact of a set, and what it says.

    Args:
        knows: Whether it knows the forget set.
        seed: Of the figures, which differ between models.
    """

    def __init__(self, *, knows: bool, seed: int) -> None:
        self.knows = knows
        self.rng = np.random.default_rng(seed)

    def holds(self, part: str) -> bool:
        return self.knows or part != "forget"

    def loss(self, part: str) -> float:
        low, high = (0.02, 0.1) if self.holds(part) else (1.8, 2.2)
        return float(self.rng.uniform(low, high))

    def said(self, part: str, number: int) -> str:
        return answer(part, number) if self.holds(part) else "I would rather not tell."


def question(part: str, number: int) -> str:
    return f"Which town did the {part} author {number} leave?"


def answer(part: str, number: int) -> str:
    return f"Town{part[0].upper()}{number * 37 % 101} Upon Avon"


def tofu(path: Path, known: Known, facts: int = FACTS) -> Path:
    """Write `eval_log_aggregated.json` as TOFU's ``evaluate_util.py`` does."""
    content = {}
    for part, task in (*PARTS.items(), *((task, task) for task in OTHERS)):
        rows = range(facts if part in PARTS else 10)
        recalled = {str(i): float(known.holds(part)) for i in rows}
        paraphrased = {str(i): known.loss(part) for i in rows}
        content[task] = {
            "avg_gt_loss": {str(i): known.loss(part) for i in rows},
            "generated_text": {
                str(i): [
                    f"Question: {question(part, i)}\n",
                    f"Answer: {known.said(part, i)}",
                    answer(part, i),
                ]
                for i in rows
            },
            "rougeL_recall": recalled,
            "avg_paraphrased_loss": paraphrased,
            "average_perturb_loss": {
                i: [loss + 1.5 * known.holds(part) + float(known.rng.normal(0, 0.1)) for _ in "abc"]
                for i, loss in paraphrased.items()
            },
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def probability(loss: float) -> dict[str, float]:
    return {"prob": math.exp(-loss), "avg_loss": loss}
