"""Plans of audits of a world's models.

They serve the demo and the benchmarks.
"""

from collections.abc import Sequence
from pathlib import Path

from auditor.attack import Profile
from auditor.engine.plan import AuditPlan, parse_plan
from auditor.testbeds.catalogue import AnyWorld
from auditor.testbeds.people.world import World

CALIBRATION_SAMPLES = 32
"""Number of texts that GPTQ is calibrated with; it is enough for models of this size."""

_GPTQ_BITS: dict[Profile, list[int]] = {
    "quick": [4],
    "standard": [8, 4, 3],
    "exhaustive": [8, 4, 3, 2],
}


def world_plan(
    world: AnyWorld, unlearned: str, retrained: Sequence[str], profile: Profile = "quick"
) -> AuditPlan:
    """The plan of an audit of one of a world's models.

    Args:
        world: a built world.
        unlearned: the model under audit.
        retrained: the models that it is compared with.
        profile: the attacks that are run.
    """
    if not isinstance(world, World):
        from auditor.testbeds.shapes.plans import shapes_plan  # needs the extra `images`

        return shapes_plan(world, unlearned, retrained, profile)

    def spec(model: str) -> dict[str, str]:
        folder: Path = world.model_path(model)
        return {"path": str(folder), "dtype": "float32"}

    gptq = {"bits": _GPTQ_BITS[profile], "calibration_samples": CALIBRATION_SAMPLES}
    content = {
        "unlearned": spec(unlearned),
        "original": spec("original"),
        "retrained": [spec(model) for model in retrained],
        "data": {name: str(world.facts(name)) for name in ("forget", "retain", "holdout")},
        "profile": profile,
        "attacks": [{"attack": "quantization/gptq", "parameters": gptq}],
    }
    if world.recipe.reasoning:
        content["format"] = {"chat": True}
    return parse_plan(content, f"the plan for {unlearned}")
