"""Processor time of rounding by ggml, for the weights of a model of 7 billion.

    python -m benchmarks.gguf_speed [--weights 100000000]

Rounds random matrices of a width of 4,096 as the levels of `quantization/gguf` do, and multiplies
by what is missing to 7 billion weights. Prints Markdown.

Predicted, before the first run: at most 10 minutes for each k-quant and Q8_0; more for IQ4_NL,
whose grid is searched for each block.
"""

import argparse
import time

import torch

from attacks.quantization.ggml import rounded

TYPES = ("Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL")
WIDTH, WHOLE = 4096, 7_000_000_000


def minutes(type_: str, weights: int) -> float:
    """Minutes of one processor for all weights.

    Args:
        type_: Name of a type of ggml.
        weights: How many are rounded.
    """
    matrix = torch.randn(weights // WIDTH, WIDTH, generator=torch.manual_seed(0))
    began = time.process_time()
    rounded(0.02 * matrix, type_)
    return (time.process_time() - began) / 60 * WHOLE / matrix.numel()


def main() -> None:
    """Print a row for each type."""
    parser = argparse.ArgumentParser(description="Processor time of rounding by ggml.")
    parser.add_argument("--weights", type=int, default=100_000_000)
    weights = parser.parse_args().weights
    torch.set_num_threads(1)
    print("| type | processor minutes of 7 B |\n| --- | --: |")
    for type_ in TYPES:
        print(f"| {type_} | {minutes(type_, weights):.1f} |", flush=True)


if __name__ == "__main__":
    main()
