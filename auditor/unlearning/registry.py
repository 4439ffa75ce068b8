"""Unlearning methods by name: losses, and edits of a whole model.

A method is a forget loss, a retain term, and whether a mask is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from transformers import PreTrainedModel

from auditor.core.facts import Fact
from auditor.unlearning.examples import Example
from auditor.unlearning.gradient_ascent import gradient_ascent_loss
from auditor.unlearning.misdirection import misdirect
from auditor.unlearning.negative_preference import negative_preference_loss
from auditor.unlearning.preference import preference_loss, refused_pairs
from auditor.unlearning.rank_one_edit import edit
from auditor.unlearning.relabelling import relabelled_pairs, relabelling_loss
from auditor.unlearning.retain_terms import divergence_retain, gradient_descent_retain
from auditor.unlearning.self_distillation import self_distillation_loss
from auditor.unlearning.simple_preference import simple_preference_loss
from auditor.unlearning.task_vector import negate

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Loss: (logits [batch, time, vocabulary], labels [batch, time], reference logits) -> scalar."""
Pairs = Callable[[Iterable[Fact]], list[tuple[str, str]]]
"""Every trained phrasing of facts with an answer in place of the true one."""
Change = Callable[[PreTrainedModel, Sequence[Example], Sequence[Example], int], None]
"""Change of a model in place, from forget examples, retain examples and a seed."""


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
        preferred: Answers that are preferred to the true ones, where the forget loss compares.
    """

    title: str
    sources: tuple[str, ...]
    forget: Loss
    retain: Loss | None = None
    masked: bool = False
    relabels: bool = False
    preferred: Pairs | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether a loss compares with the original model."""
        return self.forget in _COMPARED or self.retain in _COMPARED


@dataclass(frozen=True)
class Edit:
    """A way to unlearn that is no loss with a stop rule.

    Attributes:
        title: The name that papers use.
        sources: arXiv ids of the parts.
        apply: Changes the model.
        relabels: Forget examples carry false answers.
    """

    title: str
    sources: tuple[str, ...]
    apply: Change
    relabels: bool = False


_COMPARED = (
    negative_preference_loss,
    preference_loss,
    self_distillation_loss,
    divergence_retain,
)

_GA, _NPO, _MUSE, _SURE, _WHP = "2210.01504", "2404.05868", "2407.06460", "2410.16454", "2310.02238"
_TOFU, _ALTPO, _SIMNPO, _UNDIAL = "2401.06121", "2409.13474", "2410.07163", "2402.10052"

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
        "simnpo": Method("SimNPO", (_SIMNPO,), simple_preference_loss),
        "simnpo_gdr": Method(
            "SimNPO+GDR", (_SIMNPO, _MUSE), simple_preference_loss, gradient_descent_retain
        ),
        "idk_dpo": Method(
            "IdkDPO",
            (_TOFU, _NPO),
            preference_loss,
            gradient_descent_retain,
            preferred=refused_pairs,
        ),
        "alt_po": Method(
            "AltPO",
            (_ALTPO,),
            preference_loss,
            gradient_descent_retain,
            preferred=relabelled_pairs,
        ),
        "undial": Method("UNDIAL", (_UNDIAL,), self_distillation_loss, gradient_descent_retain),
    }
)

EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "rmu": Edit("RMU", ("2403.03218",), misdirect),
        "task_vector": Edit("task vector", ("2212.04089",), negate),
        "rank_one": Edit("rank-one edits", ("2202.05262",), edit, relabels=True),
    }
)
