"""Every attack that decides finds the positive control that it is held to; blind it does not."""

import json
import shutil
from pathlib import Path

import pytest
from every_attack import BUDGETS, NOT_MEASURED, BuiltWorld, arms_in, data_of, names_in, translated
from small_world import SMALL
from tiny_models import edit_json

from auditor.api.auditing import audit
from auditor.api.certificates import verify
from auditor.attack import ATTACKS
from auditor.core.progress import SilentProgress
from auditor.engine.audit import run_audit
from auditor.engine.executors.local import LocalExecutor
from auditor.engine.preparation import prepare
from auditor.policy import AS_IS
from auditor.positive_controls.runner import run_controls
from auditor.store.folder_store import FolderStore
from auditor.testbeds.people import world as worlds
from auditor.testbeds.recipe import CorpusRecipe

pytestmark = [pytest.mark.nightly, pytest.mark.slow]

DECIDING = [name for name in names_in("dense") if ATTACKS.metadata(name).decides]
BUDGETS_OF_CONTROLS = {
    **BUDGETS,
    "relearning/held-out-facts": [{"split": "attribute"}],
    "prompting/sampling": [{}],
    "relearning/same-facts": [{"limit": 16, "every": 4}],
    "tampering/interpolation": [{"base": "$base", "step": 0.25}],
}
"""What needs more than a few steps or samples to find its control has them."""
BLURRED = {
    "quantization/rtn 2-bit": "no two arms differ",
    "tampering/interpolation step +0.25": "no two arms differ",
}
"""Levels that miss their control here, with the reason; an audit says so of them."""


TOLD_OTHERWISE = "its control is the world told_otherwise (test_prompting_told_otherwise.py)"
NOT_FOUND = {
    **dict.fromkeys(
        (
            *("prompting/best-of-n", "prompting/related-facts"),
            *("prompting/reminders", "prompting/translated"),
        ),
        TOLD_OTHERWISE,
    ),
    **dict.fromkeys(
        (
            *("membership/gradient-norm", "membership/likelihood", "membership/neighbourhood"),
            *("prompting/few-shot", "prompting/reframing"),
        ),
        "it misses the visible control of this world",
    ),
}
"""Attacks that do not find the control here, with the reason. The mark is strict, so that none
stays that finds it."""
EACH = [
    pytest.param(
        name,
        marks=pytest.mark.xfail(reason=NOT_FOUND[name], strict=True) if name in NOT_FOUND else (),
    )
    for name in DECIDING
]


@pytest.fixture(scope="module")
def controlled(told_otherwise, tmp_path_factory):
    """A world in which a model that never knew is audited, and the store of all its audits."""
    root = tmp_path_factory.mktemp("controlled")
    people = CorpusRecipe(forget_people=12, retain_people=5, holdout_people=12, retain_sample=32)
    recipe = SMALL.model_copy(
        update={"name": "controlled", "corpus": people, "seeds": (0, 1, 2, 3)}
    )
    world = worlds.build(recipe, root / "world")
    models = world.model_path("original").parent
    given = {
        "attacker": told_otherwise["attacker"],
        "base": world.model_path("retrained-2"),
        "translations": translated(world, root),
    }
    arms = arms_in(models, "retrained-1", "retrained-0", data=data_of(world))
    return BuiltWorld(arms, given), root / "store"


class BlindStore(FolderStore):
    """Evidence in which attacks find in a control what they find in a retrained model."""

    def __init__(self, root: Path, retrained: str) -> None:
        super().__init__(root)
        self.retrained = retrained
        self.blinded = ()

    def rows(self, key, columns=None):
        if key in self.blinded:
            key = self._of_retrained(key)
        return super().rows(key, columns)

    def _of_retrained(self, key):
        asked = self._asked(key)
        return next(
            other
            for other in self.keys()
            if self._asked(other) == asked and self.identity(other).get("model") == self.retrained
        )

    def _asked(self, key):
        identity = self.identity(key)
        parts = ("stage", "attack", "parameters", "seed", "facts", "metrics", "format")
        return json.dumps([identity.get(part) for part in parts], sort_keys=True)


@pytest.mark.parametrize("name", EACH)
def test_it_finds_its_control_and_blind_it_does_not(name, controlled):
    world, root = controlled
    policy = {"mandatory": [AS_IS, name]}
    plan = world.plan_of([name], BUDGETS_OF_CONTROLS, policy=policy, controls=True)
    store = FolderStore(root)
    prepared = prepare(plan, store, SilentProgress())
    outcome = run_audit(prepared, store, LocalExecutor(), SilentProgress())
    reasons = {run.variant.label: run.evidence.reason for run in outcome.runs}
    left_out = {label for label, reason in reasons.items() if reason is not None}
    assert left_out <= NOT_MEASURED["dense"].keys(), reasons
    results = run_controls(outcome, store, LocalExecutor(), SilentProgress())
    assert results.missing is None
    parts = {part.attack: part for part in results.parts}
    assert parts.keys() == {variant.label for variant in prepared.variants} - left_out
    found = {label: part.message.params["held_to"] for label, part in parts.items()}
    missed = {label: found[label] for label, part in parts.items() if not part.found}
    said = {k: (v["rho"], v["tells_original_apart"]) for k, v in missed.items()}
    assert missed.keys() == BLURRED.keys() & parts.keys(), said
    as_is = next(part for label, part in parts.items() if label.startswith(AS_IS))
    hidden = as_is.message.params["other"]
    assert hidden["log_e_fail"] < hidden["log_e_needed"], "what is hidden is not seen as it is"

    blind = BlindStore(root, prepared.locations["retrained-0"].manifest.digest)
    blind.blinded = results.seals.keys() - outcome.seals.keys()
    again = run_controls(outcome, blind, LocalExecutor(), SilentProgress())
    assert again.parts
    assert not any(part.found for part in again.parts)


def test_what_asks_as_the_original_does_finds_a_control_that_is_asked_so(controlled, tmp_path):
    """The control is the original's copy; what it is asked for differs in the audited model."""
    world, root = controlled
    other = shutil.copytree(world.plan["unlearned"]["path"], tmp_path / "otherwise")
    edit_json(other / "generation_config.json", repetition_penalty=1.2)
    name = "prompting/original-tokenizer"
    plan = world.plan_of(
        [name],
        unlearned={"path": str(other), "dtype": "float32"},
        policy={"mandatory": [AS_IS, name]},
        controls=True,
    )
    certificate = audit(plan, out=tmp_path / "out", store=root, reports=()).certificate
    found = {part.attack: part.found for part in certificate.positive_controls}
    assert found == {f"{AS_IS} full precision": True, f"{name} full precision": True}
    assert verify(tmp_path / "out" / "certificate.json", store=root).jobs
