"""The most memory that each attack of the profile `standard` takes, over the bare model's.

    python -m benchmarks.attack_memory [--only quantization/bnb]

A Llama of 147 million random weights in float32 is opened and attacked in a process of its own for
each level, with few steps of training and search, on which the memory does not depend. The bare
model is loaded by transformers and answers the facts to forget in one batch; the attacks ask in
batches of 1,024 tokens, for what a batch holds does not grow with the model, and would weigh too
much beside a small one. Memory is the resident set
at its most (`VmHWM`); the libraries, imported and nothing opened, are told apart, because they
weigh as much on a small model as on a large one. Pages of the mapped checkpoint count as resident
once they were read. Attacks on routing are measured on a mixture of experts of as many weights,
over its own bare figure. Prints a table as Markdown.

Prediction, before the first run: at most 1.3 times the bare model, libraries taken off both, for
the attacks that change no weight; at most 2.2 for the others.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from auditor import load_model, run_attack
from auditor.attack import ATTACKS
from auditor.core.facts import Fact
from auditor.core.quiet import quiet_libraries
from benchmarks.random_llama import byte_level_tokenizer, write_random_llama

VOCABULARY, WIDTH, LAYERS, HEADS = 32_000, 768, 13, 12
PROMPT, ANSWER = "the {attribute} of subject {entity} is", "value {entity} of {attribute}"
BUDGET = 1_024
BARE, LIBRARIES = "bare", "libraries"
MIXTURE = "mixture"
OF_TWO = ("probing/activation-patching",)
"""Attacks that measure with what they found on the original."""
TRACE = {"trace": {"open": "<think>", "close": "</think>", "tokens": 16}}
"""Form of prompts for attacks on traces, which are short here."""
FEWER: Mapping[str, Any] = {
    "checkpoints": (2,),
    "max_steps": 2,
    "eval_steps": 1,
    "num_steps": 2,
    "steps": 2,
    "samples": 2,
    "k": 1,
    "neighbours": 2,
    "draws": 1,
    "shots": 2,
    "calibration_samples": 8,
    "search_width": 8,
}
"""Parameters that are counts of steps, where an attack has them."""


def facts(first: int, entities: int = 4, attributes: Sequence[int] = range(4)) -> list[Fact]:
    """Return facts of made-up subjects, several of each."""
    return [
        Fact(
            id=f"{entity}-{attribute}",
            entity=f"subject {entity}",
            prompt=PROMPT.format(entity=entity, attribute=attribute),
            answer=ANSWER.format(entity=entity, attribute=attribute),
            paraphrases=(f"of {entity}, {attribute}:",),
        )
        for entity, attribute in product(range(first, first + entities), attributes)
    ]


def build(folder: Path) -> None:
    """Write the model."""
    write_random_llama(folder, VOCABULARY, WIDTH, LAYERS, HEADS)


def build_mixture(folder: Path) -> None:
    """Write a mixture of eight experts a layer, of about as many weights."""
    torch.manual_seed(0)
    settings = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=7,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    MixtralForCausalLM(settings).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)


def bare(folder: Path) -> None:
    """Load the model and generate, without the product."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    asked = tokenizer([fact.prompt for fact in facts(0)], return_tensors="pt", padding=True)
    longest = max(len(tokenizer(fact.answer).input_ids) for fact in facts(0))
    given = {"input_ids": asked.input_ids, "attention_mask": asked.attention_mask}
    network.generate(**given, max_new_tokens=longest, do_sample=False)


def attacked(folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
    """Run an attack at a level on the model."""
    options: dict[str, Any] = {"dtype": "float32", "token_budget": BUDGET}
    if name == "prompting/thinking":
        options["format"] = TRACE
    model = load_model(str(folder / "unlearned"), **options)
    needed = ATTACKS.get(name).requires.donor or name in OF_TWO
    donor = load_model(str(folder / "original"), **options)
    run_attack(
        name,
        model,
        facts(0),
        retain=facts(10, attributes=range(4, 8)),
        holdout=facts(20, entities=8),
        original=donor if needed else None,
        **parameters,
    )


def levels(only: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, level and parameters of all levels of the profile `standard`."""
    for name in ATTACKS.names():
        described = ATTACKS.metadata(name)
        if "causal-lm" not in described.kinds:
            continue
        fields = ATTACKS.get(name).parameters_type.model_fields
        fewer = {field: value for field, value in FEWER.items() if field in fields}
        for preset in described.presets:
            asked = not only or any(f"{name} {preset.name}".startswith(each) for each in only)
            if asked and preset.profile in ("quick", "standard"):
                yield name, preset.name, {**preset.parameters, **fewer}


def main() -> None:
    """Measure one thing in this process, or print the table of all."""
    parser = argparse.ArgumentParser(description="Memory of attacks over the bare model's.")
    parser.add_argument("--only", action="append", default=[], help="beginnings of labels")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--parameters", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        quiet_libraries()
        if options.one == BARE:
            bare(options.folder / "unlearned")
        elif options.one != LIBRARIES:
            attacked(options.folder, options.one, json.loads(options.parameters))
        print(_peak())
        return
    with tempfile.TemporaryDirectory() as folder:
        mixture = str(Path(folder) / MIXTURE)
        for arm in ("unlearned", "original"):
            build(Path(folder) / arm)
            build_mixture(Path(mixture) / arm)
        libraries = int(_measured(folder, LIBRARIES, {}))
        of_model = {place: int(_measured(place, BARE, {})) for place in (folder, mixture)}
        sizes = " and ".join(f"{size / 2**20:.0f}" for size in of_model.values())
        print(f"Libraries {libraries / 2**20:.0f} MiB; bare {sizes} MiB.\n")
        print(
            "| attack | MiB | / bare | without libraries |\n| --- | --: | --: | --: |", flush=True
        )
        for name, level, parameters in levels(options.only):
            place = mixture if ATTACKS.get(name).requires.experts else folder
            found, plain = _measured(place, name, parameters), of_model[place]
            if found.isdecimal():
                peak = int(found)
                figures = f"{peak / 2**20:.0f} | {peak / plain:.2f} "
                figures += f"| {(peak - libraries) / (plain - libraries):.2f}"
            else:
                figures = f"not run: {found} | |"
            print(f"| {name} {level} | {figures} |", flush=True)


def _measured(folder: str, what: str, parameters: Mapping[str, Any]) -> str:
    """Return the bytes that a process took at its most, or why there are none."""
    given = ["--one", what, "--folder", folder, "--parameters", json.dumps(parameters)]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.attack_memory", *given],
        capture_output=True,
        text=True,
        check=False,
    )
    said = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines()
    return said[-1] if said else f"exit {ended.returncode}"


def _peak() -> int:
    """Return the most bytes of main memory that this process held."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
