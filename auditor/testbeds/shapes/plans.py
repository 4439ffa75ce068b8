"""Plans of audits of the world's models."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.attack import Profile
from auditor.engine.expansion import expand, instantiate
from auditor.engine.plan import AuditPlan, parse_plan
from auditor.models.text_to_image.kind import TextToImageKind
from auditor.testbeds.shapes.attack_settings import SETTINGS
from auditor.testbeds.shapes.world import FACTS, ShapesWorld

SAMPLING = {"steps": 10, "guidance": 1.0}
"""Sampling of the world's models. Guidance that such a small model was not made for blurs pictures.
"""

ORIGINAL = "{original}"
"""Placeholder in the attacks' settings for the folder of the original model."""


def shapes_plan(
    world: ShapesWorld, unlearned: str, retrained: Sequence[str], profile: Profile = "quick"
) -> AuditPlan:
    """The plan of an audit of one of the world's models.

    Args:
        world: A built world.
        unlearned: The model under audit.
        retrained: The models that it is compared with.
        profile: The attacks that are run, with settings for models of this size.
    """

    def spec(model: str) -> dict[str, Any]:
        return {
            "path": str(world.model_path(model)),
            "kind": TextToImageKind.name,
            "dtype": "float32",
            "sampling": SAMPLING,
        }

    facts = {name: str(world.facts(name)) for name in FACTS}
    content = {
        "unlearned": spec(unlearned),
        "original": spec("original"),
        "retrained": [spec(model) for model in retrained],
        "data": facts | {"images": str(world.image_folder)},
        "metrics": {"classifier": str(world.classifier)},
        "profile": profile,
    }
    name = f"the plan for {unlearned}"
    requests = _requests(parse_plan(content, name), world.model_path("original"))
    return parse_plan(content | {"attacks": list(requests)}, name)


def _requests(plan: AuditPlan, original: Path) -> Iterator[dict[str, Any]]:
    """Yield settings of the levels that the plan runs.

    They replace those of the profile.
    """
    planned = {variant.label for variant in expand(plan) if not variant.left_out}
    for attack, levels in SETTINGS.items():
        for parameters in levels:
            filled = _filled(parameters, original)
            if instantiate(attack, filled).id.label in planned:
                yield {"attack": attack, "parameters": filled}


def _filled(parameters: Mapping[str, Any], original: Path) -> dict[str, Any]:
    return {
        name: str(original) if value == ORIGINAL else value for name, value in parameters.items()
    }
