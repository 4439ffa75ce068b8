"""A cell of the table: one architecture in one world.

All arms fork from one base trained on the retain set, as the arms of a real audit share a
pretrained model, and go on in their own order: the original with the forget set, the retrained
models without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from auditor.core.cache import cache_folder
from auditor.core.facts import Fact
from auditor.core.hashing import digest
from auditor.core.progress import SilentProgress
from auditor.testbeds.cache import finished_or_absent, one_thread
from auditor.testbeds.people.corpus import Corpus, write_jsonl
from auditor.testbeds.people.training import TrainingSettings, train
from auditor.unlearning.examples import Example, encode, trained_pairs
from benchmarks.truth_table.architectures import ARCHITECTURES, Architecture
from benchmarks.truth_table.facts import WORLDS, People
from benchmarks.truth_table.fine_tuning import fine_tune

VERSION = 1
"""Raised whenever a change to this package changes what is built."""


@dataclass(frozen=True)
class Size:
    """How much a cell's models learn, and for how long.

    Attributes:
        people: To forget, to retain and held out.
        base: Training of the base on the retain set.
        original: Steps of the original after the base.
        retrained: Steps of the retrained models after the base.
    """

    people: People
    base: TrainingSettings
    original: int
    retrained: int


FULL = Size((10, 16, 4), TrainingSettings(steps=250, batch_size=48, learning_rate=3e-3), 200, 50)
"""Of the table."""
SMALL = Size((6, 6, 1), TrainingSettings(steps=120, batch_size=32, learning_rate=3e-3), 100, 25)
"""Of the slice that the tests build."""
RATE = 2e-3
ARMS: Mapping[str, int] = MappingProxyType({"original": 1, "retrained-0": 2, "retrained-1": 3})
"""Seed of each arm."""


@dataclass(frozen=True)
class Cell:
    """One architecture in one world.

    Attributes:
        architecture: Its models.
        world: Name of its facts.
        cache: Folder of all cells.
        size: How much its models learn.
    """

    architecture: Architecture
    world: str
    cache: Path
    size: Size = FULL

    @property
    def name(self) -> str:
        """Architecture and world."""
        return f"{self.architecture.name}/{self.world}"

    @property
    def root(self) -> Path:
        """Folder of the cell, keyed by what decides its bytes."""
        key = digest(
            {
                "version": VERSION,
                "base": self.size.base.model_dump(mode="json"),
                "steps": [self.size.original, self.size.retrained],
                "rate": RATE,
                "config": self.architecture.config().to_json_string(use_diff=False),
                "facts": [fact.model_dump(mode="json") for fact in self.corpus.forget],
            }
        )
        return self.cache / f"{self.architecture.name}-{self.world}-{key[:12]}"

    @cached_property
    def corpus(self) -> Corpus:
        """Its facts."""
        return WORLDS[self.world](self.size.people)

    def facts(self, name: str) -> Path:
        """File of a set of facts."""
        return self.root / "facts" / f"{name}.jsonl"

    @property
    def forget(self) -> tuple[Fact, ...]:
        """Facts to forget, with prompts as the models see them."""
        return self.architecture.facts(self.corpus.forget)

    @property
    def retain(self) -> tuple[Fact, ...]:
        """Facts to keep, with prompts as the models see them."""
        return self.architecture.facts(self.corpus.retain)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of all models, trained when it is first asked for."""
        folder = self.root / "tokenizer"
        if not folder.is_dir():
            sets = (self.corpus.forget, self.corpus.retain, self.corpus.holdout)
            texts = [f"{p} {a}" for facts in sets for p, a in trained_pairs(facts)]
            texts += [fact.paraphrases[-1] for facts in sets for fact in facts]
            with finished_or_absent(folder) as unfinished:
                self.architecture.tokenizer(texts).save_pretrained(unfinished)
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
        return tokenizer

    def examples(self, pairs: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
        """Training examples of prompts as the models see them and answers."""
        return encode(self.tokenizer, pairs, self.architecture.separator)

    def taught(self, facts: Sequence[Fact]) -> tuple[Example, ...]:
        """Training examples of facts, in their trained phrasings."""
        return self.examples(trained_pairs(facts))

    def folder(self, name: str) -> Path:
        """Where a model is, or will be."""
        return self.root / "models" / name

    def load(self, name: str) -> PreTrainedModel:
        """Open a built model in float32."""
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            self.folder(name), dtype=torch.float32
        )
        return model.eval()

    def keep(self, name: str, make: Callable[[], PreTrainedModel]) -> Path:
        """Make a model unless it is there, and give its folder."""
        folder = self.folder(name)
        if not folder.is_dir():
            with one_thread():
                model = make()
            with finished_or_absent(folder) as unfinished:
                self.architecture.save(model, self.tokenizer, unfinished)
        return folder

    def build_arms(self) -> None:
        """Write down facts, base, original and retrained models where they are missing."""
        if not self.facts("forget").parent.is_dir():
            with finished_or_absent(self.facts("forget").parent) as unfinished:
                for name, facts in vars(self.corpus).items():
                    write_jsonl(facts, unfinished / f"{name}.jsonl")
        self.keep("base", self._base)
        for name, seed in ARMS.items():
            forget = self.forget if name == "original" else ()
            self.keep(name, lambda forget=forget, seed=seed: self.trained(forget, seed))

    def trained(self, forget: Sequence[Fact], seed: int, noise: float = 0.0) -> PreTrainedModel:
        """Train the base on with retain set and some forget facts."""
        steps = self.size.original if forget else self.size.retrained
        examples = self.taught((*forget, *self.retain))
        return fine_tune(self.load("base"), examples, steps, RATE, seed, noise=noise)

    def _base(self) -> PreTrainedModel:
        return self.new_base(0)

    def new_base(self, seed: int) -> PreTrainedModel:
        """Train on the retain set from random weights."""
        return train(
            self.architecture.config(),
            self.tokenizer,
            self.taught(self.retain),
            self.size.base,
            seed,
            SilentProgress(),
        )

    def spec(self, name: str) -> dict[str, Any]:
        """What a plan says of a model."""
        return {"path": str(self.folder(name)), "dtype": "float32"}


def cells(cache: Path | None = None) -> dict[str, Cell]:
    """All cells by name."""
    root = (cache or cache_folder()) / "truth-table"
    made = [Cell(a, world, root) for world in WORLDS for a in ARCHITECTURES.values()]
    return {cell.name: cell for cell in made}
