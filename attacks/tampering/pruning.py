"""Magnitude pruning."""

from typing import Any

from pydantic import Field
from torch import nn
from torch.nn.utils import prune

from attacks.tampering.family import WeightAttack, WeightChange, changed_matrices
from auditor.attack import Parameters, Preset, Requirements, attack
from auditor.models.language.model import LanguageModel


class PruningParameters(Parameters):
    """Settings of pruning."""

    sparsity: float = Field(default=0.3, gt=0, lt=1)
    """Share of each weight matrix's entries that is set to zero."""


@attack("tampering/pruning")
class Pruning(WeightAttack[PruningParameters]):
    """Magnitude pruning of the weight matrices."""

    summary = "Set the smallest weights of every weight matrix to zero."
    details = """
    In each matrix the given share (`sparsity`) of entries with the smallest absolute value is set
    to zero (`torch.nn.utils.prune.l1_unstructured`). The share holds for each matrix by itself,
    so no layer is emptied. Embeddings, the output head, norms and biases stay.
    """
    threat_model = "A deployer who makes the model smaller, or anyone with the weights; no data."
    access = "Weights."
    cost = "One evaluation for each sparsity."
    leak = "Small weights carry what unlearning changed; without them the answers are back."
    source = (
        "Magnitude pruning (arXiv 1506.02626); pruning as a metric of how brittle a safety "
        "measure is: arXiv 2402.05162; pruning of chosen neurons to undo unlearning: arXiv "
        "2409.18025."
    )

    parameters_type = PruningParameters
    presets = (
        Preset("30 %", {"sparsity": 0.3}),
        Preset("10 %", {"sparsity": 0.1}, "exhaustive"),
        Preset("50 %", {"sparsity": 0.5}, "exhaustive"),
    )
    requires = Requirements(full_precision=True)

    @property
    def variant(self) -> str:
        """The sparsity."""
        return f"{100 * self.parameters.sparsity:g} %"

    def tamper(self, model: LanguageModel, network: nn.Module, seed: int) -> dict[str, Any]:
        """Prune matrix by matrix, and note the share that is zero now."""
        zeros, entries = 0, 0
        change = WeightChange()
        for _, module, attribute, parameter in changed_matrices(network):
            before = parameter.detach().clone()
            prune.l1_unstructured(  # type: ignore[no-untyped-call]
                module, attribute, amount=self.parameters.sparsity
            )
            prune.remove(module, attribute)  # type: ignore[no-untyped-call]
            change.add(before, parameter.data)
            zeros += int((parameter.data == 0).sum())
            entries += parameter.numel()
        return {"zeros": zeros / entries, "effect": change.effect}
