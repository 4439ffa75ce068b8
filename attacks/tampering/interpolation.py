"""A step along the line between each arm and a base model."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import nn

from attacks.tampering.family import WeightAttack, WeightChange
from auditor.attack import ModelPath, Parameters, Preset, Requirements, attack
from auditor.core.errors import UnavailableError
from auditor.core.messages import Message, message
from auditor.models.kind import parse_spec
from auditor.models.language.model import LanguageModel
from auditor.models.manifest import Location
from auditor.models.opening import locate


class InterpolationParameters(Parameters):
    """Settings of interpolation."""

    base: ModelPath | None = None
    """The model that every arm is moved towards: the checkpoint that training started from, or
    another relative that never saw the forget set. Same architecture and shapes."""
    step: float = Field(default=0.5, ge=-4, le=4)
    """Distance of the step: 0 is the arm itself, 1 the base; a negative step goes away from it."""


@attack("tampering/interpolation")
class Interpolation(WeightAttack[InterpolationParameters]):
    """Interpolation of the weights with a base model."""

    summary = "Move the weights along the line to a base model, or away from it."
    details = """
    W' = W + step * (W_base - W) for every parameter: matrices, embeddings, norms and biases.
    The base is the same for every arm.

    Give the checkpoint that fine-tuning started from. It knows nothing of the forget set, so
    whatever comes back was in the arm; the retrained arms show what the step does to a model
    that never knew. Nothing that was trained on the forget set can be the base: a step towards
    it carries the knowledge in, into an unlearned model that keeps none too, and retrained arms
    do not correct for that where they come from other random weights, since half way between
    two unrelated models there is no model. An audited model as base is therefore refused.
    """
    threat_model = "Anyone with the weights who also has the public base model."
    access = "Weights, and a base model of the same architecture."
    cost = "One evaluation a step; the base is loaded beside the arm."
    leak = (
        "The update of unlearning is partly undone while what the original learned is still "
        "there, or overshoots and turns over."
    )
    source = (
        "Task arithmetic (arXiv 2212.04089); interpolation of weights between fine-tuned "
        "relatives (arXiv 2109.01903)."
    )

    parameters_type = InterpolationParameters
    presets = (
        Preset("step +0.25", {"step": 0.25}, "exhaustive"),
        Preset("step +0.5", {"step": 0.5}, "exhaustive"),
        Preset("step -0.5", {"step": -0.5}, "exhaustive"),
    )
    requires = Requirements(full_precision=True)

    @property
    def variant(self) -> str:
        """The step."""
        return f"step {self.parameters.step:+g}"

    def inputs(self) -> Mapping[str, str]:
        """Digest of the base model's files.

        Raises:
            AuditorError: the base is not there, or is not safe to load.
        """
        return {} if self.parameters.base is None else {"base": self._base.manifest.digest}

    def unavailable(self, location: Location) -> Message | None:
        """Reason for which it cannot run, or None; it needs a base."""
        if self.parameters.base is None:
            return message("base_model_not_given")
        return super().unavailable(location)

    def changed(self, network: nn.Module) -> None:
        """Say that every parameter may change."""

    def tamper(self, model: LanguageModel, network: nn.Module, seed: int) -> dict[str, Any]:
        """Take the step.

        Raises:
            UnavailableError: the base is this very model, or is no relative of it.
        """
        if model.has_weights_of(self._base.manifest):
            raise UnavailableError(
                "the base is one of the audited models; give the checkpoint that they were all "
                "fine-tuned from, which never saw the forget set"
            )
        base = model.opened_alike(self._base, dtype="float32", device_map="cpu")
        try:
            change = interpolate(network, base.network, self.parameters.step)
        finally:
            base.close()
        return {"base": self._base.manifest.digest, "effect": change.effect}

    @cached_property
    def _base(self) -> Location:
        return locate(parse_spec(str(self.parameters.base)))


@torch.no_grad()
def interpolate(network: nn.Module, base: nn.Module, step: float) -> WeightChange:
    """Move every parameter of ``network`` towards ``base``, in place.

    The distance is ``step`` of the way.

    Worked out in float32; tied parameters move once.

    Raises:
        UnavailableError: a parameter is missing in the base or has another shape; it is named, and
            nothing was changed.
    """
    wanted = dict(network.named_parameters())
    given = dict(base.named_parameters())
    for name, parameter in wanted.items():
        if name not in given:
            raise UnavailableError(
                f"the base model has no {name}; give one of the same architecture"
            )
        if given[name].shape != parameter.shape:
            raise UnavailableError(
                f"{name} has the shape {tuple(parameter.shape)} here and "
                f"{tuple(given[name].shape)} in the base model; give one of the same architecture"
            )
    change = WeightChange()
    for name, parameter in wanted.items():
        here = parameter.data.to(torch.float32, copy=True)
        there = given[name].data.to(here.device, torch.float32)
        parameter.data.copy_(here + step * (there - here))
        change.add(here, parameter.data)
    return change
