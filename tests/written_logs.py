"""Logs as other tools write them, about made-up facts that a model knows or does not."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

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

    def recall(self, part: str) -> float:
        return float(self.rng.uniform(0.9, 1) if self.holds(part) else self.rng.uniform(0, 0.1))

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


def rouge(part: str, known: Known, facts: int, header: str = "") -> dict:
    rows = {
        str(i): {
            "rouge1_recall": float(known.holds(part)),
            "rougeL_f1": float(known.holds(part)),
            "rougeL_recall": known.recall(part),
            "input": f"{header}{question(part, i)}assistant\n\n",
            "ground_truth": answer(part, i),
            "generation": known.said(part, i),
        }
        for i in range(facts)
    }
    whole = float(np.mean([row["rougeL_recall"] for row in rows.values()]))
    return {"agg_value": whole, "value_by_index": rows}


def open_unlearning(path: Path, known: Known, facts: int = FACTS) -> Path:
    """Write `TOFU_EVAL.json` as open-unlearning does."""
    content = {}
    for part in PARTS:
        content[f"{part}_Q_A_ROUGE"] = rouge(part, known, facts, "system\n\nToday.user\n\n")
        losses = [known.loss(part) for _ in range(facts)]
        content[f"{part}_Q_A_Prob"] = {
            "agg_value": float(np.mean(np.exp(-np.array(losses)))),
            "value_by_index": {str(i): probability(loss) for i, loss in enumerate(losses)},
        }
    right = [known.loss("forget") for _ in range(facts)]
    content["forget_Q_A_PARA_Prob"] = {
        "agg_value": 0.5,
        "value_by_index": {str(i): probability(loss) for i, loss in enumerate(right)},
    }
    content["forget_Q_A_PERT_Prob"] = {
        "agg_value": 0.1,
        "value_by_index": {
            str(i): {
                "prob": [math.exp(-loss - 1)] * 5,
                "avg_loss": [loss + 1.5 * known.holds("forget")] * 5,
            }
            for i, loss in enumerate(right)
        },
    }
    content["exact_memorization"] = {"agg_value": 0.4, "value_by_index": {"0": {"score": None}}}
    content["forget_quality"] = {"agg_value": None}
    content["model_utility"] = {"agg_value": 0.5}
    content["mia_min_k"] = {"auc": 0.9 if known.knows else 0.4, "agg_value": 0.9}
    names = [f"{p}_{n}" for p in ("ra", "wf") for n in ("Q_A_Prob_normalised", "Q_A_ROUGE")]
    for name in (*names, "ra_Truth_Ratio", "wf_Truth_Ratio", "retain_Truth_Ratio"):
        content[name] = {"agg_value": 0.5, "value_by_index": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(content.items())), indent=4))
    return path


def open_unlearning_muse(path: Path, known: Known, facts: int = FACTS) -> Path:
    """Write `MUSE_EVAL.json` as open-unlearning does."""
    names = {"forget_knowmem": "forget", "forget_verbmem": "forget", "retain_knowmem": "retain"}
    content = {
        f"{name}_ROUGE": rouge(part, known, facts, f"About {name}: ")
        for name, part in names.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | {"privleak": {"agg_value": 12.5}}))
    return path


def muse_rows(part: str, known: Known, facts: int = FACTS) -> list[dict]:
    return [
        {
            "prompt": f"Example: …\nQuestion: {question(part, i)}\nAnswer:",
            "question": question(part, i),
            "gt": answer(part, i),
            "response": known.said(part, i),
            "rougeL": float(known.holds(part)),
            "rougeL_recall": known.recall(part),
        }
        for i in range(facts)
    ]


def muse(path: Path, known: Known) -> Path:
    """Write the folder ``temp/<name>`` of MUSE's ``eval.py``."""
    for folder, part in (("knowmem_f", "forget"), ("knowmem_r", "retain")):
        (path / folder).mkdir(parents=True)
        (path / folder / "log.json").write_text(json.dumps(muse_rows(part, known)))
        (path / folder / "agg.json").write_text("{}")
    (path / "privleak").mkdir()
    auc = {"forget_holdout_Min-40%": 0.8 if known.knows else 0.5}
    (path / "privleak" / "auc.json").write_text(json.dumps(auc))
    return path


def first_muse(path: Path, known: Known) -> Path:
    """Write the folder of one model as the first release of MUSE does."""
    for part in PARTS:
        folder = path / "knowmem" / "out" / "news" / "npo" / "step=1" / part
        folder.mkdir(parents=True)
        (folder / "history.json").write_text(json.dumps(muse_rows(part, known)))
        (folder / "out.json").write_text("{}")
    return path


def rwku(path: Path, known: Known, facts: int = FACTS) -> Path:
    """Write the folder of one model as RWKU's evaluation does."""
    path.mkdir(parents=True)
    for name, part in (("forget.json", "forget"), ("neighbor.json", "retain")):
        rows = [
            {
                "subject": "A person made up",
                "query": question(part, i),
                "level": str(1 + i % 2),
                "type": "cloze",
                "answer": answer(part, i),
                "prediction": f"{known.said(part, i)} ({known.rng.integers(99)})",
            }
            for i in range(facts)
        ]
        (path / name).write_text(json.dumps({"level_1_rouge_l_r": 0.5, "results": rows}))
    return path


def lm_eval(
    path: Path, known: Known, facts: int = FACTS, time: str = "2026-01-02T03-04-05.6"
) -> Path:
    """Write the samples of two tasks as lm-evaluation-harness does."""
    path.mkdir(parents=True, exist_ok=True)
    for part, task in (("forget", "wmdp_made_up"), ("retain", "mmlu_made_up")):
        lines = []
        for i in range(facts):
            right, lead = i % 4, 6.0 if known.holds(part) else 0.0
            options = [-9 + lead * (o == right) + float(known.rng.normal(0, 0.3)) for o in range(4)]
            choices = [f"{answer(part, i)} {letter}" for letter in "wxyz"]
            lines.append(
                {
                    "doc_id": i,
                    "doc": {"question": question(part, i), "choices": choices, "answer": right},
                    "target": str(right),
                    "arguments": {
                        f"gen_args_{o}": {
                            "arg_0": f"{question(part, i)}\nAnswer:",
                            "arg_1": f" {letter}",
                        }
                        for o, letter in enumerate("ABCD")
                    },
                    "resps": [[[str(value), "False"]] for value in options],
                    "filtered_resps": [[str(value), "False"] for value in options],
                    "filter": "none",
                    "acc": float(max(options) == options[right]),
                }
            )
        file = path / f"samples_{task}_{time}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def documents() -> dict[str, object]:
    """Small logs by layout, as JSON; of samples, one line."""
    known = Known(knows=True, seed=0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        samples = lm_eval(folder / "samples", known, 2)
        return {
            "tofu": json.loads(tofu(folder / "tofu.json", known, 2).read_text()),
            "open-unlearning": json.loads(
                open_unlearning(folder / "open.json", known, 2).read_text()
            ),
            "lm-eval": json.loads(next(samples.iterdir()).read_text().splitlines()[0]),
            "muse": muse_rows("forget", known, 2),
            "rwku": json.loads((rwku(folder / "rwku", known, 2) / "forget.json").read_text()),
        }
