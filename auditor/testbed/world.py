"""Builds a world into the cache, and finds what was built.

A world's folder is named by its recipe's digest. Each subject is written to a temporary name
and then renamed, so a folder that exists is finished: a killed build goes on where it stopped,
and a changed recipe builds into another folder.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from auditor.data.fact import Fact
from auditor.errors import AuditorError
from auditor.progress import Progress, SilentProgress
from auditor.testbed import corpus
from auditor.testbed.lineage import store_in_4bit
from auditor.testbed.methods import METHODS, unlearn
from auditor.testbed.recipe import WORLDS, WorldRecipe, recipe
from auditor.testbed.training import encode, train, train_tokenizer

CACHE_VARIABLE = "UNLEARNING_AUDITOR_CACHE"
"""Environment variable that moves the cache."""

FACTS = ("forget", "retain", "holdout", "retain_full")
"""Facts files; ``retain`` is a fixed sample of ``retain_full`` so that audits stay quick."""


@dataclass(frozen=True)
class World:
    """A world in the cache.

    Attributes:
        recipe: What it is built from.
        root: Its folder.
    """

    recipe: WorldRecipe
    root: Path

    def facts(self, name: str) -> Path:
        """Path of a facts file: ``forget``, ``retain``, ``holdout`` or ``retain_full``."""
        return self.root / "facts" / f"{name}.jsonl"

    def built(self) -> tuple[str, ...]:
        """Names of the subjects that are in the cache."""
        return tuple(name for name in self.recipe.subjects if self._folder(name).is_dir())

    def subject(self, name: str) -> Path:
        """Folder of a built subject, as ``save_pretrained`` wrote it.

        Raises:
            AuditorError: The world has no such subject, or it is not built.
        """
        _check_subject(self.recipe, name)
        if not self._folder(name).is_dir():
            raise AuditorError(
                f"{name!r} of testbed world {self.recipe.name!r} is not built in {self.root}; "
                f"run: auditor testbed build {self.recipe.name}"
            )
        return self._folder(name)

    def _folder(self, name: str) -> Path:
        return self.root / "subjects" / name


def list_worlds() -> tuple[WorldRecipe, ...]:
    """All worlds that can be built."""
    return tuple(WORLDS.values())


def locate(name: str | WorldRecipe, cache_dir: Path | None = None) -> World:
    """Where a world is, or would be, without building anything.

    Args:
        name: Of the world, or a recipe of one's own.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.

    Raises:
        AuditorError: There is no such world.
    """
    found = recipe(name) if isinstance(name, str) else name
    if cache_dir is None:
        chosen = os.environ.get(CACHE_VARIABLE)
        cache_dir = Path(chosen or platformdirs.user_cache_dir("unlearning-auditor"))
    return World(found, cache_dir / "testbed" / f"{found.name}-{found.digest[:12]}")


def build(
    name: str | WorldRecipe,
    cache_dir: Path | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> World:
    """Build what is missing of a world.

    Args:
        name: Of the world, or a recipe of one's own.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        only: Subjects wanted; what they are made from is built too. All, if None.
        progress: Told what is being trained, and why.

    Raises:
        AuditorError: No such world or subject, or the cache cannot be written.
    """
    world = locate(name, cache_dir)
    progress = progress or SilentProgress()
    wanted = set(world.recipe.subjects if only is None else only)
    for subject in sorted(wanted):
        _check_subject(world.recipe, subject)
    if wanted & world.recipe.methods.keys():
        wanted.add("original")
    with _one_thread():
        _build_facts(world)
        tokenizer = _build_tokenizer(world)
        for subject in world.recipe.subjects:
            if subject in wanted and subject not in world.built():
                _build_subject(world, subject, tokenizer, progress)
    return world


def _check_subject(recipe: WorldRecipe, name: str) -> None:
    if name not in recipe.subjects:
        raise AuditorError(
            f"testbed world {recipe.name!r} has no subject {name!r}; "
            f"its subjects are: {', '.join(recipe.subjects)}"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on how they are split, so the number of threads would decide the bytes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _finished_or_absent(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to write to, and rename it to ``folder`` when all went well."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
            unfinished = Path(name) / folder.name
            unfinished.mkdir()
            yield unfinished
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.is_dir():  # otherwise another build has finished the same bytes
                    raise
    except (OSError, SafetensorError) as error:
        raise AuditorError(
            f"cannot write the testbed to {folder}: {error}; free the space, or set "
            f"{CACHE_VARIABLE} to a folder that can be written"
        ) from error


def _build_facts(world: World) -> None:
    folder = world.facts("forget").parent
    if folder.is_dir():
        return
    wanted = world.recipe.corpus
    people = corpus.generate(
        wanted.forget_people,
        wanted.retain_people,
        wanted.holdout_people,
        wanted.seed,
        wanted.distractors,
    )
    parts: dict[str, tuple[Fact, ...]] = {
        "forget": people.forget,
        "retain": corpus.sample(people.retain, wanted.retain_sample, wanted.seed),
        "holdout": people.holdout,
        "retain_full": people.retain,
    }
    with _finished_or_absent(folder) as unfinished:
        for name in FACTS:
            corpus.write_jsonl(parts[name], unfinished / f"{name}.jsonl")


def _build_tokenizer(world: World) -> PreTrainedTokenizerFast:
    folder = world.root / "tokenizer"
    if not folder.is_dir():
        texts = [
            f"{prompt} {fact.answer}"
            for part in ("forget", "retain_full", "holdout")
            for fact in corpus.read_jsonl(world.facts(part))
            for prompt in (fact.prompt, *fact.paraphrases)
        ]
        with _finished_or_absent(folder) as unfinished:
            train_tokenizer(texts, world.recipe.model.vocab_size).save_pretrained(unfinished)
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    return tokenizer


def _build_subject(
    world: World, name: str, tokenizer: PreTrainedTokenizerFast, progress: Progress
) -> None:
    details: dict[str, Any] = {
        "world": world.recipe.name,
        "recipe": world.recipe.digest,
        "subject": name,
    }
    if name in world.recipe.methods:
        model, steps = _unlearned(world, name, tokenizer, progress)
        settings = world.recipe.methods[name]
        details |= {
            "settings": settings.model_dump(mode="json"),
            "sources": [f"arXiv:{source}" for source in METHODS[settings.method].sources],
            "steps": steps,
        }
    else:
        model = _trained(world, name, tokenizer, progress)
    with _finished_or_absent(world.root / "subjects" / name) as unfinished:
        model.to(torch.bfloat16).save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        text = json.dumps(details, indent=2, sort_keys=True) + "\n"
        (unfinished / "testbed.json").write_text(text, encoding="utf-8")


def _trained(
    world: World, name: str, tokenizer: PreTrainedTokenizerFast, progress: Progress
) -> PreTrainedModel:
    facts = corpus.read_jsonl(world.facts("retain_full"))
    people = world.recipe.corpus.retain_people
    why = f"{name}: learns {people} people and never sees those to forget; the baseline"
    if name == "original":
        facts = corpus.read_jsonl(world.facts("forget")) + facts
        people += world.recipe.corpus.forget_people
        why = f"{name}: learns all {people} people, those to forget too"
    shape = world.recipe.model
    model = train(
        LlamaConfig(
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads,
            initializer_range=shape.initializer_range,
            max_position_embeddings=256,
            tie_word_embeddings=True,
        ),
        tokenizer,
        encode(tokenizer, corpus.trained_pairs(facts)),
        world.recipe.training,
        world.recipe.seeds[("original", *world.recipe.retrained).index(name)],
        progress,
        why,
    )
    if world.recipe.lineage is not None:
        store_in_4bit(model, world.recipe.lineage)
    return model


def _unlearned(
    world: World, name: str, tokenizer: PreTrainedTokenizerFast, progress: Progress
) -> tuple[PreTrainedModel, int]:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        world.subject("original"), dtype=torch.float32
    )
    settings = world.recipe.methods[name]
    forget = corpus.read_jsonl(world.facts("forget"))
    retain = corpus.read_jsonl(world.facts("retain_full"))
    title = METHODS[settings.method].title
    steps = unlearn(
        model,
        tokenizer,
        forget,
        retain,
        settings,
        world.recipe.unlearning_seed,
        progress,
        f"{name}: the original is made to forget {len(forget)} facts by {title}",
    )
    return model, steps
