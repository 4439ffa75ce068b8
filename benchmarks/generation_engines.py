"""How fast another engine writes texts, against transformers on the same prompts.

    UNLEARNING_AUDITOR_VLLM=/path/to/venv/bin/python \
        python -m benchmarks.generation_engines [--width 768 --layers 12] [--prompts 256] [--new 32]

Builds a Llama of random weights (no training: only time is measured), opens it twice as an audit
does, once with the engine that a plan may name, and has both write the same texts greedily, in turn
and in one process each. Of the engine's time are counted: the digests by which the network in
memory is found to be what was loaded, the pipe, and the texts that the network reads each time. Its
start and its first canary are shown apart.

Prediction, before it was run: on a processor, where a batch of 256 rows is bound by arithmetic and
not by launches, vLLM gains little: 1 to 2 times the tokens a second of transformers with one
thread, from attention over pages that are not padded and from fewer passes through Python. The
start takes 20 to 60 s. On a GPU nothing was measured.

Measured figures are in `benchmarks/RESULTS.md`; the default size was not measured.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from auditor.core.quiet import quiet_libraries
from auditor.models.causal_lm.model import CausalLM
from auditor.models.causal_lm.served import ServedCausalLM
from auditor.models.causal_lm.spec import CausalLMSpec
from auditor.models.opening import locate
from auditor.models.spec import PromptFormat
from auditor.models.text_engine import AskedEngine, TextEngine, engine_versions
from benchmarks.scoring_cost import byte_level_tokenizer

VOCABULARY = 32_000
LENGTHS = (12, 36)
"""Tokens of the shortest and the longest prompt."""


def build(folder: Path, width: int, layers: int) -> int:
    """Save a Llama of random weights; return their number."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():  # else logits are so close that every second token is a tie
        network.lm_head.weight.mul_(20)
    network.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return sum(parameter.numel() for parameter in network.parameters())


def prompts(count: int) -> list[list[int]]:
    """Random token ids of different lengths."""
    generator = torch.Generator().manual_seed(1)
    shortest, longest = LENGTHS
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def seconds(model: CausalLM, starts: list[list[int]], new: int) -> tuple[float, list[list[int]]]:
    """Seconds in which a model writes, and what."""
    began = time.perf_counter()
    texts = model._written(starts, new, None)
    return time.perf_counter() - began, texts


def main() -> None:
    """Measure, and print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--memory", type=float, default=1.0)
    given = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(given.threads)
    settings = TextEngine(memory=given.memory)
    asked = AskedEngine(settings=settings, versions=engine_versions(settings), code="benchmark")
    with tempfile.TemporaryDirectory() as folder:
        weights = build(Path(folder), given.width, given.layers)
        spec = CausalLMSpec(path=folder, dtype=given.dtype)
        location, form = locate(spec), PromptFormat()
        plain = CausalLM(spec, location, form)
        served = ServedCausalLM.open_served(spec, location, form, 8192, lambda n: None, asked)
        starts = prompts(given.prompts)
        print(f"{weights / 1e6:.0f} M weights, {asked.versions}")
        try:
            began = time.perf_counter()
            served._written(starts[:16], 1, None)
            print(f"start, with the first canary: {time.perf_counter() - began:.1f} s")
            times: dict[str, list[float]] = {"transformers": [], "engine": []}
            for repetition in range(given.repetitions):
                order = [("transformers", plain), ("engine", served)]
                texts = {}
                for name, model in order[:: 1 - 2 * (repetition % 2)]:
                    took, texts[name] = seconds(model, starts, given.new)
                    times[name].append(took)
                pairs = zip(texts["transformers"], texts["engine"], strict=True)
                same = sum(one == other for one, other in pairs)
            if served.use.refused is not None:
                raise SystemExit(f"the engine was refused: {served.use.refused}")
        finally:
            served.close()
    tokens = sum(map(len, texts["transformers"]))
    rates = {name: tokens / statistics.median(took) for name, took in times.items()}
    print(f"texts that are equal to the last token: {same} of {len(starts)}")
    for name, took in times.items():
        every = ", ".join(f"{each:.2f}" for each in took)
        print(f"{name}: {rates[name]:.0f} tokens/s (seconds: {every})")
    print(f"ratio: {rates['engine'] / rates['transformers']:.2f}")


if __name__ == "__main__":
    main()
