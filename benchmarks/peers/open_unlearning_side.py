"""open-unlearning's evaluator with its metrics of memorisation on the forget and the retain set.

Its metrics of membership are left out, for MIMIR's attacks, of which they are copies, are run too.
"""

import torch
from evals.tofu import TOFUEvaluator
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.clock import Answer, Request, answer, timed

BATCH = 32
"""Its configuration's batch."""
HANDLERS = ("probability", "rouge", "exact_memorization", "extraction_strength")
TEMPLATE = {
    "apply_chat_template": False,
    "user_start_tag": "",
    "user_end_tag": "",
    "asst_start_tag": "",
    "asst_end_tag": "",
}


def work(request: Request) -> Answer:
    """Open the model and evaluate it."""
    torch.set_num_threads(1)
    with timed() as opening:
        model = AutoModelForCausalLM.from_pretrained(request["model"], torch_dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(request["model"])
    metrics = {
        f"{name}_{handler}": _metric(handler, name, path, request["answer_tokens"])
        for name, path in request["questions"].items()
        for handler in HANDLERS
    }
    settings = {"metrics": metrics, "output_dir": request["out"], "overwrite": True}
    with timed() as evaluating:
        evaluator = TOFUEvaluator(OmegaConf.create(settings))
        figures = evaluator.evaluate(
            model, tokenizer=tokenizer, template_args=OmegaConf.create(TEMPLATE)
        )
    found = {name: float(value) for name, value in figures.items()}
    return {"opening": opening, "evaluating": evaluating, "figures": found}


def _metric(handler: str, name: str, path: str, answer_tokens: int) -> Answer:
    """Its configuration of a metric, with the facts' file in the data set's place."""
    written = handler == "rouge"
    settings: Answer = {
        "handler": handler,
        "batch_size": BATCH,
        "datasets": {
            name: {
                "handler": "QADataset",
                "args": {
                    "hf_args": {"path": "json", "data_files": path, "split": "train"},
                    "question_key": "question",
                    "answer_key": "answer",
                    "max_length": 512,
                    "predict_with_generate": written,
                },
            }
        },
        "collators": {
            "DataCollatorForSupervisedDataset": {
                "handler": "DataCollatorForSupervisedDataset",
                "args": {"padding_side": "left" if written else "right", "index": "index"},
            }
        },
    }
    if written:
        settings["rouge_type"] = "rougeL_recall"
        settings["generation_args"] = {
            "do_sample": False,
            "top_p": None,
            "temperature": None,
            "max_new_tokens": answer_tokens,
            "use_cache": True,
        }
    return settings


if __name__ == "__main__":
    answer(work)
