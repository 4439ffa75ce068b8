"""nanoGCG's `run`, one prompt after the other, for that is what it takes."""

from nanogcg import GCGConfig
from nanogcg import gcg as nanogcg_gcg
from nanogcg import run as nanogcg_run
from torch import set_num_threads
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.clock import Answer, Request, answer, timed


def work(request: Request) -> Answer:
    """Search a suffix for each prompt, from the given first suffix.

    What `nanogcg.gcg.filter_ids` lets through is counted: these candidates are evaluated.
    """
    set_num_threads(1)
    evaluated = 0
    kept = nanogcg_gcg.filter_ids

    def counted(*given: object) -> object:
        nonlocal evaluated
        found = kept(*given)
        evaluated += len(found)
        return found

    nanogcg_gcg.filter_ids = counted
    with timed() as opening:
        model = AutoModelForCausalLM.from_pretrained(request["model"])
        tokenizer = AutoTokenizer.from_pretrained(request["model"])
    searches = []
    with timed() as searching:
        for prompt in request["prompts"]:
            config = GCGConfig(
                num_steps=request["steps"],
                optim_str_init=prompt["start"],
                search_width=request["candidates"],
                topk=request["top_k"],
                add_space_before_target=True,
                seed=prompt["seed"],
                verbosity="ERROR",
            )
            found = nanogcg_run(model, tokenizer, prompt["prompt"], prompt["answer"], config)
            searches.append({"text": found.best_string, "loss": float(found.best_loss)})
    return {
        "opening": opening,
        "searching": searching,
        "evaluated": evaluated,
        "searches": searches,
    }


if __name__ == "__main__":
    answer(work)
