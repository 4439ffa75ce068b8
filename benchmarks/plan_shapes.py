"""Plans for models of 7 to 70 billion weights, of which only the headers exist.

    python -m benchmarks.plan_shapes FOLDER [--only "Llama 2 7B"]

The checkpoints are sparse files that hold the headers of every tensor and a few random weights of
each, so they take no room; only their digests take time. Each is planned in the profile `standard`
for three machines, by published figures of their cards. Prints a table as Markdown.
"""

import argparse
import json
import random
import struct
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MixtralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from auditor.core.errors import AuditorError
from auditor.core.progress import SilentProgress
from auditor.core.roles import Role
from auditor.engine.capacity import capacity, check_fits, shapes_of
from auditor.engine.estimate import estimate
from auditor.engine.machine import GB, stated
from auditor.engine.plan import parse_plan
from auditor.engine.preparation import Prepared, prepare
from auditor.store.folder_store import FolderStore

_WRITTEN = 4096
"""Bytes of random weights at the beginning of each tensor."""
_FACTS = 100
MACHINES = ("1xH100", "2xH100", "8xH100")
_GROUPED: dict[str, Any] = {"num_key_value_heads": 8}
SHAPES: dict[str, PretrainedConfig] = {
    "Llama 2 7B": LlamaConfig(vocab_size=32_000, hidden_size=4096, intermediate_size=11_008),
    "Code Llama 34B": LlamaConfig(
        vocab_size=32_000,
        hidden_size=8192,
        intermediate_size=22_016,
        num_hidden_layers=48,
        num_attention_heads=64,
        **_GROUPED,
    ),
    "Llama 2 70B": LlamaConfig(
        vocab_size=32_000,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=80,
        num_attention_heads=64,
        **_GROUPED,
    ),
    "Mixtral 8x7B": MixtralConfig(vocab_size=32_000, intermediate_size=14_336, **_GROUPED),
}


class Row(NamedTuple):
    """What a plan says of one model on one machine."""

    model: str
    machine: str
    fits: str
    hours: float
    largest: float
    """GB of the attack that needs most."""
    lacking: str


def checkpoint(folder: Path, config: PretrainedConfig, seed: int) -> None:
    """Write a checkpoint without weights to speak of."""
    folder.mkdir(parents=True)
    config.architectures = [f"{type(config).__name__.removesuffix('Config')}ForCausalLM"]
    config.dtype = "bfloat16"
    config.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    header, end = {}, 0
    for name, tensor in network.state_dict().items():
        size = 2 * tensor.numel()
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % 8)
    rng = random.Random(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(content)) + content)
        for entry in header.values():
            begin, stop = entry["data_offsets"]
            file.seek(8 + len(content) + begin)
            weights = torch.tensor([rng.gauss(0, 0.02) for _ in range(_WRITTEN // 2)])
            written = weights.to(torch.bfloat16).view(torch.uint8).numpy().tobytes()
            file.write(written[: stop - begin])
        file.truncate(8 + len(content) + end)


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: place for place, word in enumerate(["<eos>", *letters])}
    bpe = Tokenizer(models.BPE(vocab=words, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = {"eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **names)


def facts(folder: Path) -> dict[str, str]:
    """Write facts of short answers."""
    files = {}
    for number, name in enumerate(("forget", "retain", "holdout")):
        lines = [
            json.dumps(
                {
                    "id": f"{name}{i}",
                    "entity": f"{name} {i // 5}",
                    "prompt": f"Question {number}.{i} about author {name} {i // 5}: where?",
                    "answer": f"In town {i * 7 % 100} of {name}.",
                }
            )
            for i in range(_FACTS)
        ]
        file = folder / f"{name}.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files[name] = str(file)
    return files


def prepared(folder: Path, config: PretrainedConfig) -> tuple[Prepared, FolderStore]:
    """Make the checkpoints of three arms, and check a plan of them."""
    arms = {"unlearned": 1, "original": 2, "retrained": 3}
    for name, seed in arms.items():
        if not (folder / name).exists():
            checkpoint(folder / name, config, seed)
    content = {
        **{name: {"path": str(folder / name), "device_map": "auto"} for name in arms},
        "data": facts(folder),
        "profile": "standard",
    }
    content["retrained"] = [content["retrained"]]
    store = FolderStore(folder / "evidence")
    return prepare(parse_plan(content, "the benchmark's plan"), store, SilentProgress()), store


def row(model: str, machine: str, plan: Prepared, store: FolderStore) -> Row:
    """Plan one model for one machine."""
    there = stated(machine)
    found = estimate(plan, store, there)
    able = [entry for entry in found.variants if entry.unavailable is None]
    lacking = [entry.label for entry in able if entry.does_not_fit]
    try:
        check_fits(capacity(plan, there, shapes_of(plan)), plan, store)
        fits = "yes" if not lacking else f"but for {len(lacking)} of {len(able)}"
    except AuditorError as error:
        fits = "no: " + str(error).splitlines()[-1].partition(" --even")[0]
    away = [
        entry.label
        for entry in found.variants
        if entry.unavailable is not None and entry.role is Role.MANDATORY
    ]
    named = [*lacking, *(f"{label} (unavailable)" for label in away)]
    hours = sum(entry.seconds for entry in able if not entry.does_not_fit) / 3600
    largest = max(entry.least_bytes for entry in able) / GB
    return Row(model, machine, fits, hours, largest, ", ".join(named) or "-")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Plans for large models, from headers alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=sorted(SHAPES), action="append", default=[])
    options = parser.parse_args()
    print("| model | machine | fits | hours | most GB needed | what lacks |")
    print("| --- | --- | --- | --: | --: | --- |", flush=True)
    for model, config in SHAPES.items():
        if options.only and model not in options.only:
            continue
        plan, store = prepared(options.folder / model.replace(" ", "-"), config)
        for machine in MACHINES:
            found = row(model, machine, plan, store)
            print(
                f"| {found.model} | {found.machine} | {found.fits} | {found.hours:.1f} | "
                f"{found.largest:.0f} | {found.lacking} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
