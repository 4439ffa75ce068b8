"""Attacks that change the weights, evaluate, and restore them."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from torch import nn
from transformers import PreTrainedModel

from auditor.attack import Attack, AttackContext, Parameters
from auditor.core.errors import MeasurementError
from auditor.core.records import Record
from auditor.models.language.layers import embedding_weights
from auditor.models.language.model import LanguageModel

P = TypeVar("P", bound=Parameters)


class WeightMatrix(NamedTuple):
    """A weight that maps hidden states, and where it stands."""

    name: str
    """As in ``named_parameters``."""
    module: nn.Module
    attribute: str
    """Its name within the module."""
    parameter: nn.Parameter
    """Two dimensions or more (a mixture of experts keeps all experts in one)."""


class WeightAttack(Attack[P]):
    """Change the weights by a rule that is the same for every arm, and ask again."""

    @abstractmethod
    def tamper(self, model: LanguageModel, network: nn.Module, seed: int) -> dict[str, Any]:
        """Change the weights of the network in place.

        Returns:
            Notes on what was done, as JSON.
        """

    def measure(self, model: LanguageModel, context: AttackContext) -> Record:
        """Examine the changed model; the weights are restored bit for bit."""
        with model.preserve_weights() as network:
            notes = self.tamper(model, network, context.seed)
            return Record(rows=context.evaluator.evaluate(model), notes=notes)


def weight_matrices(network: PreTrainedModel) -> Iterator[WeightMatrix]:
    """Every weight matrix of the layers, by name; each once, however often it is shared.

    Left out: embeddings (of tokens and of positions), the output head, norms and biases. Those
    are what quantizers leave alone too, so that levels of all attacks on weights mean the same.

    Raises:
        MeasurementError: there is none.
    """
    kept = embedding_weights(network)
    found = False
    for path, module in network.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if parameter.ndim < 2 or id(parameter) in kept or not parameter.is_floating_point():
                continue
            kept.add(id(parameter))
            found = True
            yield WeightMatrix(f"{path}.{attribute}", module, attribute, parameter)
    if not found:
        raise MeasurementError("the model has no weight matrices besides embeddings and head")
