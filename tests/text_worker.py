"""A program that answers as `auditor.models.vllm_worker` does, by transformers.

It is a real engine in a process of its own. `TEXT_WORKER` (JSON) says what goes wrong:
``at`` (number of the question from which on it does) and ``fault``: ``other`` (the weights of
``model``), ``dies``, ``garbage``, ``silent``, ``short``, ``another``, ``faulty``. With ``plain`` it
passes over adapters. Orders and questions are appended to the file ``log``, and the GPUs that it
sees are written to the file ``gpus``.
"""

import functools
import json
import os
import sys
import time
from pathlib import Path

SAID = sys.stdout
VERSIONS = {"vllm": "transformers-worker 1", "torch": "2", "transformers": "5"}


def opened(folder, order, adapter=None):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, order["dtype"]))
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return model.eval()


def written(model, question, row):
    """Go on from one prompt, without a cache."""
    import torch

    ids, text, generator = question["prompts"][row], [], torch.Generator()
    if question["seeds"]:
        generator.manual_seed(question["seeds"][row])
    while len(text) < question["most"] and not (text and text[-1] in question["stops"]):
        with torch.inference_mode():
            logits = model(torch.tensor([ids + text])).logits[0, -1].float()
        if question["temperature"]:
            p = torch.softmax(logits / question["temperature"], -1)
            text.append(int(torch.multinomial(p, 1, generator=generator)))
        else:
            text.append(int(logits.argmax()))
    return text


def say(answer):
    SAID.write((answer if isinstance(answer, str) else json.dumps(answer)) + "\n")
    SAID.flush()


def answer(fault, models, question):
    """Answer a question, or go wrong."""
    number = question["id"]
    if fault == "dies":
        sys.exit("the engine had an accident")
    if fault == "silent":
        time.sleep(3600)
    if fault == "garbage":
        return "Processed prompts: 100%"
    if fault == "faulty":
        return {"id": number, "fault": "ValueError: not finite"}
    model = models(question["adapter"], other=fault == "other")
    texts = [written(model, question, row) for row in range(len(question["prompts"]))]
    if fault == "short":
        texts[0] = texts[0][:-1]
    return {"id": number + (fault == "another"), "written": texts}


def main():
    settings = json.loads(os.environ.get("TEXT_WORKER", "{}"))
    if "--versions" in sys.argv:
        say(VERSIONS)
        return
    log = Path(settings.get("log", os.devnull))
    line = sys.stdin.readline()
    log.write_text(line)
    order = json.loads(line)
    Path(settings.get("gpus", os.devnull)).write_text(os.environ["CUDA_VISIBLE_DEVICES"])

    @functools.cache
    def models(adapter, other):
        if adapter is not None and (settings.get("plain") or not order["rank"]):
            adapter = None
        return opened(settings["model"] if other else order["model"], order, adapter)

    say({"ready": VERSIONS})
    for number, line in enumerate(sys.stdin):
        if log.is_file():
            log.write_text(log.read_text() + line)
        fault = settings.get("fault") if number >= settings.get("at", 0) else None
        say(answer(fault, models, json.loads(line)))


if __name__ == "__main__":
    SAID = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to the standard output, too
    main()
