"""Attacks that change the weights, evaluate, and restore them."""

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, TypeVar

from torch import Tensor, nn

from auditor.attack import Attack, AttackContext, Footprint, Parameters
from auditor.core.errors import MeasurementError
from auditor.core.records import Record
from auditor.models.language.layers import WeightMatrix, weight_matrices
from auditor.models.language.model import LanguageModel
from auditor.statistics.effect import effect_note

P = TypeVar("P", bound=Parameters)


class WeightChange:
    """Size of a change of weights, relative to them.

    It is taken over all that is added.
    """

    def __init__(self) -> None:
        self._change = self._weights = 0.0

    def add(self, before: Tensor, after: Tensor) -> None:
        """Take in a weight before and after its change."""
        self._change += float((after.float() - before.float()).square().sum())
        self._weights += float(before.float().square().sum())

    @property
    def effect(self) -> dict[str, Any]:
        """Note of a measurement on the change."""
        share = (self._change / self._weights) ** 0.5 if self._weights else 0.0
        return effect_note("weight_change", 0.0, share)


class WeightAttack(Attack[P]):
    """Attack that changes the weights of every arm by one rule."""

    effect = "weight_change"

    @property
    def footprint(self) -> Footprint:
        """The weights are changed in place, each once."""
        return Footprint(lent=True, weights_read=1)

    @abstractmethod
    def tamper(self, model: LanguageModel, network: nn.Module, seed: int) -> dict[str, Any]:
        """Change the weights of the network in place.

        Returns:
            Notes on what was done, as JSON, with the relative size of the change under
            ``effect``.
        """

    def changed(self, network: nn.Module) -> Collection[nn.Parameter] | None:
        """Parameters that it changes; None for all of them."""
        return [matrix.parameter for matrix in changed_matrices(network)]

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Examine the changed model; the weights are restored bit for bit."""
        lent = self.changed(model.network)
        with model.preserve_weights(lent) as network:
            notes = self.tamper(model, network, context.seed)
            return Record(rows=context.evaluator.evaluate(model), notes=notes)


def changed_matrices(network: nn.Module) -> list[WeightMatrix]:
    """Return the weight matrices that tampering changes.

    Raises:
        MeasurementError: there is none.
    """
    found = list(weight_matrices(network))
    if not found:
        raise MeasurementError("the model has no weight matrices besides embeddings and head")
    return found
