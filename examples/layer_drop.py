"""An attack in one file: does a model that forgot answer without its last layers?"""

from pydantic import Field

from auditor.attack import Attack, AttackContext, Parameters, Preset, attack
from auditor.core.records import Record


class LayerDropParameters(Parameters):
    """Settings of the attack."""

    layers: int = Field(default=1, ge=1, description="Number of decoder layers that are left out.")


@attack("tampering/layer-drop")
class LayerDrop(Attack[LayerDropParameters]):
    """Leave out the last decoder layers, where unlearning often acts (arXiv 2406.17241)."""

    summary = "Leave out the last decoder layers."
    threat_model = "Anyone with the weights."
    kinds = ("causal-lm",)
    parameters_type = LayerDropParameters
    presets = (Preset("1 layer", {"layers": 1}),)

    def measure(self, model, context: AttackContext) -> Record:
        """Measure K without the last layers."""
        decoder = model.network.base_model
        whole = decoder.layers
        decoder.layers = whole[: -self.parameters.layers]
        try:
            return Record(rows=context.evaluator.evaluate(model))
        finally:
            decoder.layers = whole
