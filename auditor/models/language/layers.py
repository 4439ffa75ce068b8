"""Linear layers of a language model, and the weights that every quantizer leaves alone."""

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def linear_layers(network: PreTrainedModel) -> dict[str, nn.Linear | Conv1D]:
    """All linear maps by name, but the output head.

    The weight of GPT-2's ``Conv1D`` lies as [in, out], that of ``nn.Linear`` as [out, in].
    """
    head = network.get_output_embeddings()
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def embedding_weights(network: PreTrainedModel) -> set[int]:
    """Identities of the parameters of embeddings and of the output head."""
    head = network.get_output_embeddings()
    return {
        id(parameter)
        for module in network.modules()
        if isinstance(module, nn.Embedding) or module is head
        for parameter in module.parameters(recurse=False)
    }
