"""The suffix search against GCG as it is first written down: speed, and the loss it ends at.

    python -m benchmarks.gcg_speed [--subject npo_gdr] [--seeds 3]

Both search from the same first suffix, on the same prompts, with as many steps and candidates. The
searches take turns, and the one that begins changes with each seed. `all prompts` tries every
candidate on every prompt, as the plain search does; `some prompts` tries them on a few and the
best on all, as the attack does by default. Speed is by processor time of one thread, so that other
work on the machine hardly counts. Prints a Markdown table.
"""

import argparse
import random
import time
from collections.abc import Callable
from statistics import fmean

import torch

from attacks.prompting.coordinate_search import GCGParameters, search_suffix
from attacks.prompting.shared_prefix import Item, SharedPrefix
from attacks.prompting.suffix_text import allowed_tokens, starting_suffix, suffix_text, survives
from auditor.cli.progress import chosen_progress
from auditor.core.quiet import quiet_libraries
from auditor.data.folds import folds
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from auditor.testbeds.people import world as worlds
from benchmarks.plain_gcg import plain_gcg

Pairs = list[tuple[str, str]]
Result = tuple[list[int], float, int]
"""Suffix, loss by its own count, candidates tried."""

LENGTH, TOP_K = 8, 64


def run(name: str, seeds: int, steps: int, candidates: int, prompts: int, world: str) -> None:
    """Search with each method and print the table."""
    built = worlds.build(world, only=(name,), progress=chosen_progress(quiet=False))
    spec = CausalLMSpec(path=str(built.model_path(name)), dtype="float32")
    subject = CausalLM(spec, locate(spec))
    facts = read_facts(DataSource(path=str(built.facts("forget"))), "forget")
    pairs = [(f.prompt, f.answer) for f in folds(facts, "attribute")[0].given][:prompts]
    allowed = allowed_tokens(subject.tokenizer, False, subject.network.config.vocab_size)
    lines: dict[str, list[tuple[float, float, float, bool]]] = {}
    for seed in range(seeds):
        start, items = starting_suffix(subject, pairs, LENGTH, allowed, random.Random(seed))

        def plain(items: list[Item] = items, start: list[int] = start, seed: int = seed) -> Result:
            found = plain_gcg(
                subject.network, items, start, allowed, steps, candidates, TOP_K, seed
            )
            return found.ids, found.loss, found.evaluated

        def shared(some: int, finalists: int, seed: int = seed) -> Result:
            settings = GCGParameters(
                suffix_length=LENGTH,
                num_steps=steps,
                search_width=candidates,
                topk=TOP_K,
                batch_size=some,
                finalists=finalists,
                patience=steps,
                stop_loss=0.0,
            )
            found = search_suffix(subject, pairs, allowed, settings, seed)
            return found.ids, found.losses[-1], found.evaluated

        methods: dict[str, Callable[[], Result]] = {
            "plain": plain,
            "all prompts": lambda: shared(prompts, 1),
            "some prompts": lambda: shared(8, 1),
        }
        order = list(methods) if seed % 2 == 0 else list(methods)[::-1]
        for method in order:
            began = time.process_time()
            ids, loss, evaluated = methods[method]()
            seconds = time.process_time() - began
            readable = survives(subject, pairs, items, ids)
            as_text = _text_loss(subject, pairs, ids)
            lines.setdefault(method, []).append((evaluated / seconds, loss, as_text, readable))
        first = float(SharedPrefix(subject, items, LENGTH).losses([start], range(prompts)).mean())
        print(f"seed {seed}: loss {first:.3f} before the search", flush=True)
    _print(lines)


def _text_loss(subject: CausalLM, pairs: Pairs, ids: list[int]) -> float:
    """Loss of what an attacker would send: the suffix as text."""
    text = suffix_text(subject.tokenizer, ids)
    scores = subject.score([(prompt + text, answer) for prompt, answer in pairs])
    return -fmean(score.mean_log_probability for score in scores)


def _print(lines: dict[str, list[tuple[float, float, float, bool]]]) -> None:
    base = fmean(speed for speed, *_ in lines["plain"])
    print("\n| search | candidates/s | ratio | final loss | as text | survives as text |")
    print("| --- | --: | --: | --: | --: | --: |")
    for method, found in lines.items():
        speed = fmean(line[0] for line in found)
        losses = " ".join(f"{line[1]:.3f}" for line in found)
        texts = " ".join(f"{line[2]:.3f}" for line in found)
        readable = sum(line[3] for line in found)
        print(
            f"| {method} | {speed:.1f} | {speed / base:.2f} | "
            f"{fmean(line[1] for line in found):.3f} ({losses}) | "
            f"{fmean(line[2] for line in found):.3f} ({texts}) | {readable} of {len(found)} |"
        )


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="people", choices=[r.name for r in worlds.list_worlds()])
    parser.add_argument("--subject", default="npo_gdr")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=24)
    a = parser.parse_args()
    torch.set_num_threads(1)
    run(a.entity, a.seeds, a.steps, a.candidates, a.prompts, a.world)


if __name__ == "__main__":
    quiet_libraries()
    main()
