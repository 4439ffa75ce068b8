"""Plans for models of 7 to 70 billion weights, of which only the headers exist.

    python -m benchmarks.plan_shapes FOLDER [--only "Llama 2 7B"]

The checkpoints are sparse files with the header of every tensor, so they take no room. They are not
hashed, which `auditor plan` does first: what is shown here is what it then says of needs and of
time. Each is planned in the profile `standard` for machines by the published figures of their
cards. Prints a table as Markdown.
"""

import argparse
import json
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
from auditor.core.roles import Role
from auditor.data.folds import names_entities
from auditor.engine.capacity import capacity, check_fits, shapes_of
from auditor.engine.estimate import estimate
from auditor.engine.expansion import expand, explicit
from auditor.engine.machine import stated
from auditor.engine.plan import parse_plan
from auditor.engine.plan_checks import read_sets
from auditor.engine.preparation import Prepared
from auditor.models.manifest import Location, Manifest
from auditor.positive_controls.estimate import estimate_controls
from auditor.store.folder_store import FolderStore

_FACTS = 100
MACHINES = ("1xH100", "2xH100", "8xH100")
_ALL_WEIGHTS = "relearning/held-out-facts by attribute full"
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
    fitting: str
    """Levels of attacks that fit, of those that apply."""
    hours: float
    """Hours of those that fit."""
    trained: str
    """GB of memory in which all weights are trained, and in which a positive control is."""
    kept: float
    """GB of quantized copies that are kept in the store."""
    refused: str
    """What `auditor plan` says to change where it refuses."""
    lacking: str
    """Mandatory levels that do not fit or do not apply."""


def checkpoint(folder: Path, config: PretrainedConfig) -> None:
    """Write a checkpoint without weights to speak of."""
    folder.mkdir(parents=True)
    config.architectures = [f"{type(config).__name__.removesuffix('Config')}ForCausalLM"]
    config.dtype = "bfloat16"
    config.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    header: dict[str, Any] = {}
    end = 0
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
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(content)) + content)
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
    """Make the checkpoints of three arms, and a plan of them."""
    arms = ("unlearned", "original", "retrained")
    for name in arms:
        if not (folder / name).exists():
            checkpoint(folder / name, config)
    content: dict[str, Any] = {
        **{name: {"path": str(folder / name), "device_map": "auto"} for name in arms},
        "data": facts(folder),
        "profile": "standard",
    }
    content["retrained"] = [content["retrained"]]
    plan = explicit(parse_plan(content, "the benchmark's plan"))
    sets, _ = read_sets(plan.data)
    store = FolderStore(folder / "evidence")
    locations = {arm: _location(Path(spec.path), arm) for arm, spec in plan.arms.items()}
    experts = plan.kind.holds_experts(plan.original, locations["original"])
    locations = {
        arm: place.model_copy(update={"experts": experts}) for arm, place in locations.items()
    }
    found = Prepared(
        plan=plan,
        locations=locations,
        sets=sets,
        facts=store.put_facts(sets),
        variants=expand(plan, entities=names_entities(sets.forget), experts=experts),
        warnings=[],
    )
    return found, store


def _location(folder: Path, arm: str) -> Location:
    """A model's files, by a name in the place of a digest."""
    files = {"model.safetensors": arm, "config.json": "", "tokenizer.json": ""}
    return Location(model=folder, adapter=None, manifest=Manifest(files=files))


def row(model: str, machine: str, plan: Prepared, store: FolderStore) -> Row:
    """Plan one model for one machine."""
    there = stated(machine)
    found = estimate(plan, store, there)
    able = [entry for entry in found.variants if entry.unavailable is None]
    fitting = [entry for entry in able if not entry.does_not_fit]
    try:
        check_fits(capacity(plan, there, shapes_of(plan)), plan, store)
        refused = "-"
    except AuditorError as error:
        refused = str(error).splitlines()[-1].partition(" --even")[0]
    mandatory = [entry for entry in found.variants if entry.role is Role.MANDATORY]
    lacking = [entry.label for entry in mandatory if entry.does_not_fit]
    lacking += [f"{e.label} (does not apply)" for e in mandatory if e.unavailable is not None]
    hours = sum(entry.seconds for entry in fitting) / 3600
    counted = f"{len(fitting)} of {len(able)}"
    whole = next(entry for entry in able if entry.label == _ALL_WEIGHTS)
    control = estimate_controls(plan, found.capacity)
    trained = f"{whole.memory_bytes / 1e9:.0f}, {control.memory_bytes / 1e9:.0f}"
    kept = sum(entry.stored_bytes for entry in able) / 1e9
    return Row(model, machine, counted, hours, trained, kept, refused, ", ".join(lacking) or "-")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Plans for large models, from headers alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=sorted(SHAPES), action="append", default=[])
    options = parser.parse_args()
    titles = (
        "model",
        "machine",
        "levels that fit",
        "hours",
        "GB of training all weights, a control",
        "GB of copies kept",
        "what to change",
        "mandatory, lacking",
    )
    print(f"| {' | '.join(titles)} |")
    print("| --- | --- | --: | --: | --: | --: | --- | --- |", flush=True)
    for model, config in SHAPES.items():
        if options.only and model not in options.only:
            continue
        plan, store = prepared(options.folder / model.replace(" ", "-"), config)
        for machine in MACHINES:
            found = row(model, machine, plan, store)
            print(
                f"| {found.model} | {found.machine} | {found.fitting} | {found.hours:.1f} | "
                f"{found.trained} | {found.kept:.0f} | {found.refused} | {found.lacking} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
