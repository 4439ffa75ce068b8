"""A bare loop: load the model in 8 and in 4 bits with bitsandbytes, and let it answer."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from benchmarks.peers.clock import Answer, Request, answer, timed

BATCH = 32
FORMATS: dict[str, dict[str, Any]] = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}


def work(request: Request) -> Answer:
    """Answer every question in each format; counts answers that begin with the true one."""
    torch.set_num_threads(1)
    asked = request["questions"]
    right = dict.fromkeys(FORMATS, 0)
    with timed() as quantizing:
        tokenizer = AutoTokenizer.from_pretrained(request["model"], padding_side="left")
        for name, settings in FORMATS.items():
            model = AutoModelForCausalLM.from_pretrained(
                request["model"], quantization_config=BitsAndBytesConfig(**settings)
            )
            for start in range(0, len(asked), BATCH):
                batch = asked[start : start + BATCH]
                given = tokenizer([a["question"] for a in batch], padding=True, return_tensors="pt")
                written = model.generate(
                    input_ids=given["input_ids"],
                    attention_mask=given["attention_mask"],
                    max_new_tokens=request["answer_tokens"],
                    do_sample=False,
                )
                texts = tokenizer.batch_decode(
                    written[:, given["input_ids"].shape[1] :], skip_special_tokens=True
                )
                right[name] += sum(
                    text.strip().startswith(a["answer"].strip())
                    for text, a in zip(texts, batch, strict=True)
                )
    return {"quantizing": quantizing, "right": right}


if __name__ == "__main__":
    answer(work)
