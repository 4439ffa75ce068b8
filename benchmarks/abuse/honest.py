"""Honest models and files of the kinds that are published; none of them may be refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

import auditor
from benchmarks.abuse.workspace import POLICY, Workspace, spec_of
from benchmarks.truth_table.fine_tuning import fine_tune


@dataclass(frozen=True)
class Arms:
    """What a plan says of a model and its baselines, where they are not the usual ones."""

    unlearned: dict[str, Any]
    retrained: Sequence[dict[str, Any]] = field(default_factory=tuple)


Make = Callable[[Workspace], Arms]
_HONEST: dict[str, Make] = {}


def _honest(name: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        _HONEST[name] = make
        return make

    return add


def planned(w: Workspace, arms: Arms) -> auditor.Planned:
    """Check a plan under the policy of a release: it opens, compares and asks, and attacks nothing.

    Raises:
        AuditorError: It is refused.
    """
    usual = [spec_of(w.arm("retrained-0")), spec_of(w.arm("retrained-1"))]
    return auditor.plan(
        {
            "unlearned": arms.unlearned,
            "original": spec_of(w.arm("original")),
            "retrained": list(arms.retrained) or usual,
            "data": {name: str(w.cell.facts(name)) for name in ("forget", "retain")},
            "profile": "quick",
            "policy": POLICY,
            "format": dict(w.cell.architecture.format),
        },
        out=w.folder / "plan",
        store=w.store,
    )


def _retrained(w: Workspace, rate: float, steps: int, seed: int) -> Path:
    """A model retrained from the common base at some rate."""
    kept = w.cell.taught(w.cell.retain)
    return w.changed(w.arm("base"), f"rate-{seed}", lambda m: fine_tune(m, kept, steps, rate, seed))


@_honest("baselines retrained for few steps at a small rate")
def _small_rates(w: Workspace) -> Arms:
    folders = [_retrained(w, 1e-4, 30, seed) for seed in (21, 22)]
    return Arms(spec_of(w.knows()), [spec_of(folder) for folder in folders])


@_honest("baselines retrained by LoRA from one base, merged")
def _lora_merged(w: Workspace) -> Arms:
    folders = [_adapted(w, seed, merge=True) for seed in (21, 22)]
    return Arms(spec_of(w.knows()), [spec_of(folder) for folder in folders])


@_honest("baselines retrained by LoRA from one base, as adapters")
def _lora(w: Workspace) -> Arms:
    folders = [_adapted(w, seed, merge=False) for seed in (21, 22)]
    base = spec_of(w.arm("base"))
    return Arms(spec_of(w.knows()), [base | {"adapter": str(folder)} for folder in folders])


@_honest("unlearned by an adapter on the original")
def _adapter(w: Workspace) -> Arms:
    folder = _adapted(w, 23, merge=False, source="original")
    return Arms(spec_of(w.arm("original")) | {"adapter": str(folder)})


@_honest("unlearned by an adapter that is merged")
def _merged(w: Workspace) -> Arms:
    return Arms(spec_of(_adapted(w, 23, merge=True, source="original")))


@_honest("unlearned by a few small steps")
def _few_steps(w: Workspace) -> Arms:
    kept = w.cell.taught(w.cell.retain)
    folder = w.changed(w.arm("original"), "few", lambda m: fine_tune(m, kept, 5, 1e-5, 0))
    return Arms(spec_of(folder))


@_honest("released in bfloat16")
def _bfloat16(w: Workspace) -> Arms:
    return Arms(spec_of(w.changed(w.knows(), "bf16", lambda m: m.to(torch.bfloat16))))


@_honest("released in shards")
def _shards(w: Workspace) -> Arms:
    folder = w.changed(w.knows(), "shards", lambda _: None, max_shard_size="100KB")
    return Arms(spec_of(folder))


@_honest("released quantized, int8")
def _int8(w: Workspace) -> Arms:
    return Arms(_quantized(w, BitsAndBytesConfig(load_in_8bit=True)))


@_honest("released quantized, NF4")
def _nf4(w: Workspace) -> Arms:
    return Arms(_quantized(w, BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")))


@_honest("a repository with a card, pictures, licence and attributes")
def _repository(w: Workspace) -> Arms:
    folder = w.changed(w.knows(), "repository", lambda _: None)
    for name in ("README.md", "LICENSE", "USE_POLICY.md", ".gitattributes", "figure.png"):
        (folder / name).write_text("text")
    return Arms(spec_of(folder))


@_honest("a folder of the hub's cache: links to blobs")
def _links(w: Workspace) -> Arms:
    source = w.changed(w.knows(), "source", lambda _: None)
    blobs, snapshot = w.folder / "blobs", w.folder / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(source.iterdir())):
        shutil.move(file, blobs / str(number))
        (snapshot / file.name).symlink_to(blobs / str(number))
    return Arms(spec_of(snapshot))


@_honest("a tokenizer that was saved again, with a pad token")
def _pad_token(w: Workspace) -> Arms:
    folder = w.changed(w.knows(), "padded", lambda _: None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return Arms(spec_of(folder))


@_honest("embeddings with rows added for a pad token")
def _more_rows(w: Workspace) -> Arms:
    def widened(model: PreTrainedModel) -> None:
        model.resize_token_embeddings(model.config.vocab_size + 8)

    return Arms(spec_of(w.changed(w.knows(), "rows", widened)))


@_honest("settings of generation of its own")
def _generation(w: Workspace) -> Arms:
    folder = w.changed(w.knows(), "generation", lambda _: None)
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(settings | {"do_sample": True, "temperature": 0.6, "top_p": 0.9}))
    return Arms(spec_of(folder))


HONEST = MappingProxyType(_HONEST)
"""All of them by name."""


def _adapted(w: Workspace, seed: int, *, merge: bool, source: str = "base") -> Path:
    """Fine-tune an adapter on the retain set, and save it, or the merged model."""
    kept = w.cell.taught(w.cell.retain)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(w.arm(source), dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    fine_tune(adapted, kept, 20, 1e-3, seed)
    target = w.folder / f"adapted-{seed}"
    if merge and isinstance(adapted, PeftModel):
        adapted.merge_and_unload().save_pretrained(target)
        w.cell.tokenizer.save_pretrained(target)
    else:
        adapted.save_pretrained(target)
    return target


def _quantized(w: Workspace, config: BitsAndBytesConfig) -> dict[str, Any]:
    """Save a model as bitsandbytes stores it."""
    model = AutoModelForCausalLM.from_pretrained(
        w.knows(), quantization_config=config, device_map="cpu"
    )
    target = w.folder / "quantized"
    model.save_pretrained(target)
    w.cell.tokenizer.save_pretrained(target)
    return {"path": str(target), "dtype": "float32"}
