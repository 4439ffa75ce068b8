"""A program that answers as `auditor.models.vllm_worker` does, by transformers.

It is a real engine in a process of its own. `TEXT_WORKER` (JSON) says what goes wrong:
``at`` (number of the question from which on it does) and ``fault``: ``other`` (the weights of
``model``), ``dies``, ``garbage``, ``silent``, ``short``, ``another``, ``faulty``. Each order is
appended to the file ``log``, each question as well.
"""

import json
import os
import sys
import time

VERSIONS = {"vllm": "transformers-worker 1", "torch": "2", "transformers": "5"}


def write(model, question):
    import torch

    found = []
    for row, ids in enumerate(question["prompts"]):
        generator = torch.Generator()
        if question["seeds"]:
            generator.manual_seed(question["seeds"][row])
        text = []
        while len(text) < question["most"]:
            with torch.inference_mode():
                logits = model(torch.tensor([ids + text])).logits[0, -1].float()
            if question["temperature"]:
                p = torch.softmax(logits / question["temperature"], -1)
                text.append(int(torch.multinomial(p, 1, generator=generator)))
            else:
                text.append(int(logits.argmax()))
            if text[-1] in question["stops"]:
                break
        found.append(text)
    return found


def main():
    settings = json.loads(os.environ.get("TEXT_WORKER", "{}"))
    if "--versions" in sys.argv:
        print(json.dumps(VERSIONS))
        return
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    opened = {}

    def model_of(folder, adapter=None):
        if folder not in opened:
            dtype = getattr(torch, order["dtype"])
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
            if adapter is not None:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, adapter).eval()
            opened[folder] = model
        return opened[folder]

    def log(entry):
        if "log" in settings:
            with open(settings["log"], "a") as file:
                file.write(json.dumps(entry) + "\n")

    order = json.loads(sys.stdin.readline())
    log(order)
    model_of(order["model"], order["adapter"])
    print(json.dumps({"ready": settings.get("versions", VERSIONS)}), flush=True)
    for number, line in enumerate(sys.stdin):
        question = json.loads(line)
        log(question)
        fault = settings.get("fault") if number >= settings.get("at", 0) else None
        answer = {"id": question["id"]}
        if fault == "dies":
            sys.exit("the engine had an accident")
        if fault == "silent":
            time.sleep(3600)
        if fault == "garbage":
            print("Processed prompts: 100%", flush=True)
            continue
        if fault == "faulty":
            print(json.dumps({**answer, "fault": "ValueError: not finite"}), flush=True)
            continue
        model = model_of(settings["model"] if fault == "other" else order["model"])
        answer["written"] = write(model, question)
        if fault == "short":
            answer["written"][0] = answer["written"][0][:-1]
        if fault == "another":
            answer["id"] += 1
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
