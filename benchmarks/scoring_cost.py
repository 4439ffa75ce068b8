"""What scoring costs above the forward pass that it is read from.

    python -m benchmarks.scoring_cost [--threads 1] [--threads 2]

Builds a Llama of random weights (no training: only time is measured) and times, over the same
items, the same batches and in turn:

* bare: the model's forward pass alone, to the logits of all places;
* scored: `subject.score` (tokenising, the pass, log-probability, mean and deviation of every
  token), every membership score that is read from one pass, and the probability metrics
  (answer probability, exact memorisation, extraction strength).

Two kinds of items are asked: passages, every token of which is scored, and questions, of which the
last fourth is. Prints the medians of the wall-clock time and their ratio, the ratio of the medians
of the processor time, which other programs on the machine disturb less, and the largest logits that
either makes at a time. The order within a pair of repetitions alternates.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch

from attacks.membership import reference_models, token_likelihood
from auditor.core.facts import Fact
from auditor.core.quiet import quiet_libraries
from auditor.metrics.language import AnswerProbability, ExactMemorisation, ExtractionStrength
from auditor.models.batching import by_length
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.language.scoring import TokenScores
from auditor.models.language.transcript import Transcript
from auditor.models.opening import locate
from benchmarks.random_llama import write_random_llama

WIDTH, LAYERS = 512, 12
WORDS = 24
TOKEN_BUDGET = 1024
KINDS = ("passages", "questions")
METRICS = (AnswerProbability(), ExactMemorisation(), ExtractionStrength())


def build(directory: Path, vocabulary: int) -> CausalLM:
    """A Llama of random weights with a byte-level tokenizer."""
    write_random_llama(directory, vocabulary, WIDTH, LAYERS, heads=8)
    spec = CausalLMSpec(path=str(directory), dtype="float32")
    return CausalLM(spec, locate(spec), token_budget=TOKEN_BUDGET)


def facts(asked: str, count: int) -> list[Fact]:
    """Texts of several lengths.

    Args:
        asked: ``passages``, every token of which is scored, or ``questions``, of which the last
            fourth is.
        count: How many there are.
    """
    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "one", "two", "three"]
    texts = [rng.choice(words, size=int(rng.integers(WORDS // 2, WORDS))) for _ in range(count)]
    found = []
    for i, text in enumerate(texts):
        cut = 3 * len(text) // 4 if asked == "questions" else 0
        prompt, answer = " ".join(text[:cut]) or "x", " ".join(text[cut:])
        found.append(Fact(id=f"f{i}", entity=f"s{i}", prompt=prompt, answer=answer))
    return found


def bare(subject: CausalLM, items: list[list[int]]) -> None:
    """The forward passes that scoring makes, without anything read from them."""
    for batch in by_length([len(ids) for ids in items], TOKEN_BUDGET):
        ids, mask = subject.padded([items[i] for i in batch])
        with torch.inference_mode():
            subject.network(input_ids=ids, attention_mask=mask, use_cache=False)


def scored(subject: CausalLM, asked: list[Fact]) -> None:
    """Every score of membership and probability."""
    transcript = Transcript(subject, asked)
    for metric in METRICS:
        metric.read(transcript)
    membership(transcript.answers, asked)


def membership(scores: list[TokenScores], asked: list[Fact]) -> None:
    """All membership scores; two other models are stood in for by shifted scores."""
    for one, fact in zip(scores, asked, strict=True):
        token_likelihood.loss(one)
        token_likelihood.zlib_ratio(one, fact.answer)
        token_likelihood.recall(one, one)
        for share in (0.1, 0.2, 0.4):
            token_likelihood.min_k(one, share)
            token_likelihood.min_k_plus_plus(one, share)
    own = np.array([one.mean_log_probability for one in scores])
    out = np.stack([own - 0.1, own - 0.2])
    reference_models.ratio(own, out)
    reference_models.lira(own, out)
    ratios = reference_models.rmia_ratio(own, out, 0.33)
    reference_models.rmia(ratios, ratios, 1.0, same=True)


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock and processor time of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def largest_logits(subject: CausalLM, run: Callable[[], None]) -> float:
    """Megabytes of the largest logits that a run makes at a time."""
    sizes: list[int] = []

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        sizes.append(output.numel() * output.element_size())

    handle = subject.network.get_output_embeddings().register_forward_hook(keep)
    run()
    handle.remove()
    return max(sizes) / 1e6


def compare(
    subject: CausalLM, kind: str, count: int, repetitions: int
) -> dict[str, tuple[float, float, float]]:
    """Return what the bare and the scored pass take, in turn.

    They are median wall-clock and processor seconds, and megabytes of the largest logits.
    """
    asked = facts(kind, count)
    items = [item.ids for item in subject.encode([(f.prompt, f.answer) for f in asked])]
    runs = {
        "bare": lambda: bare(subject, items),
        "scored": lambda: scored(subject, asked),
    }
    logits = {name: largest_logits(subject, run) for name, run in runs.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for repetition in range(repetitions):
        for name in list(runs)[:: 1 if repetition % 2 else -1]:
            times[name].append(seconds(runs[name]))
    return {
        name: (
            statistics.median(w for w, _ in taken),
            statistics.median(p for _, p in taken),
            logits[name],
        )
        for name, taken in times.items()
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", action="append", type=int)
    parser.add_argument("--vocabulary", action="append", type=int)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=9)
    arguments = parser.parse_args()
    print(
        "| parameters | vocabulary | asked | threads | bare (s) | scored (s) | ratio | processor "
        "| logits, bare (MB) | scored |"
    )
    print("| --: | --: | --- | --: | --: | --: | --: | --: | --: | --: |")
    for vocabulary in arguments.vocabulary or [8_000, 32_000]:
        with tempfile.TemporaryDirectory() as folder:
            subject = build(Path(folder), vocabulary)
            parameters = sum(p.numel() for p in subject.network.parameters())
            for kind, threads in product(KINDS, arguments.threads or [1, 2]):
                torch.set_num_threads(threads)
                bare_run, scored_run = compare(
                    subject, kind, arguments.items, arguments.repetitions
                ).values()
                print(
                    f"| {parameters / 1e6:.1f} M | {vocabulary:,} | {kind} | {threads} "
                    f"| {bare_run[0]:.2f} | {scored_run[0]:.2f} "
                    f"| {scored_run[0] / bare_run[0]:.3f} | {scored_run[1] / bare_run[1]:.3f} "
                    f"| {bare_run[2]:.1f} | {scored_run[2]:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    quiet_libraries()
    main()
