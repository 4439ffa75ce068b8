"""Every registered attack, asked with a small budget in the world that it needs.

What an attack says of itself puts it into a world, so that a new one is in all suites that use
this without being named. Attacks that are not named in `BUDGETS` run at every level of theirs.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fine_tuned_models
import pytest
from drawing_worlds import write_arms, write_facts
from filelock import FileLock
from small_world import SMALL
from tiny_mixtures import make_mixture
from tiny_models import edit_json, make_tokenizer, save, save_facts
from tiny_thinkers import FACTS as THOUGHTS
from tiny_thinkers import make_thinker

from auditor.api.auditing import audit
from auditor.attack import ATTACKS, AttackMetadata
from auditor.engine.plan import AuditPlan, parse_plan
from auditor.policy import AS_IS
from auditor.testbeds.people import corpus
from auditor.testbeds.people import world as worlds
from auditor.testbeds.recipe import CorpusRecipe

WORLDS = ("dense", "asked otherwise", "mixtures", "thinkers", "sd1", "sd3", "flux")
"""Dense language models of one checkpoint; the same, of which one has other settings of generation;
mixtures of experts; models that think; models that draw, of three layouts."""
LAYOUTS = ("sd1", "sd3", "flux")

FEW_STEPS = {"num_steps": 2, "batch_size": 2, "images": 2}
BUDGETS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "generation/gibberish": [{"wrong_answers": 1}],
    "generation/knowledge-holes": [{"neighbours": 1, "sure": 0.01}],
    "generation/null-inversion": [{"steps": 2, "refinements": 1}],
    "membership/denoising-loss": [{"noises": 1}],
    "membership/likelihood": [{"score": ["loss", "min-k++", "recall"], "shots": 1}],
    "membership/neighbourhood": [{"neighbours": 2}],
    "probing/detectability": [{"texts": 40}],
    "probing/mode-connectivity": [{"points": 3, "facts": 8}],
    "probing/output-probe": [{"halves": ["entity", "attribute"]}],
    "prompting/adversarial-prefix": [{"prefix_length": 2, "rounds": 1, "iterations": 2}],
    "prompting/attacker-model": [
        {"attacker": "$attacker", "proposes": "openings", "rounds": 1, "split": "half"},
        {"attacker": "$attacker", "proposes": "questions", "rounds": 1, "max_new_tokens": 8},
    ],
    "prompting/best-of-n": [{"samples": 4, "k": 2}],
    "prompting/concept-inversion": [FEW_STEPS],
    "prompting/few-shot": [{"draws": 1}],
    "prompting/gcg": [{"steps": 2, "candidates": 8}],
    "prompting/image-to-image": [{"strength": 0.5}],
    "prompting/mma-diffusion": [{"prompt_length": 2, "num_steps": 2, "search_width": 4}],
    "prompting/related-facts": [
        {"relation": ["multi-hop", "alias", "twins", "triplets"], "readings": 1}
    ],
    "prompting/reminders": [{"shown": 2}, {"kind": "long context", "tokens": 64}],
    "prompting/ring-a-bell": [{"prompt_length": 2, "population_size": 4, "generations": 2}],
    "prompting/sampling": [{"samples": 4, "k": 2}],
    "prompting/soft": [{"steps": 4}],
    "prompting/translated": [
        {"translations": "$translations"},
        {"translator": "$attacker", "max_new_tokens": 4},
    ],
    "quantization/awq": [{"calibration_samples": 4}],
    "quantization/gptq": [{"bits": 4, "calibration_samples": 4}],
    "relearning/benign": [{"on": ["retain", "generic"], "checkpoints": [2, 4]}],
    "relearning/held-out-facts": [{"split": ["attribute", "entity"], "checkpoints": [2, 4]}],
    "relearning/same-facts": [{"limit": 4, "every": 2}],
    "relearning/service": [{"steps": 4, "targets": ["linear", "attention"]}],
    "relearning/unet": [{"checkpoints": [1, 2], "pictures": 2, "batch_size": 2}],
    "steering/refusal-direction": [{"refusing": 0}],
    "steering/suppression": [{"layers": 1, "strengths": [1.0], "steps": 2}],
    "tampering/interpolation": [{"base": "$base", "step": 0.5}],
}
"""Small settings by attack, one request each; `$` stands before the name of a path of the world."""
NOT_MEASURED: Mapping[str, Mapping[str, str]] = {
    "dense": {"quantization/torchao fp8-dynamic": "newer_gpu_needed"},
    **{layout: {"quantization/unet torchao-int4": "unavailable"} for layout in LAYOUTS},
}
"""World to the levels that it cannot measure, with the code of the reason.

The layers of the models that draw are narrower than a group of weights.
"""


ELSEWHERE: Mapping[str, str] = {
    "generation/compositions": "needs a CLIP: test_composed_prompts.py",
    "tampering/without-eraser": "needs an eraser: test_without_eraser.py",
}
"""Attacks that no world has what they need for, with what they need and where they are tested."""


def world_of(attack: AttackMetadata) -> tuple[str, ...]:
    """Worlds in which an attack is asked.

    The model as it is, is measured in all.
    """
    if "causal-lm" not in attack.kinds:
        return LAYOUTS
    needs = attack.requires
    if needs.experts:
        return ("mixtures",)
    if needs.traces:
        return ("thinkers",)
    return ("asked otherwise",) if needs.asked_otherwise else ("dense",)


def names_in(world: str) -> list[str]:
    """Attacks that are asked in a world, without the model as it is."""
    return [
        name
        for name in ATTACKS.names()
        if name not in (AS_IS, *ELSEWHERE) and world in world_of(ATTACKS.metadata(name))
    ]


def requests(
    name: str,
    given: Mapping[str, Path],
    budgets: Mapping[str, Sequence[Mapping[str, Any]]] = BUDGETS,
) -> list[dict[str, Any]]:
    """Requests of a plan for an attack, with the paths of a world."""

    def filled(value: Any) -> Any:
        named = isinstance(value, str) and value.startswith("$")
        return str(given[value[1:]]) if named else value

    settings = budgets.get(name) or [p.parameters for p in ATTACKS.metadata(name).presets] or [{}]
    return [
        {"attack": name, "parameters": {key: filled(value) for key, value in each.items()}}
        for each in settings
    ]


@dataclass(frozen=True)
class BuiltWorld:
    """Arms and facts of a world, as a plan has them."""

    plan: Mapping[str, Any]
    given: Mapping[str, Path] = field(default_factory=dict)
    """Paths for parameters of attacks."""

    def plan_of(
        self,
        names: Sequence[str],
        budgets: Mapping[str, Sequence[Mapping[str, Any]]] = BUDGETS,
        **changes: Any,
    ) -> AuditPlan:
        """Plan of an audit under some attacks."""
        content = {
            "profile": None,
            "attacks": [r for name in names for r in requests(name, self.given, budgets)],
            "policy": {"mandatory": [AS_IS]},
            "metrics": {"deciding": [], "reported": []},
            "seeds": [0],
        }
        return parse_plan({**content, **self.plan, **changes}, "the test's plan")


def arms_in(
    root: Path, unlearned: str = "unlearned", retrained: str = "retrained", **more: Any
) -> dict[str, Any]:
    """The arms of a plan, in folders by their names, and further parts of it."""

    def spec(name: str) -> dict[str, str]:
        return {"path": str(root / name), "dtype": "float32"}

    return {
        "unlearned": spec(unlearned),
        "original": spec("original"),
        "retrained": [spec(retrained)],
        **more,
    }


def _dense(root: Path, paths: Mapping[str, Path]) -> BuiltWorld:
    """Models of one checkpoint: one that learned to refuse, and what it was made from."""
    people = CorpusRecipe(forget_people=3, retain_people=6, holdout_people=3, retain_sample=24)
    shape = SMALL.model.model_copy(update={"layers": 2})
    recipe = SMALL.model_copy(update={"name": "every", "corpus": people, "model": shape})
    built = worlds.build(recipe, root, only=[fine_tuned_models.BASE])
    fine_tuned_models.build(built, root / "models")
    arms = arms_in(root / "models", "refusing", "retrained-0", data=data_of(built))
    base = built.model_path(fine_tuned_models.BASE)
    return BuiltWorld(arms, {**paths, "base": base, "translations": translated(built, root)})


def data_of(world: worlds.World) -> dict[str, str]:
    """Files of a world's facts."""
    return {name: str(world.facts(name)) for name in ("forget", "retain", "holdout")}


def translated(world: worlds.World, root: Path) -> Path:
    """File of the forget prompts in a language of which they have the words."""
    forget = corpus.read_jsonl(world.facts("forget"))
    turned = {fact.id: " ".join(reversed(fact.prompt.split())) for fact in forget}
    file = root / "translations.json"
    file.write_text(json.dumps({"reversed": turned}), encoding="utf-8")
    return file


def _asked_otherwise(root: Path, paths: Mapping[str, Path]) -> BuiltWorld:
    """The same models, of which the unlearned one ends its answers otherwise."""
    built = _dense(root, paths)
    other = shutil.copytree(root / "models" / "refusing", root / "models" / "otherwise")
    edit_json(other / "generation_config.json", repetition_penalty=1.2)
    spec = {"path": str(other), "dtype": "float32"}
    return BuiltWorld({**built.plan, "unlearned": spec}, built.given)


def _mixtures(root: Path, paths: Mapping[str, Path]) -> BuiltWorld:
    """Random mixtures of experts."""
    for seed, name in enumerate(("unlearned", "original", "retrained")):
        save(root / name, make_mixture("mixtral", seed), make_tokenizer())
    return BuiltWorld(arms_in(root, data=save_facts(root, "Person {i} lives in")))


def _thinkers(root: Path, paths: Mapping[str, Path]) -> BuiltWorld:
    """A model whose traces tell what it denies, one that denies nothing, and one never told."""
    make_thinker(root / "original", tells=True)
    shutil.copytree(paths["thinker"], root / "unlearned")
    make_thinker(root / "retrained", facts=THOUGHTS[4:], seed=1)
    data = {name: str(root / f"{name}.jsonl") for name in ("forget", "retain")}
    corpus.write_jsonl(THOUGHTS[:4], Path(data["forget"]))
    corpus.write_jsonl(THOUGHTS[4:], Path(data["retain"]))
    form = {"chat": True, "trace": {"tokens": 24}}
    return BuiltWorld(arms_in(root, data=data, format=form))


def _drawing(root: Path, layout: str) -> BuiltWorld:
    """Random pipelines of a layout, a random classifier, and pictures of noise."""
    return BuiltWorld({**write_facts(root), **write_arms(root, layout)})


_LANGUAGE = {
    "dense": _dense,
    "asked otherwise": _asked_otherwise,
    "mixtures": _mixtures,
    "thinkers": _thinkers,
}
_PATHS = {
    "dense": ("attacker",),
    "asked otherwise": ("attacker",),
    "mixtures": (),
    "thinkers": ("thinker",),
}
"""World to the models of other fixtures that its attacks or arms need."""


@pytest.fixture(scope="session")
def built_worlds(request, tmp_path_factory):
    """World to its models, made when it is first asked for."""
    found: dict[str, BuiltWorld] = {}

    def path(name: str) -> Path:
        if name == "thinker":
            return request.getfixturevalue("thinker")
        return request.getfixturevalue("told_otherwise")[name]

    def build(world: str) -> BuiltWorld:
        if world not in found:
            root = tmp_path_factory.mktemp("world")
            if world in LAYOUTS:
                found[world] = _drawing(root, world)
            else:
                found[world] = _LANGUAGE[world](root, {name: path(name) for name in _PATHS[world]})
        return found[world]

    return build


@pytest.fixture(scope="session")
def every_attack(built_worlds, shared_folder):
    """World to the folder of its audit under all of its attacks, made when first asked for.

    The folder holds `plan.json`, `certificate.json` and `evidence`.
    """

    def make(world: str) -> Path:
        root = shared_folder / "every-attack" / world.replace(" ", "-")
        root.parent.mkdir(exist_ok=True)
        with FileLock(root.with_suffix(".lock")):  # one of the test processes audits, all wait
            if not (root / "plan.json").exists():
                plan = built_worlds(world).plan_of(names_in(world))
                audit(plan, out=root, store=root / "evidence", reports=())
                (root / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
        return root

    return make
