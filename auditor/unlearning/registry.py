"""Unlearning methods by name.

A method is a forget loss, a retain term, and whether a mask is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from auditor.unlearning.gradient_ascent import gradient_ascent_loss
from auditor.unlearning.negative_preference import negative_preference_loss
from auditor.unlearning.relabelling import relabelling_loss
from auditor.unlearning.retain_terms import divergence_retain, gradient_descent_retain

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Loss: (logits [batch, time, vocabulary], labels [batch, time], reference logits) -> scalar."""


@dataclass(frozen=True)
class Method:
    """One way to unlearn.

    Attributes:
        title: The name that papers use.
        sources: arXiv ids of the parts.
        forget: Loss on forget examples.
        retain: Loss on retain examples, if any.
        masked: Only the modules that SURE finds salient are changed.
        relabels: Forget examples carry false answers.
    """

    title: str
    sources: tuple[str, ...]
    forget: Loss
    retain: Loss | None = None
    masked: bool = False
    relabels: bool = False

    @property
    def needs_reference(self) -> bool:
        """Whether a loss compares with the original model."""
        return self.forget is negative_preference_loss or self.retain is divergence_retain


_GA, _NPO, _MUSE, _SURE, _WHP = "2210.01504", "2404.05868", "2407.06460", "2410.16454", "2310.02238"

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ga": Method("GA", (_GA,), gradient_ascent_loss),
        "ga_gdr": Method("GA+GDR", (_GA, _MUSE), gradient_ascent_loss, gradient_descent_retain),
        "ga_klr": Method("GA+KLR", (_GA, _MUSE), gradient_ascent_loss, divergence_retain),
        "npo": Method("NPO", (_NPO,), negative_preference_loss),
        "npo_gdr": Method(
            "NPO+GDR", (_NPO, _MUSE), negative_preference_loss, gradient_descent_retain
        ),
        "npo_klr": Method("NPO+KLR", (_NPO, _MUSE), negative_preference_loss, divergence_retain),
        "sure": Method(
            "GA+GDR with SURE",
            (_GA, _MUSE, _SURE),
            gradient_ascent_loss,
            gradient_descent_retain,
            masked=True,
        ),
        "relabel": Method(
            "relabelling", (_WHP,), relabelling_loss, gradient_descent_retain, relabels=True
        ),
    }
)
