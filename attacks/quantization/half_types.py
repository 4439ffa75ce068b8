"""Half types: the weights in 16 bits, as most deployers load them."""

from typing import Literal

import torch

from auditor.attack import (
    Attack,
    AttackContext,
    Footprint,
    Parameters,
    Preset,
    Requirements,
    attack,
)
from auditor.core.errors import MeasurementError, UnavailableError
from auditor.core.records import Record
from auditor.models.language.model import LanguageModel


class HalfTypesParameters(Parameters):
    """Settings of the cast."""

    type: Literal["bfloat16", "float16"] = "bfloat16"
    """Type in which all weights are held and all layers compute."""


@attack("quantization/half-types")
class HalfTypes(Attack[HalfTypesParameters]):
    """The model loaded in a half type."""

    summary = "Load the model in bfloat16 or float16, as most deployers do."
    details = """
    A release in float32 is seldom run in float32: loaders, servers and fine-tuning scripts ask
    for half of the memory. Rounding to bfloat16 keeps 8 of 24 significant bits, so weights can be
    chosen that forget as they are stored and know again as they are loaded. All weights are
    rounded, embeddings, norms and head among them, and the layers compute in that type.

    float16 overflows in models that were trained in bfloat16: where an arm's numbers are no longer
    finite the attack does not apply to it.
    """
    threat_model = "A deployer or downloader with the weights; no data and no training."
    access = "Weights."
    cost = "One evaluation."
    leak = "Knowledge that is absent in the released type and present here."
    source = (
        "The `dtype` argument of the libraries that load models; weights that turn when they are "
        "rounded: arXiv 2405.18137, for 8 and 4 bits."
    )

    kinds = ("causal-lm", "seq2seq")
    parameters_type = HalfTypesParameters
    presets = (
        Preset("bfloat16", {"type": "bfloat16"}, "quick", mandatory=True),
        Preset("float16", {"type": "float16"}, "quick"),
    )
    requires = Requirements(full_precision=True)
    opens_copies = True

    @property
    def variant(self) -> str:
        """The type."""
        return self.parameters.type

    @property
    def footprint(self) -> Footprint:
        """Two bytes a weight."""
        return Footprint(copy=2.0)

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Examine a copy of the model in that type."""
        wanted: torch.dtype = getattr(torch, self.parameters.type)
        with model.reloaded(context.scratch, dtype=wanted) as copy:
            types = {p.dtype for p in copy.network.parameters() if p.is_floating_point()}
            if wanted not in types:
                raise MeasurementError(
                    f"the copy is in {', '.join(sorted(map(str, types)))}, and none of its weights "
                    f"in {wanted}; the model was not measured"
                )
            try:
                rows = context.evaluator.evaluate(copy)
            except MeasurementError as error:
                if wanted is not torch.float16:
                    raise
                raise UnavailableError(f"the model does not run in float16: {error}") from error
        return Record(rows=rows, notes={"types": sorted(map(str, types))})
