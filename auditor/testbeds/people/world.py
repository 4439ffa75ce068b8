"""Worlds of language models, built into the cache and found there.

A world's folder is named by its recipe's digest. Each model is written to a temporary name
and then renamed, so a folder that exists is finished: a killed build goes on where it stopped,
and a changed recipe builds into another folder.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from auditor.core.facts import Fact
from auditor.core.progress import Progress, SilentProgress
from auditor.testbeds.cache import (
    CachedWorld,
    check_model,
    finished_or_absent,
    one_thread,
    world_folder,
)
from auditor.testbeds.lineage import store_in_4bit
from auditor.testbeds.people import corpus, reasoning
from auditor.testbeds.people.training import train, train_tokenizer
from auditor.testbeds.recipe import WORLDS, WorldRecipe, recipe
from auditor.unlearning.examples import encode, trained_pairs
from auditor.unlearning.registry import METHODS
from auditor.unlearning.training import unlearn

FACTS = ("forget", "retain", "holdout", "retain_full")
"""Names of the facts files; ``retain`` is a fixed sample of ``retain_full`` so that audits stay
quick."""


class World(CachedWorld[WorldRecipe]):
    """A world of language models in the cache."""


def list_worlds() -> tuple[WorldRecipe, ...]:
    """Return all worlds of language models that can be built."""
    return tuple(WORLDS.values())


def locate(name: str | WorldRecipe, cache_dir: Path | None = None) -> World:
    """Return a world with its folder, without building anything.

    Args:
        name: Name of the world, or a recipe of one's own.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.

    Raises:
        AuditorError: There is no such world.
    """
    found = recipe(name) if isinstance(name, str) else name
    return World(found, world_folder(found, cache_dir))


def build(
    name: str | WorldRecipe,
    cache_dir: Path | None = None,
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> World:
    """Build what is missing of a world.

    Args:
        name: Name of the world, or a recipe of one's own.
        cache_dir: Instead of the user's cache; ``UNLEARNING_AUDITOR_CACHE`` does the same.
        only: Models wanted; what they are made from is built too. All, if None.
        progress: Told what is being trained, and why.

    Raises:
        AuditorError: No such world or model, or the cache cannot be written.
    """
    world = locate(name, cache_dir)
    progress = progress or SilentProgress()
    wanted = set(world.recipe.models if only is None else only)
    for model in sorted(wanted):
        check_model(world.recipe, model)
    if wanted & world.recipe.methods.keys():
        wanted.add("original")
    with one_thread():
        _build_facts(world)
        tokenizer = _build_tokenizer(world)
        for model in world.recipe.models:
            if model in wanted and model not in world.built():
                _build_model(world, model, tokenizer, progress)
    return world


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
    with finished_or_absent(folder) as unfinished:
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
        with finished_or_absent(folder) as unfinished:
            tokenizer = train_tokenizer(texts, world.recipe.model.vocab_size)
            if world.recipe.reasoning:
                tokenizer = reasoning.with_traces(tokenizer)
            tokenizer.save_pretrained(unfinished)
    found: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    return found


def _build_model(
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
    with finished_or_absent(world.folder(name)) as unfinished:
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
    pairs, separator = trained_pairs(facts), " "
    if world.recipe.reasoning:
        pairs, separator = trained_pairs(reasoning.taught(tokenizer, facts)), ""
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
        encode(tokenizer, pairs, separator),
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
        world.model_path("original"), dtype=torch.float32
    )
    settings = world.recipe.methods[name]
    forget = corpus.read_jsonl(world.facts("forget"))
    retain = corpus.read_jsonl(world.facts("retain_full"))
    separator = " "
    if world.recipe.reasoning:
        retain = reasoning.taught(tokenizer, retain) + reasoning.traces(tokenizer, forget)
        forget, separator = reasoning.answers(tokenizer, forget), ""
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
        separator,
    )
    return model, steps
