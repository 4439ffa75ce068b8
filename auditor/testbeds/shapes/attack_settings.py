"""Settings of the attacks for models of 16 x 16 pixels.

The defaults of the attacks are the published ones.

Each replaces, in the plan of an audit of the world `shapes`, the level of the same name; the
certificate says so.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_SHORT: Mapping[str, Any] = {"batch_size": 16, "checkpoints": (5, 10, 20)}
_LORA: Mapping[str, Any] = {"learning_rate": 2.5e-3, "rank": 8, **_SHORT}
_INVERSION: Mapping[str, Any] = {"num_steps": 200, "micro_batch_size": 16, "images": 64}
_PROMPTS: Mapping[str, Any] = {
    "prefix_length": 16,
    "rounds": 8,
    "iterations": 40,
    "weight_decay": 0.0,
    "copies": 2,
    "facts": 8,
}

SETTINGS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "prompting/concept-inversion": (
            _INVERSION,
            {"num_vectors": 4, **_INVERSION},
            {"start": "name", **_INVERSION},
        ),
        "quantization/unet": ({"format": "torchao-int4", "group_size": 32},),
        "generation/null-inversion": ({"steps": 10, "refinements": 2},),
        "relearning/unet": (
            {"method": "lora", "data": "forget", **_LORA},
            {"method": "full", "data": "forget", "learning_rate": 1.2e-4, **_SHORT},
            {"method": "lora", "data": "retain", **_LORA, "checkpoints": (10, 20, 40)},
        ),
        "prompting/adversarial-prefix": (
            {
                "objective": "unlearndiffatk",
                "learning_rate": 0.05,
                "drawn": "lowest-loss",
                **_PROMPTS,
            },
            {
                "objective": "p4d",
                "original": "{original}",
                "learning_rate": 0.1,
                **_PROMPTS,
            },
        ),
        "prompting/ring-a-bell": (
            {"eta": 1.0, "prompt_length": 8, "population_size": 100, "generations": 400},
        ),
        "prompting/mma-diffusion": (
            {"prompt_length": 8, "num_steps": 40, "search_width": 48, "topk": 32},
        ),
    }
)
"""Parameters of each level, by attack."""
