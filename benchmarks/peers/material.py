"""Models and facts that both sides are given: the same files, readable by either's libraries.

The peers need an older transformers than this project. Its configuration files say some things by
other names, so the models are written again in float32, with the names that both read.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel

from auditor.cli.progress import chosen_progress
from auditor.core.facts import Fact, SetName
from auditor.data.readers import read_facts
from auditor.data.source import DataSource
from auditor.testbeds.people import world as worlds
from benchmarks.random_llama import random_llama

WIDTH, LAYERS = 512, 6
RETRAINED = ("retrained-0", "retrained-1")
ARMS = ("unlearned", "original", *RETRAINED)
SETS: tuple[SetName, ...] = ("forget", "retain", "holdout")


@dataclass(frozen=True)
class Material:
    """Where models and facts lie."""

    folder: Path
    facts: dict[str, tuple[Fact, ...]]

    def model(self, name: str) -> str:
        """Folder of an arm, or of ``wide`` and ``wide-reference``."""
        return str(self.folder / "models" / name)

    def source(self, name: str) -> str:
        """Facts of a set, as this project reads them."""
        return str(self.folder / "facts" / f"{name}.jsonl")

    def questions(self, name: str) -> str:
        """The same facts by the names of open-unlearning's columns.

        The answer begins with the space that stands between it and the question.
        """
        return str(self.folder / "questions" / f"{name}.json")


def prepare(folder: Path, subject: str, people: int) -> Material:
    """Write models and facts.

    Args:
        folder: An empty folder.
        subject: The unlearned model of the testbed.
        people: People of each set whose facts are taken.
    """
    names = {"unlearned": subject, **{arm: arm for arm in ARMS[1:]}}
    world = worlds.build("people", only=names.values(), progress=chosen_progress(quiet=True))
    tokenizer = world.model_path("original")
    for arm, name in names.items():
        path = world.model_path(name)
        _write(AutoModelForCausalLM.from_pretrained(path), path, folder / "models" / arm)
    rows = AutoModelForCausalLM.from_pretrained(tokenizer).config.vocab_size
    for seed, name in enumerate(("wide", "wide-reference")):
        _write(_wide(seed, rows), tokenizer, folder / "models" / name)
    facts = {}
    for name in SETS:
        read = read_facts(DataSource(path=str(world.facts(name))), name)
        taken = list(dict.fromkeys(fact.entity for fact in read))[:people]
        facts[name] = tuple(fact for fact in read if fact.entity in taken)
    material = Material(folder, facts)
    for name, of_set in facts.items():
        lines = "".join(f"{fact.model_dump_json(exclude_defaults=True)}\n" for fact in of_set)
        asked = [{"question": f.prompt, "answer": f" {f.answer}"} for f in of_set]
        for target, text in ((material.source(name), lines), (material.questions(name), asked)):
            Path(target).parent.mkdir(exist_ok=True)
            content = text if isinstance(text, str) else json.dumps(text)
            Path(target).write_text(content, encoding="utf-8")
    return material


def lives(facts: Sequence[Fact]) -> list[str]:
    """One text a person: the sentences of all facts."""
    people = dict.fromkeys(fact.entity for fact in facts)
    return [" ".join(str(f.text) for f in facts if f.entity == person) for person in people]


def _wide(seed: int, rows: int) -> PreTrainedModel:
    """A Llama of random weights, of which only time is measured."""
    names = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return random_llama(rows, WIDTH, LAYERS, heads=8, seed=seed, **names)


def _write(model: PreTrainedModel, tokenizer: Path, folder: Path) -> None:
    """Write a model with a tokenizer by the names that old and new libraries read."""
    model.float().save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("dtype", None)
    rope = config.pop("rope_parameters")
    config |= {"torch_dtype": "float32", "rope_theta": rope["rope_theta"]}
    path.write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(tokenizer / "tokenizer.json", folder)
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = ("bos_token", "eos_token", "pad_token", "padding_side", "clean_up_tokenization_spaces")
    named = {"tokenizer_class": "PreTrainedTokenizerFast", **{key: settings[key] for key in kept}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
