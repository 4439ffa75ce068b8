"""Every subject of the testbed under every baseline: does the verdict depend on it?

    python -m benchmarks.baseline_table [--only npo_gdr] [--seeds 1] [--out DIR]

Audits the subjects of `people`, the original among them, by what stands for never having known:

- retrained: two models of the world, trained without the forget set.
- built: `auditor baseline build` from random weights on the retain set, by the original's recipe.
- reference: built likewise, but for half as long, at half the rate, on answers alone.
- never-seen-facts and own-null: no other model.

The attacks are the model as it is, NF4, a prefilled answer and relearning of held-out facts. Rows
are added to a file as they come, and a second run goes on; `--render` prints them as Markdown.
"""

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from auditor.api.auditing import AuditResult, audit
from auditor.api.baselines import build_baseline
from auditor.cli.progress import chosen_progress
from auditor.core.baselines import Baseline
from auditor.core.quiet import quiet_libraries
from auditor.models.provenance import Recipe
from auditor.testbeds.people import corpus
from auditor.testbeds.people import world as worlds
from auditor.unlearning.examples import trained_pairs
from reports.messages import sentence
from reports.number_format import interval, number

BASELINES = ("retrained", "built", "reference", "never-seen-facts", "own-null")
ATTACKS: tuple[dict[str, Any], ...] = (
    {"attack": "quantization/bnb", "parameters": {"format": "nf4"}},
    {"attack": "prompting/prefill"},
    {"attack": "relearning/held-out-facts"},
)
POLICY = {
    "name": "table",
    "mandatory": ["none/as-is", "quantization/bnb nf4", "relearning/held-out-facts"],
    "minimum_baseline": str(Baseline.OWN_NULL),
}


def recipe_of(world: worlds.World) -> Recipe:
    """The recipe of the original, for the trainer of baselines."""
    trained = world.recipe.training
    examples = len(trained_pairs(corpus.read_jsonl(world.facts("retain_full"))))
    return Recipe(
        epochs=trained.steps * trained.batch_size / examples,
        learning_rate=trained.learning_rate,
        batch_size=trained.batch_size,
        schedule="cosine",
        warmup=trained.warmup,
        weight_decay=trained.weight_decay,
        loss_on="all",
        paraphrases=True,
    )


def untrained(world: worlds.World, seed: int, folder: Path) -> Path:
    """A model of the world's shape with random weights, saved with the tokenizer."""
    if folder.exists():
        return folder
    shape = world.recipe.model
    tokenizer = AutoTokenizer.from_pretrained(world.root / "tokenizer")
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads,
            initializer_range=shape.initializer_range,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def opened(folder: str | Path) -> dict[str, str]:
    """A model as audits open it: in float32, for bfloat16 is slow on many processors."""
    return {"path": str(folder), "dtype": "float32"}


def other_models(world: worlds.World, folder: Path) -> dict[str, list[str]]:
    """Folders of the models that stand for never having known, by baseline."""
    base = untrained(world, seed=11, folder=folder / "untrained")
    same = recipe_of(world)
    weaker = {"epochs": same.epochs / 2, "learning_rate": same.learning_rate / 2}
    recipes = {
        "built": same,
        "reference": same.model_copy(update={**weaker, "loss_on": "answer"}),
    }
    for name, recipe in recipes.items():
        if not (folder / name).exists():
            retain, forget = world.facts("retain_full"), world.facts("forget")
            build_baseline(str(base), str(retain), recipe, folder / name, forget=str(forget))
    return {name: [str(folder / name)] for name in recipes}


def tried(
    world: worlds.World,
    subject: str,
    baseline: str,
    others: Mapping[str, list[str]],
    out: Path,
    seeds: int,
) -> AuditResult:
    """Audit one subject under one baseline."""
    arms: dict[str, Any]
    if baseline == "retrained":
        retrained = [name for name in world.recipe.retrained if name != subject][:2]
        arms = {"retrained": [opened(world.model_path(name)) for name in retrained]}
    elif baseline == "built":
        arms = {"retrained": [opened(folder) for folder in others["built"]]}
    elif baseline == "reference":
        arms = {"reference": [opened(folder) for folder in others["reference"]]}
    else:
        arms = {"baseline": baseline}
    return audit(
        unlearned=opened(world.model_path(subject)),
        original=opened(world.model_path("original")),
        **{name: str(world.facts(name)) for name in ("forget", "retain", "holdout")},
        profile=None,
        attacks=ATTACKS,
        policy=POLICY,
        seeds=tuple(range(seeds)),
        out=out / f"{subject}-{baseline}",
        store=out / "evidence",
        **arms,
    )


def row(subject: str, baseline: str, result: AuditResult, seconds: float) -> dict[str, Any]:
    """What is kept of an audit."""
    verdict = result.certificate.verdict
    figures = [
        {"attack": f"{one.attack} {one.variant}", **_figures(one.strongest.figures)}
        for one in result.certificate.matrix
    ]
    return {
        "subject": subject,
        "baseline": baseline,
        "verdict": verdict.verdict,
        "title": ", ".join((verdict.title, *verdict.flags)),
        "reasons": [sentence(reason) for reason in verdict.reasons],
        "figures": figures,
        "seconds": round(seconds, 1),
    }


def _figures(figures: Any) -> dict[str, Any]:
    if figures is None:
        return {"rho": None, "bounds": None}
    return {"rho": figures.rho, "bounds": [figures.rho_lower, figures.rho_upper]}


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Verdicts by subject and baseline, with the largest residual knowledge and its attack."""
    found = {(one["subject"], one["baseline"]): one for one in rows}
    subjects = list(dict.fromkeys(subject for subject, _ in found))
    columns = ("subject", *BASELINES, "most by (retrained)")
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    for subject in subjects:
        cells = [_cell(found.get((subject, baseline))) for baseline in BASELINES]
        most = _most(found.get((subject, BASELINES[0])))
        by = f"`{most['attack']}`" if most else "-"
        lines.append("| " + " | ".join([subject, *cells, by]) + " |")
    return "\n".join(lines)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    verdict = str(found["title"]).partition(" (")[0].partition(",")[0]
    most = _most(found)
    if most is None:
        return verdict
    return f"{verdict} {number(most['rho'])} {interval(*most['bounds']) or ''}"


def _most(found: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The attack with the largest residual knowledge."""
    measured = [one for one in found["figures"] if one["rho"] is not None] if found else []
    return max(measured, key=lambda one: float(one["rho"]), default=None)


def main() -> None:
    """Audit, keep the rows, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="these subjects")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of attacks that depend on one")
    parser.add_argument("--out", type=Path, default=Path("audit-baseline-table"))
    parser.add_argument("--render", action="store_true", help="print the rows, and run nothing")
    arguments = parser.parse_args()
    out: Path = arguments.out
    file = out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if not arguments.render:
        out.mkdir(parents=True, exist_ok=True)
        world = worlds.build("people", progress=chosen_progress(quiet=False))
        others = other_models(world, out)
        done = {(one["subject"], one["baseline"]) for one in rows}
        for subject in arguments.only or world.recipe.models:
            for baseline in BASELINES:
                if (subject, baseline) in done:
                    continue
                began = time.monotonic()
                result = tried(world, subject, baseline, others, out, arguments.seeds)
                rows.append(row(subject, baseline, result, time.monotonic() - began))
                with file.open("a") as kept:
                    kept.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    quiet_libraries()
    main()
