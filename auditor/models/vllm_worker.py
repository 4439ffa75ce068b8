"""vLLM in a process of its own, asked in lines of JSON.

vLLM pins another torch than the audit's, so that it lives in an environment of its own. The audit
starts this file by its path with that environment's interpreter. It imports nothing of the project.

The first line of the standard input is an `Order`, to which `{"ready": versions}` answers once the
model is loaded; each further line is a `Question`, answered in one line, `{"id", "written"}` or
`{"id", "fault"}`. It ends when the standard input closes.

`python vllm_worker.py --versions` prints the versions alone, and with `--import` makes sure that
vLLM can be imported.
"""

import json
import math
import os
import queue
import sys
import threading
from importlib.metadata import packages_distributions, version
from typing import Any, TextIO, TypedDict

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters for which vLLM has kernels."""
_SHOWN = 600
"""Most characters of an error that are passed on."""
_GIVEN = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, whose order of work is always the same
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
}
"""Settings of vLLM's environment that hold unless the user's own say otherwise."""


class Order(TypedDict):
    """Model that is to answer, and how it is opened."""

    model: str
    """Folder of the weights."""
    rank: int
    """Largest rank of the LoRA adapters that questions will name; 0 if they will name none."""
    dtype: str
    """float32, float16 or bfloat16."""
    memory: float
    """Bytes of keys and values."""


class Question(TypedDict):
    """Prompts that are to be gone on from."""

    id: int
    adapter: str | None
    """Folder of a LoRA adapter with which the model answers."""
    prompts: list[list[int]]
    """Token ids."""
    most: int
    """Tokens of an answer at most."""
    stops: list[int]
    """Tokens that end an answer."""
    temperature: float
    """0 for greedy answers."""
    top_p: float
    seeds: list[int]
    """Seed of each prompt's numbers; empty for greedy answers."""


class Engine:
    """A model that vLLM has opened.

    Args:
        order: The model, and how it is opened.
    """

    def __init__(self, order: Order) -> None:
        import torch
        from vllm import LLM

        lora: dict[str, Any] = {}
        self._adapters: dict[str, int] = {}
        if order["rank"]:
            rank = next((known for known in _RANKS if known >= order["rank"]), order["rank"])
            lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
        self._model = LLM(
            model=order["model"],
            skip_tokenizer_init=True,
            dtype=order["dtype"],
            kv_cache_memory_bytes=int(order["memory"]),
            gpu_memory_utilization=0.01,  # the bytes above are what counts
            max_model_len=-1,  # as much of the model's context as they hold
            enforce_eager=not torch.cuda.is_available(),
            enable_prefix_caching=False,
            generation_config="vllm",  # a checkpoint's own penalties are set aside
            seed=0,
            **lora,
        )

    def written(self, question: Question) -> list[list[int]]:
        """Go on from each prompt, up to what ends a text.

        Raises:
            ValueError: Logits are not finite.
        """
        from vllm import SamplingParams

        count = len(question["prompts"])
        seeds: list[int | None] = [*question["seeds"]] or [None] * count
        settings = [
            SamplingParams(
                temperature=question["temperature"],
                top_p=question["top_p"],
                seed=seed,
                max_tokens=question["most"],
                stop_token_ids=question["stops"],
                ignore_eos=True,  # the stops are all that ends an answer
                detokenize=False,
                logprobs=0,  # of the token itself
            )
            for seed in seeds
        ]
        found = self._model.generate(
            [{"prompt_token_ids": ids} for ids in question["prompts"]],
            settings,
            use_tqdm=False,
            lora_request=self._request(question["adapter"]),
        )
        answers = [one.outputs[0] for one in found]
        for answer in answers:
            places = answer.logprobs or ()
            if len(places) != len(answer.token_ids) or not all(
                math.isfinite(place[token].logprob)
                for token, place in zip(answer.token_ids, places, strict=True)
            ):
                raise ValueError("the model's logits are not finite while it generates")
        return [list(answer.token_ids) for answer in answers]

    def _request(self, adapter: str | None) -> Any:
        """Return vLLM's request of an adapter; each folder is a number."""
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(adapter, len(self._adapters) + 1)
        return LoRARequest(f"adapter-{number}", number, adapter)


def versions() -> dict[str, str]:
    """Return vLLM's distribution and version, and those that it computes with.

    Raises:
        ModuleNotFoundError: This environment has no vLLM.
    """
    found = packages_distributions().get("vllm")
    if not found:
        raise ModuleNotFoundError("vllm is not installed")
    return {
        "vllm": f"{found[0]} {version(found[0])}",
        **{name: version(name) for name in ("torch", "transformers")},
    }


def serve(said: TextIO) -> None:
    """Open the ordered model, and answer questions about it.

    Args:
        said: Where the answers go.
    """

    def say(answer: dict[str, Any]) -> None:
        said.write(json.dumps(answer) + "\n")
        said.flush()

    order: Order = json.loads(sys.stdin.readline())
    questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    try:
        engine = Engine(order)
    except Exception as error:  # a library that opens a model raises anything
        say({"fault": _worded(error)})
        return
    say({"ready": versions()})
    while True:
        question = questions.get()
        try:
            say({"id": question["id"], "written": engine.written(question)})
        except Exception as error:  # so does one that asks it
            say({"id": question["id"], "fault": _worded(error)})


def _listen(questions: "queue.SimpleQueue[Question]") -> None:
    """Take questions in until the standard input closes, as the audit ends."""
    for line in sys.stdin:
        questions.put(json.loads(line))
    os._exit(0)


def _worded(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}"


if __name__ == "__main__":
    for name, value in _GIVEN.items():
        os.environ.setdefault(name, value)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to the standard output, too
    if "--versions" in sys.argv:
        if "--import" in sys.argv:
            import vllm  # noqa: F401 - it may be there and not load
        answers.write(json.dumps(versions()) + "\n")
        answers.flush()
    else:
        serve(answers)
